"""The same path with a language model that has learned nothing: its own activations, its own SAE, the same bases."""

import logging
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sae_tracks.controls.sample import Sample
from sae_tracks.controls.sampler import Sampler
from sae_tracks.errors import SaeTracksError
from sae_tracks.extract import extract, plan_extraction
from sae_tracks.features import run
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM
from sae_tracks.lm.blank import Kind, untrained
from sae_tracks.progress import counter
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.directory import CONFIG, check_match
from sae_tracks.shards import MANIFEST, WINDOWS, ActivationShards, open_shards
from sae_tracks.shuffle import plan_shuffle, shuffle
from sae_tracks.source import Source
from sae_tracks.training.plan import TrainPlan, plan_training
from sae_tracks.training.presets import TrainSettings
from sae_tracks.training.sae import train_sae

KINDS: tuple[Kind, ...] = ("random", "permuted")
SEEDS = (0, 1, 2)
SETTINGS = (*(field.name for field in fields(TrainSettings) if field.name != "expansion"), "d_sae", "steps", "seed")
SHUFFLE_MEMORY = 1 << 30
log = logging.getLogger(__name__)


def retrain(sae: SAE, lm: GeneLM, genome: Genome, trained_on: ActivationShards, out: Path) -> SAE:
    """Train an SAE on another language model exactly as one was trained: the same bases, settings and steps.

    Parameters
    ----------
    sae : SAE
        Whose settings are taken, from its metadata.
    lm : GeneLM
        The other model.
    genome : Genome
        Must hold the contigs that the activations came from.
    trained_on : ActivationShards
        The activations `sae` was trained on: their windows are read again.
    out : path
        SAE directory. Activations lie beside it while they are needed. What an interrupted run left is used.

    Raises
    ------
    SaeTracksError
        The SAE does not say how it was trained, or the activations are not those it was trained on.
    """
    training = sae.metadata.get("training", {})
    if training.get("data_sha256") != trained_on.checksum:
        raise SaeTracksError(f"this SAE was not trained on {trained_on.folder}: name the folder that `train` was given")
    if (out / CONFIG).exists():
        return _made_before(out, training, lm)
    act, shuffled = out.with_name("act"), out.with_name("shuffled")
    if not (shuffled / MANIFEST).exists():
        _read_again(lm, genome, trained_on, act)
        data = open_shards(act)
        shuffle(data, shuffled, plan_shuffle(data, SHUFFLE_MEMORY), seed=training["seed"])
        shutil.rmtree(act)
    plan = _same_training(training, open_shards(shuffled))
    with counter("training", plan.steps) as advance:
        train_sae(plan, out, advance)
    shutil.rmtree(shuffled)
    return load_sae(out)


def _made_before(out: Path, training: dict[str, Any], lm: GeneLM) -> SAE:
    """The SAE of a run that is complete, where it is of this model and these settings."""
    made = load_sae(out)
    check_match(made, lm)
    differ = [name for name in SETTINGS if made.metadata["training"].get(name) != training.get(name)]
    if differ:
        raise SaeTracksError(f"{out} is a control of an SAE with another {differ[0]}: delete it, or name another -o")
    return made


def _read_again(lm: GeneLM, genome: Genome, shards: ActivationShards, out: Path) -> None:
    """The activations of another model on the bases of stored ones."""
    windows = pd.read_csv(shards.folder / WINDOWS, sep="\t", header=None, usecols=[0, 1, 2], dtype={0: str})
    regions = [GenomicRegion(*row) for row in windows.itertuples(index=False, name=None)]
    facts = shards.manifest
    how = {name: facts[name] for name in ("window", "context", "min_context", "read_strands")}
    extract(plan_extraction(lm, genome, regions, **how), out)


def _same_training(training: dict[str, Any], data: ActivationShards) -> TrainPlan:
    settings = TrainSettings(
        **{field.name: training[field.name] for field in fields(TrainSettings) if field.name in training}
    )
    how = {name: training[name] for name in ("d_sae", "seed", "dtype")}
    return plan_training(data, settings, rows=training["rows"], device="cpu", **how)


def blank_sample(
    source: Source,
    kind: Kind,
    seed: int,
    trained_on: ActivationShards,
    like: Sample,
    folder: Path,
) -> tuple[Sample, SAE]:
    """The bases of a sample as a language model without training sees them, and the SAE through which.

    Parameters
    ----------
    source : Source
        The trained model and SAE.
    kind, seed
        See `untrained`.
    trained_on : ActivationShards
        See `retrain`.
    like : Sample
        Of the trained ones: the same bins are read, in the same direction.
    folder : path
        Where the control's SAE is kept, in a folder of its own.
    """
    lm = untrained(source.lm, kind, seed)
    log.info("control: %s", lm.model_id)
    sae = retrain(source.sae, lm, source.genome, trained_on, folder / f"{kind}-{seed}" / "sae")
    strand = (like.read_strand,)
    through = replace(source, lm=lm, sae=sae, regions=like.bins, read_strands=strand, allow_mismatch=False)
    sampler = Sampler(source.genome, like.bins, like.half, lm.d_model, sae.d_sae, like.read_strand)
    run(through.blocks(look=sampler.look), sampler)
    return sampler.sample(), sae
