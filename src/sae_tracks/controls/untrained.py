"""The same path with a language model that has learned nothing: its own activations, its own SAE, the same bases."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sae_tracks.activations.extract import Extraction, extract, plan_extraction
from sae_tracks.activations.shards import MANIFEST, WINDOWS, ActivationShards, open_shards
from sae_tracks.activations.shuffle import plan_shuffle, shuffle
from sae_tracks.controls.sample import Sample, Sampler
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import run
from sae_tracks.files import read_json, write_json
from sae_tracks.genome import Genome
from sae_tracks.intervals import runs_of
from sae_tracks.lm import GeneLM
from sae_tracks.lm.untrained import Kind, check_can_be_untrained, untrained
from sae_tracks.progress import counter
from sae_tracks.regions import GenomicRegion, merge_regions, regions_of, subtract_regions
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.directory import CONFIG, check_match
from sae_tracks.source import Source
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.train import train_sae

MADE_FROM = "made_from.json"
KINDS: tuple[Kind, ...] = ("random", "permuted")
SEEDS = (0, 1, 2)
SETTINGS = (*(field.name for field in fields(TrainSettings) if field.name != "expansion"), "d_sae", "steps", "seed")
SHUFFLE_MEMORY = 1 << 30
log = logging.getLogger(__name__)


def retrain(sae: SAE, lm: GeneLM, genome: Genome, trained_on: ActivationShards, out: Path) -> SAE:
    """Train an SAE on the activations of another language model just as `sae` was: the same bases, settings and steps.

    Parameters
    ----------
    trained_on : ActivationShards
        The activations that `sae` was trained on: their windows are read again, from a genome with their contigs.
    out : path
        SAE directory. Activations lie beside it while they are needed. What an interrupted run left is used.

    Raises
    ------
    SaeTracksError
        The SAE does not say how it was trained, or the activations are not those it was trained on or cannot be made
        again on the same bases.
    """
    training = _training_of(sae, trained_on)
    act, shuffled = out.with_name("act"), out.with_name("shuffled")
    _claim(out, trained_on)
    if (out / CONFIG).exists():
        return _made_before(out, training, lm)
    if not (shuffled / MANIFEST).exists():
        data = _read_again(lm, genome, trained_on, act)
        shuffle(data, shuffled, plan_shuffle(data, SHUFFLE_MEMORY), seed=training["seed"])
        shutil.rmtree(act)
    settings = TrainSettings(**{f.name: training[f.name] for f in fields(TrainSettings) if f.name in training})
    how = {name: training[name] for name in ("rows", "d_sae", "seed", "dtype")}
    plan = plan_training(open_shards(shuffled), settings, device="cpu", **how)
    with counter("training", plan.steps) as advance:
        train_sae(plan, out, advance)
    shutil.rmtree(shuffled)
    return load_sae(out)


def _claim(out: Path, trained_on: ActivationShards) -> None:
    """Record from which activations a control is made; refuse what was made from others."""
    record, mine = out.with_name(MADE_FROM), {"data_sha256": trained_on.checksum}
    begun = any(out.with_name(name).exists() for name in (out.name, "act", "shuffled"))
    if (read_json(record) if record.exists() else None if begun else mine) != mine:
        raise SaeTracksError(f"{out.parent} is a control made from other activations: delete it, or name another -o")
    write_json(record, mine)


def _made_before(out: Path, training: dict[str, Any], lm: GeneLM) -> SAE:
    """The SAE of a complete run; refuse it if it has another model or other settings."""
    made = load_sae(out)
    check_match(made, lm)
    differ = [name for name in SETTINGS if made.metadata["training"].get(name) != training.get(name)]
    if differ:
        raise SaeTracksError(f"{out} is a control of an SAE with another {differ[0]}: delete it, or name another -o")
    return made


def check_retrainable(source: Source, trained_on: ActivationShards) -> None:
    """Raise an error if untrained models cannot be made for a source; no window is read.

    The language model comes from a plug-in, the SAE was trained on other activations, or their windows cannot be read
    again.
    """
    check_can_be_untrained(source.lm)
    _training_of(source.sae, trained_on)
    _plan_again(source.lm, source.genome, trained_on, black_list=False)


def _training_of(sae: SAE, trained_on: ActivationShards) -> dict[str, Any]:
    """How an SAE was trained, from its metadata; refuse activations that it was not trained on."""
    training = sae.metadata.get("training", {})
    if training.get("data_sha256") != trained_on.checksum:
        raise SaeTracksError(f"this SAE was not trained on {trained_on.folder}: name the folder that `train` was given")
    return training


def _windows_of(shards: ActivationShards) -> list[GenomicRegion]:
    windows = pd.read_csv(shards.folder / WINDOWS, sep="\t", header=None, usecols=[0, 1, 2], dtype={0: str})
    return [GenomicRegion(*row) for row in windows.itertuples(index=False, name=None)]


def _plan_again(lm: GeneLM, genome: Genome, shards: ActivationShards, *, black_list: bool) -> Extraction:
    """Plan to extract the windows of stored activations from another model, with or without their black list."""
    windows, facts = _windows_of(shards), shards.manifest
    laid_out = {name: facts[name] for name in ("window", "context", "min_context", "read_strands")}
    left = left_out(shards, windows) if black_list and facts["black_list_sha256"] else []
    plan = plan_extraction(lm, genome, windows, black_list=left, **laid_out)
    if plan.settings["windows_sha256"] != facts["windows_sha256"]:
        raise SaeTracksError(
            f"{shards.folder}: its windows cannot be read again by {genome.path.name}: it must be the same FASTA, and "
            "windows drawn in both directions (extract -n --read-strand both) are not supported"
        )
    return plan


def _read_again(lm: GeneLM, genome: Genome, shards: ActivationShards, out: Path) -> ActivationShards:
    """Extract the activations of another model on the bases of stored ones."""
    extract(_plan_again(lm, genome, shards, black_list=True), out)
    again = open_shards(out)
    if again.rows != shards.rows:
        raise SaeTracksError(f"{shards.folder} has {shards.rows:,} rows, but {genome.path.name} gives {again.rows:,}")
    return again


def left_out(shards: ActivationShards, windows: Sequence[GenomicRegion]) -> list[GenomicRegion]:
    """The bases in the windows of stored activations (``windows.bed``) without a row: black-listed or unreadable ones.

    The manifest has only the checksum of a black list, but the rows show which bases it left.
    """
    offset = np.cumsum([0, *map(len, windows)])
    read = np.zeros(offset[-1], bool)
    for _, loci in shards:
        read[offset[loci[:, 0]] + loci[:, 1]] = True
    with_rows, without = [], []
    for window, start, end in zip(windows, offset, offset[1:]):
        with_rows += regions_of(window.contig, runs_of(read[start:end]) + window.start)
        without += regions_of(window.contig, runs_of(~read[start:end]) + window.start)
    order = dict.fromkeys(window.contig for window in windows)
    # a base without a row in one direction may have one in the other
    return subtract_regions(merge_regions(without, order), merge_regions(with_rows, order))


def blank_sample(
    source: Source, kind: Kind, seed: int, trained_on: ActivationShards, like: Sample, folder: Path
) -> tuple[Sample, SAE]:
    """Read the bins of a sample again, in the same direction, through an untrained language model and its own SAE.

    The SAE is trained by `retrain` and kept in a folder of its own in `folder`. `kind` and `seed` are those of
    `untrained`.
    """
    lm = untrained(source.lm, kind, seed)
    log.info("control: %s", lm.model_id)
    sae = retrain(source.sae, lm, source.genome, trained_on, folder / f"{kind}-{seed}" / "sae")
    strand = (like.read_strand,)
    through = replace(source, lm=lm, sae=sae, regions=like.bins, read_strands=strand, allow_mismatch=False)
    sampler = Sampler(source.genome, like.bins, like.half, lm.d_model, sae.d_sae, like.read_strand)
    run(through.blocks(on_reading=sampler.add_activations), sampler)
    return sampler.sample(), sae
