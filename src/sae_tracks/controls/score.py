"""Score features against annotations: one pass over the genome, controls on the best matches, tables in a folder."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.gather import FEATURES, Gathered, Gatherer, disk_needed
from sae_tracks.controls.methods import METHODS, NO_RECORD, methods_paragraph
from sae_tracks.controls.opened import STANDARD, ControlSettings, OpenControls, evaluation_again, judged_concepts
from sae_tracks.controls.verdict import LEAST_INSTANCES
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import UsageError
from sae_tracks.features import Sink, run
from sae_tracks.files import (
    atomic,
    digest,
    move,
    remove,
    replace_folder,
    scratch_folder,
    write_json,
    write_provenance,
)
from sae_tracks.json_file import COUNT, read_json
from sae_tracks.metrics import (
    COUNTS,
    OFFSETS,
    THRESHOLDS,
    Counter,
    Counts,
    Evaluation,
    Judge,
    add_shards,
    annotation_checksums,
    count_bed,
    cutoffs_of,
    evaluate_on,
    refuse_beside,
    write_tables,
)
from sae_tracks.names import SIGNALS, counted
from sae_tracks.reading import Reading, read_together
from sae_tracks.records import CONTIGS, HALVES, MAYBE_TEXT, SPAN, part_sums
from sae_tracks.regions import parse_shard
from sae_tracks.sae import SAE
from sae_tracks.source import Source
from sae_tracks.threads import Took, stopwatch

KEPT, INPUTS = "controls", "inputs.json"  # what controls keep of a shard, and what they were given
SCRATCH = "reading"  # the hidden folder that holds it meanwhile
ASKED = {  # what `INPUTS` holds
    **{"genome": str, "contigs": CONTIGS, "regions": [SPAN], "black_list": [SPAN], "halves": HALVES},
    **{"checksums": {str: str}, "annotations": [str], "instances": COUNT, "causal": bool, "facts": dict},
    **dict.fromkeys(("alias", "motifs", "repeats"), MAYBE_TEXT),
    **{"decoys": (COUNT, None), "dictionaries": {"counts": [str], "spools": [str]}},
    "filters": {"min_score": (float, None), "min_instances": (COUNT, None), "max_coverage": (float, None)},
}
MOST_THRESHOLDS = 254  # a level takes one byte
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scored:
    """What was scored."""

    counts: Counts
    table: pd.DataFrame  # the rows of metrics.tsv: the best feature of every concept; no rows if a shard was counted
    untested: str  # why no controls were run, or ""
    files: tuple[pd.Index, ...] = ()  # the concepts of each annotation file; none if a merge read no annotation


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
    With controls, the same pass counts the rivals, and writes the levels of all of them on the report half to disk. The
    best matches and their rivals are then measured on all of the report half, and each match gets a verdict.

    Parameters
    ----------
    source : Source
        Language model, SAE, genome, regions and read strands.
    annotations : Evaluation or sequence of path
        Annotation files, with the default filters and halves; or what `evaluate_on` returns, for others.
    out : path
        A folder, made if it is missing, for ``metrics.parquet``, ``metrics.tsv``, ``counts.npz``, ``methods.txt``,
        ``provenance.json`` and, with controls, ``offsets.parquet``; see docs/formats.md. A hidden folder holds the
        levels while they are needed.
    features : iterable of int, optional
        Feature ids; default all.
    thresholds : iterable of float
        A feature is active on a base if its value is strictly greater.
    scale : "max" or "raw"
        Whether thresholds are fractions of each feature's maximum, or activations.
    all_pairs : bool
        Every pair with a true positive gets rows in ``metrics.parquet``, not only the ten best per concept and feature.
    shard : str, optional
        Count shard i of n only, as ``i/n``; `merge_scores` adds the shards and gives the verdicts. The folder then has
        ``counts.npz``, ``provenance.json`` and ``controls/``.
    controls : ControlSettings, optional
        What the best matches are compared with. None: scores alone, and every verdict is not-tested.

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
    refuse_beside(Path(out) / SIGNALS)
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
    refuse_beside(Path(out) / SIGNALS)
    counts = count_bed(bed, evaluation, threshold=threshold)
    facts = evaluation.facts | {
        "bed": annotation_checksums([bed]),
        "genome": evaluation.genome.record(region.contig for region in evaluation.regions),
        "regions": [str(region) for region in evaluation.regions],
        "thresholds": None if threshold is None else [threshold],
    }
    return write_scores(counts, Path(out), facts, all_pairs, "--bed reads no model", evaluation=evaluation)


def merge_scores(shards: Iterable[str | Path], out: str | Path, *, all_pairs: bool = False) -> Scored:
    """Add what the shards of one run counted, run the controls, and write the tables of the run as if it were whole.

    The files are those of a run without shards, byte for byte, but for the provenance. No model is read. The genome and
    the annotation are read again, and the files of motifs and repeats, so all must be where they were.

    Parameters
    ----------
    shards : iterable of path
        The folders that `score` wrote with ``shard="1/n"`` to ``"n/n"``, in any order, each with its ``controls/``.
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
        A folder holds no shard, shards are of different runs, or one is missing or there twice. The genome or the
        annotation is gone or has changed.
    """
    folders, out = [Path(shard) for shard in shards], Path(out)
    counts, facts = add_shards(folders, KEPT)
    if "signals" not in facts:
        refuse_beside(out / SIGNALS)
    facts: dict[str, Any] = facts | {"shards": len(folders)}
    ran: dict[str, Any] = facts.get("controls") or {"not_run": NO_RECORD}
    if untested := ran.get("not_run"):
        return write_scores(counts, out, facts, all_pairs, untested)
    records = [read_json(folder / KEPT / INPUTS, ASKED, "run that shard again") for folder in folders]
    record = records[0]
    evaluation = evaluation_again(record, facts)
    settings = ControlSettings(motifs=record["motifs"], decoys=record["decoys"], repeats=record["repeats"])
    opened = OpenControls.again(settings, evaluation, record["causal"], record["facts"])
    gathered = Gathered({FEATURES: counts})
    for folder, one in zip(folders, records):
        gathered.add(folder / KEPT, one["dictionaries"])
    judge = opened.judge(gathered, evaluation, out)
    return write_scores(counts, out, facts, all_pairs, "", judge, evaluation=evaluation)


def why_untested(*, split: bool, controls: bool) -> str:
    """Return the reason why no controls are run, or "" if they are."""
    if not split:
        return "--no-split leaves no second half to report on"
    return "" if controls else "--controls none"


class Beside(Sink, Protocol):
    """A sink that also takes the readings, for another product of the same pass; its facts are for the provenance."""

    facts: dict[str, Any]

    def add_reading(self, reading: Reading) -> None: ...


@dataclass(frozen=True, slots=True)
class ScoreEstimate:
    """The size and cost of a scoring."""

    size: str  # concepts and bases
    memory: int  # bytes of the counts
    took: Took | None  # without controls; None: all windows are read before one could be timed, which takes seconds
    disk: int  # bytes that the controls need meanwhile; 0 without controls
    out: Path

    def __str__(self) -> str:
        says = f"{self.size}; {self.memory / 1e9:.2f} GB of counts; "
        if self.took is None:
            return f"{says}few windows, seconds"
        controls = f" without controls, which need about {self.disk / 1e9:.2g} GB of disk in {self.out} meanwhile"
        return f"{says}time {self.took}{controls if self.disk else ''}"


class ScoreTask:
    """A scoring whose inputs are open and checked; no window is read yet. See `score` for the parameters.

    What the controls name is checked too: matrices, repeats, seeds, and whether untrained models can be made.
    """

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
        self.untested = why_untested(split=split, controls=controls is not None)
        self.opened: OpenControls | None = None
        if controls and not self.untested:
            self._check_levels(controls)
            self.opened = OpenControls.of(controls, source, annotations, shard=bool(shard))
            self.record = self.opened.record(annotations) if shard else {}
        elif controls not in (None, STANDARD):
            raise UsageError(f"{self.untested}, so no controls are run: leave out their settings")
        strands = source.read_strands
        self.counter = Counter(annotations, self.thresholds, self.cutoffs, features=self.features, read_strands=strands)

    def run(self, *, all_pairs: bool = False, beside: Beside | None = None) -> Scored:
        """Read the genome once, and again with each untrained model; run the controls and write the tables.

        If a shard is counted, write its counts and what the controls need of it. `beside` reads along.
        """
        with scratch_folder(SCRATCH, self.out) as scratch:
            gatherer = self._read(scratch / KEPT, beside)
            counts = self.counter.counts()
            facts = self.source.provenance() | self.evaluation.facts
            facts["removed"] = [asdict(removal) for removal in self.evaluation.labels.annotation.removed]
            facts["scale"], facts["thresholds"] = self.scale, counts.thresholds.tolist()
            facts["cutoffs_sha256"] = digest(map(str, self.cutoffs.ravel()))
            facts["controls"] = self.opened.facts if self.opened else {"not_run": self.untested}
            facts |= {"signals": beside.facts} if beside else {}
            if self.shard:
                return self._keep(scratch, counts, gatherer, facts)
            judge = None
            if gatherer and self.opened:
                judge = self.opened.judge(gatherer.gathered(self.counter), self.evaluation, self.out)
            return write_scores(counts, self.out, facts, all_pairs, self.untested, judge, evaluation=self.evaluation)

    def _keep(self, scratch: Path, counts: Counts, gatherer: Gatherer | None, facts: dict[str, Any]) -> Scored:
        """Leave what `merge_scores` needs of a shard. Two processes that count it at once leave the same."""
        counts.save(scratch / COUNTS)
        if gatherer:
            gatherer.save()
            write_json(scratch / KEPT / INPUTS, self.record | {"dictionaries": gatherer.names})
        parts = part_sums(scratch, COUNTS, KEPT)
        if gatherer:
            replace_folder(scratch / KEPT, self.out / KEPT)
        else:
            remove(self.out / KEPT)  # of a run with other settings
        move(scratch / COUNTS, self.out / COUNTS)
        write_provenance(self.out, **facts, shard=self.shard, parts=parts)
        says = "counts of shard %s in %s; sae-tracks merge-metrics adds all shards and scores them"
        log.info(says, self.shard, self.out)
        return Scored(counts, pd.DataFrame(), self.untested)

    def _check_levels(self, controls: ControlSettings) -> None:
        if len(self.thresholds) > MOST_THRESHOLDS:
            raise UsageError(f"the control tests take at most {MOST_THRESHOLDS} thresholds, not {len(self.thresholds)}")
        if self.scale == "raw" and (controls.untrained or controls.trained_on is not None):
            raise UsageError("--scale raw: the activations of untrained models have another scale. Use --scale max")

    def estimate(self) -> "ScoreEstimate":
        """Estimate how large the task is, and how long it takes if all bases go as fast as the second window.

        If the model reads several windows together, it is the second time that it does so.
        """
        counts, blocks = self.counter.counts(), self.source.blocks(self.features, shard=parse_shard(self.shard))
        size = f"{self.evaluation.size}{self._too_few()}"
        together = read_together(self.source.lm, self.source.layout.window)
        for _ in islice(blocks, together):  # lays out the windows and warms up
            pass
        passed = stopwatch()
        timed = list(islice(blocks, together))
        if not timed:
            return ScoreEstimate(size, counts.nbytes, None, 0, self.out)
        run(timed, self.counter)
        self.counter.counts()
        bases = self.evaluation.bases * len(counts.read_strands)
        took, disk = passed().times(bases / sum(len(block.region) for block in timed)), 0
        if self.opened:  # on the report half
            disk = disk_needed(bases // 2, timed[0], self.source.lm.d_model, self.opened.sources)
        return ScoreEstimate(size, counts.nbytes, took, disk, self.out)

    def _too_few(self) -> str:
        """How many concepts no verdict can be given of, in brackets; "" without controls, or if it is none."""
        concepts = len(self.evaluation.labels.concepts) - len(NUCLEOTIDES)
        few = concepts - len(judged_concepts(self.evaluation))
        too_few = f"{few:,} of these low-power: fewer than {LEAST_INSTANCES} instances on the report half"
        return f" ({too_few})" if self.opened and few else ""

    def _read(self, folder: Path, beside: Beside | None) -> Gatherer | None:
        """Stream the blocks into the counter, what reads along and, with controls, into all that they need."""
        shard = parse_shard(self.shard)
        sinks = [self.counter, *([beside] if beside else [])]
        if not self.opened:
            along = beside.add_reading if beside else None
            run(self.source.blocks(self.features, shard=shard, on_reading=along), *sinks)
            return None
        seeds, competitors = self.opened.seeds, self.opened.competitors
        on = self.source, self.evaluation, self.thresholds
        gatherer = Gatherer(*on, self._cutoffs, folder, competitors, seeds)

        def on_reading(reading: Reading) -> None:
            gatherer.add_reading(reading)
            if beside:
                beside.add_reading(reading)

        run(self.source.blocks(self.features, shard=shard, on_reading=on_reading), *sinks, gatherer)
        for kind, seed, other in self.opened.untrained(self.source, self.out):
            gatherer.read_through(f"{kind}-{seed}", other, self.thresholds, self._cutoffs(other.sae), shard=shard)
        return gatherer

    def _cutoffs(self, sae: SAE) -> NDArray[np.float32]:
        return cutoffs_of(sae, self.thresholds, self.scale)


def write_scores(
    counts: Counts,
    out: Path,
    facts: dict[str, Any],
    all_pairs: bool,
    untested: str,
    judge: Judge | None = None,
    *,
    evaluation: Evaluation | None = None,
) -> Scored:
    """Write the tables and how they were made; `untested` says why no controls were run."""
    from sae_tracks import __version__

    if untested:  # profiles of an earlier run would be shown beside these scores
        (out / OFFSETS).unlink(missing_ok=True)
        facts = facts | {"controls": {"not_run": untested}}
    table = write_tables(counts, out, all_pairs=all_pairs, judge=None if untested else judge)
    write_provenance(out, **facts)
    if "lm" in facts:
        with atomic(out / METHODS) as temporary:
            temporary.write_text(methods_paragraph(facts | {"sae_tracks": __version__}) + "\n")
    else:
        (out / METHODS).unlink(missing_ok=True)
    log.info("scores of %s in %s", counted(len(table), "concept"), out)
    if untested:
        log.info("%s: every verdict is not-tested", untested)
    return Scored(counts, table, untested, evaluation.labels.annotation.files if evaluation else ())
