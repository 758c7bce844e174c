"""Score features against annotations: one pass over the genome, controls on the best matches, tables in a folder."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import pandas as pd

from sae_tracks.activations.shards import open_shards
from sae_tracks.annotations import Annotation, read_annotation
from sae_tracks.annotations.bed import MATRIX_ID
from sae_tracks.controls.alu import alu_sites
from sae_tracks.controls.best import Cells, cells_of
from sae_tracks.controls.control import ControlInputs, run_controls
from sae_tracks.controls.sample import Columns, Sample, Sampler, samplers_of, seen_through
from sae_tracks.controls.untrained import KINDS, SEEDS, blank_sample, check_retrainable
from sae_tracks.controls.verdict import is_motif
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.features import FeatureBlock, run
from sae_tracks.files import PROVENANCE, atomic, digest, read_json, write_provenance
from sae_tracks.lm.untrained import Kind
from sae_tracks.metrics import (
    COUNTS,
    OFFSETS,
    THRESHOLDS,
    Counter,
    Counts,
    Evaluation,
    Judge,
    annotation_checksums,
    count_bed,
    cutoffs_of,
    evaluate_on,
    merge_shards,
    write_tables,
)
from sae_tracks.motifs import named_motifs
from sae_tracks.reading import Reading
from sae_tracks.regions import GenomicRegion, parse_shard
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.directory import check_match
from sae_tracks.source import Source

ALU = "alu"
DECOYS = 5  # per motif
SHOWN = 5  # names in a message
SITE_P = 1e-4  # of JASPAR's tracks and of `scan`, if no --min-score says otherwise
COUNTS_ALONE = "control tests need more than counts (metrics without --shard runs them)"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """What the best matches are compared with, besides the controls that need nothing.

    Attributes
    ----------
    motifs : str, optional
        A file of matrices (JASPAR, PFM, MEME), or a release such as ``JASPAR2024``: for decoys and causal reference.
    decoys : int, optional
        Number of column-shuffled matrices per motif, 5 by default. Only with `motifs`.
    repeats : str, optional
        An annotation of repeats, ``softmask`` for the lower case of the FASTA, or ``alu`` for an alignment.
    seeds : sequence of str
        SAEs of other seeds.
    trained_on : path, optional
        The activations that the SAE was trained on. Untrained models are made and compared with only if they are given.
    """

    motifs: str | None = None
    decoys: int | None = None
    repeats: str | None = None
    seeds: Sequence[str] = ()
    trained_on: Path | None = None

    def __post_init__(self) -> None:
        if self.decoys is not None and not self.motifs:
            raise UsageError("--decoys shuffles the matrices of motifs: name these by --motifs, or leave it out")


STANDARD = ControlSettings()


@dataclass(frozen=True, slots=True)
class Scored:
    """What was scored."""

    counts: Counts
    table: pd.DataFrame  # the rows of metrics.tsv: the best feature of every concept; no rows if a shard was counted
    untested: str  # why no controls were run, or ""


def score(
    source: Source,
    annotations: Evaluation | Sequence[str | Path],
    out: str | Path,
    *,
    features: Iterable[int] | None = None,
    thresholds: Iterable[float] = THRESHOLDS,
    scale: Literal["max", "raw"] = "max",
    all_pairs: bool = False,
    shard: str | None = None,
    controls: ControlSettings | None = STANDARD,
) -> Scored:
    """Score the features of an SAE against annotations, as ``sae-tracks metrics`` does.

    One pass over the genome counts the bases and instances on which a feature is active, for every concept, feature,
    threshold and half. The best feature of each concept is chosen on the select half and reported on the report half.
    Controls then look at the best matches again, on a sample, and give each match a verdict.

    Parameters
    ----------
    source : Source
        Language model, SAE, genome, regions and read strands.
    annotations : Evaluation or sequence of path
        Annotation files, with the default filters and halves; or what `evaluate_on` returns, for others.
    out : path
        A folder, made if it is missing, for ``metrics.parquet``, ``metrics.tsv``, ``counts.npz``,
        ``provenance.json`` and, with controls, ``offsets.parquet``; see docs/formats.md.
    features : iterable of int, optional
        Feature ids; default all.
    thresholds : iterable of float
        A feature is active on a base if its value is strictly greater.
    scale : "max" or "raw"
        Whether thresholds are fractions of each feature's maximum, or activations.
    all_pairs : bool
        Every pair with a true positive gets rows in ``metrics.parquet``, not only the ten best per concept and feature.
    shard : str, optional
        Count shard i of n only, as ``i/n``; `merge_scores` adds the shards. No controls are run.
    controls : ControlSettings, optional
        None: scores alone.

    Returns
    -------
    Scored
        With the table of best matches.

    Raises
    ------
    SaeTracksError
        An input is missing, malformed, or does not fit the others. All that can be known before the first window is
        checked before it.
    """
    task = ScoreTask(source, annotations, out, features, thresholds, scale, shard, controls)
    return task.run(all_pairs=all_pairs)


def score_bed(
    bed: str | Path, evaluation: Evaluation, out: str | Path, *, threshold: float | None = None, all_pairs: bool = False
) -> Scored:
    """Score intervals of features, such as those of ``export-bed``, as ``sae-tracks metrics --bed`` does.

    No model is read and no controls are run.

    Parameters
    ----------
    bed : path
        See `count_bed`.
    evaluation : Evaluation
        From `evaluate_on`.
    out : path
        A folder, as for `score`.
    threshold : float, optional
        The threshold at which the intervals were exported, for the tables; it changes no count.
    all_pairs : bool
        As for `score`.

    Returns
    -------
    Scored
        The counts, and the best feature of every concept as a table.
    """
    counts = count_bed(bed, evaluation, threshold=threshold)
    genome = evaluation.genome
    facts = evaluation.facts | {
        "bed": annotation_checksums([bed]),
        "genome": {"path": str(genome.path), "contigs": genome.identity(r.contig for r in evaluation.regions)},
        "regions": [str(region) for region in evaluation.regions],
        "thresholds": None if threshold is None else [threshold],
    }
    return _write(counts, Path(out), facts, all_pairs, "--bed reads no model")


def merge_scores(shards: Iterable[str | Path], out: str | Path, *, all_pairs: bool = False) -> Scored:
    """Add the counts of shards and write the tables of one run over all of them, without controls.

    Parameters
    ----------
    shards : iterable of path
        The folders that `score` wrote with ``shard="1/n"`` to ``"n/n"``, in any order.
    out : path
        A folder, as for `score`.
    all_pairs : bool
        As for `score`.

    Returns
    -------
    Scored
        The sum of the counts, and the best feature of every concept as a table.

    Raises
    ------
    SaeTracksError
        A folder holds no shard, shards are of different runs, or one is missing or there twice.
    """
    folders = [Path(shard) for shard in shards]
    counts, facts = merge_shards(folders)
    return _write(counts, Path(out), facts | {"shards": len(folders)}, all_pairs, COUNTS_ALONE)


def why_untested(*, shard: str | None, split: bool, controls: bool) -> str:
    """Return the reason why no controls are run, or "" if they are."""
    if shard:
        return "--shard counts one part of the genome, and merge-metrics only adds counts"
    if not split:
        return "--no-split leaves no second half to report on"
    return "" if controls else "--controls none"


def activations_of(sae: str) -> Path:
    """The activations that an SAE was trained on, from the record in its folder."""
    record = Path(sae) / PROVENANCE
    folder = read_json(record).get("data") if record.is_file() else None
    if folder is None or not Path(folder).is_dir():
        raise SaeTracksError(f"{sae}: the activations it was trained on are not there: name the folder by --trained-on")
    return Path(folder)


class ScoreTask:
    """A scoring whose inputs are open and checked; no window is read yet. See `score` for the parameters."""

    def __init__(
        self,
        source: Source,
        annotations: Evaluation | Sequence[str | Path],
        out: str | Path,
        features: Iterable[int] | None,
        thresholds: Iterable[float],
        scale: Literal["max", "raw"],
        shard: str | None,
        controls: ControlSettings | None,
    ) -> None:
        parse_shard(shard)
        self.source, self.out, self.scale, self.shard = source, Path(out), scale, shard
        self.features = None if features is None else source.sae.check_features(features).tolist()
        self.thresholds = sorted(set(thresholds))
        self.cutoffs = cutoffs_of(source.sae, self.thresholds, scale)
        if not isinstance(annotations, Evaluation):
            annotations = evaluate_on(source.genome, annotations, source.regions, black_list=source.black_list)
        self.evaluation = annotations
        split = len(annotations.halves.names) > 1
        self.untested = why_untested(shard=shard, split=split, controls=controls is not None)
        self.samplers: list[Sampler] = []
        self.inputs, self.control_facts = ControlInputs(), {}
        if controls and not self.untested:
            self.samplers = samplers_of(source, annotations)
            self._open_controls(controls)
        elif controls not in (None, STANDARD):
            raise UsageError(f"{self.untested}, so no controls are run: leave out their settings")
        strands = source.read_strands
        self.counter = Counter(annotations, self.thresholds, self.cutoffs, features=self.features, read_strands=strands)

    def run(self, *, all_pairs: bool = False) -> Scored:
        """Read the genome once, run the controls and write the tables."""
        run(self._blocks(), self.counter, *self.samplers)
        counts = self.counter.counts()
        facts = self.source.provenance() | self.evaluation.facts
        facts["removed"] = [asdict(removal) for removal in self.evaluation.labels.annotation.removed]
        facts["scale"], facts["thresholds"] = self.scale, counts.thresholds.tolist()
        facts["cutoffs_sha256"] = digest(map(str, self.cutoffs.ravel()))
        if self.shard:
            counts.save(self.out / COUNTS)
            write_provenance(self.out, **facts, shard=self.shard)
            says = "counts of shard %s in %s; sae-tracks merge-metrics adds all shards and scores them"
            log.info(says, self.shard, self.out)
            return Scored(counts, pd.DataFrame(), self.untested)
        facts["controls"] = self.control_facts
        return _write(counts, self.out, facts, all_pairs, self.untested, self._judge)

    def estimate(self) -> str:
        """Say how large the task is, and how long it takes if all bases go as fast as the second window."""
        counts, blocks = self.counter.counts(), self._blocks()
        says = f"{self.evaluation.size}; {counts.nbytes / 1e9:.2f} GB of counts"
        next(blocks, None)  # lays out the windows and warms up
        started = perf_counter()
        block = next(blocks, None)
        if block is None:
            return f"{says}; one window, seconds"
        self.counter.add(block)
        self.counter.counts()
        seconds = (perf_counter() - started) * self.evaluation.bases * len(counts.read_strands) / len(block.region)
        return f"{says}; about {seconds / 60:,.1f} min"

    def _blocks(self) -> Iterator[FeatureBlock]:
        """Stream the blocks; samplers get the activations of every reading before its blocks."""

        def sample(reading: Reading) -> None:
            for sampler in self.samplers:
                sampler.add_activations(reading)

        return self.source.blocks(self.features, shard=parse_shard(self.shard), on_reading=sample)

    def _judge(self, best: pd.DataFrame) -> pd.DataFrame:
        """Run the controls on the best matches, write their profiles of offsets, and return the rows with verdicts."""
        samples = [sampler.sample() for sampler in self.samplers]
        controlled, offsets = run_controls(best, self.evaluation, samples, self.thresholds, self.cutoffs, self.inputs)
        with atomic(self.out / OFFSETS) as temporary:
            offsets.to_parquet(temporary, index=False)
        return controlled

    def _open_controls(self, settings: ControlSettings) -> None:
        """Open and check the inputs of the controls, and note for the provenance what they are."""
        motifs, motifs_from = named_motifs(settings.motifs) if settings.motifs else ([], None)
        others = [load_sae(seed) for seed in settings.seeds]
        for other in others:
            check_match(other, self.source.lm, allow_mismatch=self.source.allow_mismatch)
        shards = open_shards(settings.trained_on) if settings.trained_on else None
        if shards:
            check_retrainable(self.source, shards)
        repeats = _open_repeats(settings.repeats, self.evaluation, self.samplers[0].bins)
        _say_motifs_without_matrix(self.evaluation, settings, {motif.matrix_id for motif in motifs})
        decoys = DECOYS if settings.decoys is None else settings.decoys

        def cells(features: Columns, sae: SAE, sample: Sample) -> Cells:
            return cells_of(features, cutoffs_of(sae, self.thresholds, self.scale), len(sample))

        def untrained(sample: Sample) -> Iterator[tuple[Kind, Cells]]:
            for kind, seed in product(KINDS, SEEDS):
                if shards:
                    blank, sae = blank_sample(self.source, kind, seed, shards, sample, self.out / "untrained")
                    yield kind, cells(blank.features, sae, sample)

        def seeds(sample: Sample) -> Iterator[Cells]:
            for other in others:
                yield cells(seen_through(sample, other), other, sample)

        p = _site_p(self.evaluation, bool(motifs))
        self.inputs = ControlInputs(motifs, p, decoys, repeats, untrained, seeds)
        self.control_facts = {
            "motifs": motifs_from,
            "decoys": decoys if motifs else None,
            "repeats": None if settings.repeats is None else annotation_checksums([settings.repeats]),
            "seeds": [other.checksum for other in others],
            "untrained_on": shards.checksum if shards else None,
        }


def _open_repeats(name: str | None, evaluation: Evaluation, bins: Sequence[GenomicRegion]) -> Annotation | None:
    """Read the repeats in the regions, if a name is given; Alu is looked for only in the bins of a sample."""
    if name is None:
        return None
    if name == ALU:
        return Annotation(alu_sites(evaluation.genome, bins), "Alu by alignment")
    repeats = read_annotation(name, evaluation.genome, evaluation.regions, alias=evaluation.alias)
    if not len(repeats):
        raise SaeTracksError(
            f"{repeats.source} has no repeat in the regions: leave --repeats out, or name another file"
        )
    return repeats


def _site_p(evaluation: Evaluation, needed: bool) -> float | None:
    """The p-value at which a word is a site of the annotation; None if the unit of the scores is not known."""
    if evaluation.min_score is None:
        return SITE_P
    if _has_jaspar_scores(evaluation.labels.annotation.sites):
        return 10 ** (-evaluation.min_score / 100)
    if needed:
        log.info(
            "%s: --min-score is not known to be in the unit of JASPAR's tracks (-log10(p) x 100, with TF names), so "
            "causal_ref_f1 is not computed",
            evaluation.labels.annotation.source,
        )
    return None


def _has_jaspar_scores(sites: pd.DataFrame) -> bool:
    """Whether scores are -log10(p) x 100, as in JASPAR's tracks and files of one motif, and in those of ``scan``.

    Only these files name a transcription factor beside a matrix ID and have whole numbers as scores.
    """
    score = sites["Score"].to_numpy(np.float64)
    named = (sites["TF"].astype(str) != "").all() and all(map(MATRIX_ID.match, sites["Name"].astype(str).unique()))
    return bool(named and np.isfinite(score).all() and (score % 1 == 0).all())


def _say_motifs_without_matrix(evaluation: Evaluation, settings: ControlSettings, matrices: set[str]) -> None:
    """Log which motifs have no matrix, and so no decoys."""
    concepts = evaluation.labels.concepts
    without = sorted(set(concepts.loc[is_motif(concepts), "concept"]) - matrices)
    if without:
        named = ", ".join(without[:SHOWN]) + (" ..." if len(without) > SHOWN else "")
        where = f"no matrix in {settings.motifs}" if settings.motifs else "no matrix (give matrices with --motifs)"
        log.info("%d motifs have %s, so chance is not tested: %s", len(without), where, named)


def _write(
    counts: Counts, out: Path, facts: dict[str, Any], all_pairs: bool, untested: str, judge: Judge | None = None
) -> Scored:
    """Write the tables and how they were made; `untested` says why no controls were run."""
    if untested:  # profiles of an earlier run would be shown beside these scores
        (out / OFFSETS).unlink(missing_ok=True)
        facts = facts | {"controls": {"not_run": untested}}
    table = write_tables(counts, out, all_pairs=all_pairs, judge=None if untested else judge)
    write_provenance(out, **facts)
    log.info("scores of %d concepts in %s", len(table), out)
    if untested:
        log.info("%s: every verdict is not-tested", untested)
    return Scored(counts, table, untested)
