"""Score features against annotations: one pass over the genome, controls on the best matches, tables in a folder."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.activations.shards import open_shards
from sae_tracks.annotations import Annotation, read_annotation
from sae_tracks.annotations.bed import MATRIX_ID
from sae_tracks.controls.alu import alu_sites
from sae_tracks.controls.control import ControlInputs, SampledFeatures, run_controls
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
    annotation_checksums,
    count_bed,
    cutoffs_of,
    evaluate_on,
    merge_parts,
    write_tables,
)
from sae_tracks.motifs import named_motifs
from sae_tracks.reading.reader import Reading
from sae_tracks.regions import GenomicRegion, parse_shard
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.directory import check_match
from sae_tracks.source import Source

ALU = "alu"
SHOWN = 5  # names in a message
SITE_P = 1e-4  # of JASPAR's tracks and of `scan`, if no --min-score says otherwise
COUNTS_ALONE = "counts do not hold what controls look at (metrics without --shard runs them)"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """What the best matches are compared with, besides the controls that need nothing.

    Attributes
    ----------
    motifs : str, optional
        A file of matrices (JASPAR, PFM, MEME), or a release such as ``JASPAR2024``: for decoys and causal reference.
    decoys : int
        Number of column-shuffled matrices per motif.
    repeats : str, optional
        An annotation of repeats, ``softmask`` for the lower case of the FASTA, or ``alu`` for an alignment.
    seeds : sequence of str
        SAEs of other seeds.
    trained_on : path, optional
        The activations that the SAE was trained on. Untrained models are made and compared with only if they are given.
    """

    motifs: str | None = None
    decoys: int = 5
    repeats: str | None = None
    seeds: Sequence[str] = ()
    trained_on: Path | None = None


STANDARD = ControlSettings()


@dataclass(frozen=True, slots=True)
class Scored:
    """What was scored.

    Attributes
    ----------
    counts : Counts
        Exact counts of bases and instances.
    table : DataFrame
        The rows of ``metrics.tsv``: the best feature of every concept and site strand, with its verdict. No rows if a
        shard was counted.
    untested : str
        Why no controls were run, or "".
    """

    counts: Counts
    table: pd.DataFrame
    untested: str


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
        Count part i of n only, as ``i/n``; `merge_scores` adds the parts. No controls are run.
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
    task = prepare_score(source, annotations, out, features, thresholds, scale, shard, controls)
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


def merge_scores(parts: Iterable[str | Path], out: str | Path, *, all_pairs: bool = False) -> Scored:
    """Add the counts of shards and write the tables of one run over all of them, without controls.

    Parameters
    ----------
    parts : iterable of path
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
        A folder holds no part, parts are of different runs, or one is missing or there twice.
    """
    folders = [Path(part) for part in parts]
    counts, facts = merge_parts(folders)
    return _write(counts, Path(out), facts | {"parts": len(folders)}, all_pairs, COUNTS_ALONE)


def why_untested(*, shard: str | None, split: bool, controls: bool) -> str:
    """Why no controls are run, or "" if they are."""
    if shard:
        return "--shard counts a part, and merge-metrics adds counts alone"
    if not split:
        return "--no-split leaves no half that reports on what the other chose"
    return "" if controls else "--controls none"


def activations_of(sae: str) -> Path:
    """The activations that an SAE was trained on, as the record in its folder says."""
    record = Path(sae) / PROVENANCE
    folder = read_json(record).get("data") if record.is_file() else None
    if folder is None or not Path(folder).is_dir():
        raise SaeTracksError(f"{sae}: the activations it was trained on are not there: name the folder by --trained-on")
    return Path(folder)


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """A scoring whose inputs are open and checked; see `prepare_score`.

    ``inputs`` is None if no controls are run; then there are no samplers.
    """

    source: Source
    evaluation: Evaluation
    out: Path
    features: list[int] | None
    thresholds: list[float]
    cutoffs: NDArray[np.float32]
    scale: str
    shard: str | None
    counter: Counter
    samplers: list[Sampler]
    inputs: ControlInputs | None
    control_facts: dict[str, Any]
    untested: str

    def run(self, *, all_pairs: bool = False) -> Scored:
        """Read the genome once, run the controls and write the tables."""
        run(self._blocks(), self.counter, *self.samplers)
        counts = self.counter.counts()
        removed = [asdict(removal) for removal in self.evaluation.labels.annotation.removed]
        facts = (
            self.source.provenance()
            | self.evaluation.facts
            | {
                "removed": removed,
                "scale": self.scale,
                "thresholds": counts.thresholds.tolist(),
                "cutoffs_sha256": digest(map(str, self.cutoffs.ravel())),
            }
        )
        if self.shard:
            counts.save(self.out / COUNTS)
            write_provenance(self.out, **facts, shard=self.shard)
            says = "counts of part %s in %s; sae-tracks merge-metrics adds all parts and scores them"
            log.info(says, self.shard, self.out)
            return Scored(counts, pd.DataFrame(), self.untested)
        return _write(counts, self.out, facts, all_pairs, self.untested, self._judge, self.control_facts)

    def estimate(self) -> str:
        """How large the task is, and how long it takes if all bases go as fast as the second window."""
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
        """The stream; samplers get the activations of every reading before its blocks."""

        def sample(reading: Reading) -> None:
            for sampler in self.samplers:
                sampler.add_activations(reading)

        return self.source.blocks(self.features, shard=parse_shard(self.shard), on_reading=sample)

    def _judge(self, best: pd.DataFrame) -> pd.DataFrame:
        """The best matches with controls and verdicts; their profiles of offsets are written."""
        assert self.inputs is not None
        samples = [sampler.sample() for sampler in self.samplers]
        controlled, offsets = run_controls(best, self.evaluation, samples, self.thresholds, self.cutoffs, self.inputs)
        with atomic(self.out / OFFSETS) as temporary:
            offsets.to_parquet(temporary, index=False)
        return controlled


def prepare_score(
    source: Source,
    annotations: Evaluation | Sequence[str | Path],
    out: str | Path,
    features: Iterable[int] | None,
    thresholds: Iterable[float],
    scale: Literal["max", "raw"],
    shard: str | None,
    controls: ControlSettings | None,
) -> ScoreTask:
    """Open and check all inputs of `score`, whose parameters these are; no window is read."""
    out = Path(out)
    parse_shard(shard)
    ids = None if features is None else source.sae.check_features(features).tolist()
    ascending = sorted(set(thresholds))
    cutoffs = cutoffs_of(source.sae, ascending, scale)
    evaluation = annotations
    if not isinstance(evaluation, Evaluation):
        evaluation = evaluate_on(source.genome, evaluation, source.regions, black_list=source.black_list)
    untested = why_untested(shard=shard, split=len(evaluation.halves.names) > 1, controls=controls is not None)
    samplers, inputs, facts = [], None, {}
    if controls and not untested:
        samplers = samplers_of(source, evaluation)
        inputs, facts = _open_controls(controls, source, evaluation, samplers[0].bins, ascending, scale, out)
    elif controls not in (None, STANDARD):
        raise UsageError(f"{untested}, so no controls are run: leave out their settings")
    counter = Counter(evaluation, ascending, cutoffs, features=ids, read_strands=source.read_strands)
    return ScoreTask(
        source=source,
        evaluation=evaluation,
        out=out,
        features=ids,
        thresholds=ascending,
        cutoffs=cutoffs,
        scale=scale,
        shard=shard,
        counter=counter,
        samplers=samplers,
        inputs=inputs,
        control_facts=facts,
        untested=untested,
    )


def _open_controls(
    settings: ControlSettings,
    source: Source,
    evaluation: Evaluation,
    bins: Sequence[GenomicRegion],
    thresholds: Sequence[float],
    scale: str,
    out: Path,
) -> tuple[ControlInputs, dict[str, Any]]:
    """The inputs of the controls, each opened and checked, and what the provenance says of them."""
    motifs, motifs_from = named_motifs(settings.motifs) if settings.motifs else ([], None)
    others = [load_sae(seed) for seed in settings.seeds]
    for other in others:
        check_match(other, source.lm, allow_mismatch=source.allow_mismatch)
    shards = open_shards(settings.trained_on) if settings.trained_on else None
    if shards:
        check_retrainable(source, shards)
    repeats = _open_repeats(settings.repeats, evaluation, bins)
    _say_motifs_without_matrix(evaluation, settings, {motif.matrix_id for motif in motifs})

    def with_cutoffs(features: Columns, sae: SAE) -> SampledFeatures:
        return SampledFeatures(features, cutoffs_of(sae, thresholds, scale))

    def untrained(sample: Sample) -> list[tuple[Kind, SampledFeatures]]:
        assert shards is not None
        found = []
        for kind in KINDS:
            for seed in SEEDS:
                blank, sae = blank_sample(source, kind, seed, shards, sample, out / "untrained")
                found.append((kind, with_cutoffs(blank.features, sae)))
        return found

    def seeds(sample: Sample) -> list[SampledFeatures]:
        return [with_cutoffs(seen_through(sample, other), other) for other in others]

    inputs = ControlInputs(
        motifs=motifs,
        p=_site_p(evaluation, bool(motifs)),
        decoys=settings.decoys,
        repeats=repeats,
        untrained=untrained if shards else None,
        seeds=seeds if others else None,
    )
    return inputs, {
        "motifs": motifs_from,
        "decoys": settings.decoys if motifs else None,
        "repeats": None if settings.repeats is None else annotation_checksums([settings.repeats]),
        "seeds": [other.checksum for other in others],
        "untrained_on": shards.checksum if shards else None,
    }


def _open_repeats(name: str | None, evaluation: Evaluation, bins: Sequence[GenomicRegion]) -> Annotation | None:
    """The repeats in the regions, if some are named; of Alu, those in the bins of a sample."""
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
    """The p-value at which a word is a site of the annotation; None if the scores are of an unknown unit."""
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

    These alone name a transcription factor beside a matrix ID, and their scores are whole numbers.
    """
    score = sites["Score"].to_numpy(np.float64)
    named = (sites["TF"].astype(str) != "").all() and all(map(MATRIX_ID.match, sites["Name"].astype(str).unique()))
    return bool(named and np.isfinite(score).all() and (score % 1 == 0).all())


def _say_motifs_without_matrix(evaluation: Evaluation, settings: ControlSettings, matrices: set[str]) -> None:
    """Say which motifs have no matrix, and so no decoys."""
    concepts = evaluation.labels.concepts
    without = sorted(set(concepts.loc[is_motif(concepts), "concept"]) - matrices)
    if without:
        named = ", ".join(without[:SHOWN]) + (" ..." if len(without) > SHOWN else "")
        where = f"no matrix in {settings.motifs}" if settings.motifs else "no matrix: --motifs names some"
        log.info("%d motifs have %s, so chance is not tested: %s", len(without), where, named)


def _write(
    counts: Counts,
    out: Path,
    facts: dict[str, Any],
    all_pairs: bool,
    untested: str,
    judge: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    control_facts: dict[str, Any] | None = None,
) -> Scored:
    """Write the tables and how they were made; `untested` says why no controls were run."""
    if untested:  # profiles of an earlier run would be shown beside these scores
        (out / OFFSETS).unlink(missing_ok=True)
    table = write_tables(counts, out, all_pairs=all_pairs, judge=None if untested else judge)
    write_provenance(out, **facts, controls={"not_run": untested} if untested else control_facts)
    log.info("scores of %d concepts in %s", len(table), out)
    if untested:
        log.info("%s: every verdict is not-tested", untested)
    return Scored(counts, table, untested)
