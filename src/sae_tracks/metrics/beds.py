"""The counts of a `Counter` from a BED file of feature intervals.

Contigs lie one behind the other on one line, so the number of joins does not grow with the number of contigs.
"""

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import read_annotation
from sae_tracks.dna import NUCLEOTIDES, codes, readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.genome_line import GenomeLine
from sae_tracks.intervals import NO_SPANS, Spans, merge, overlapping_pairs, runs_of, subtract
from sae_tracks.metrics.counts import Counts
from sae_tracks.metrics.evaluation import Evaluation

SPAN = ["Start", "End"]


def count_bed(path: str | Path, evaluation: Evaluation, *, threshold: float | None = None) -> Counts:
    """Count intervals against annotations: exported ones of active bases, or any.

    The counts are those of a `Counter` at the threshold of the export. A, C, G and T are looked up in the sequence.

    Parameters
    ----------
    path : path
        See `read_annotation`. The name is the feature (``f357``, or any other), the strand the read strand (``.`` if
        the file has none). Intervals of one feature and read strand that overlap count a base once.
    threshold : float, optional
        The threshold at which the intervals were exported, for the tables; it changes no count.

    Raises
    ------
    SaeTracksError
        A row is malformed, the file is bedGraph, or no interval lies in the regions.
    """
    line = GenomeLine(evaluation.genome.lengths)
    rows = _feature_rows(path, evaluation)
    runs = _readable_runs(evaluation, line)
    names, strand_names = (cast(pd.Series, rows[key]).astype(str) for key in ("Name", "Strand"))
    features, strands = sorted(set(names), key=_order), sorted(set(strand_names))
    keys = pd.DataFrame(
        {
            "k": names.map({name: k for k, name in enumerate(features)}).to_numpy(np.int64),
            "s": strand_names.map({strand: s for s, strand in enumerate(strands)}).to_numpy(np.int64),
        }
    )
    thresholds = [np.nan if threshold is None else threshold]
    counts = Counts.zeros(strands, evaluation.halves.names, evaluation.labels.concepts, thresholds, features)
    active = _shared(_disjoint(line.rows(rows), keys, line), runs)
    if active.empty:
        raise SaeTracksError(f"no interval of {Path(path).name} lies in the regions: is it of this genome?")
    instances = evaluation.labels.instances
    sites = _shared(_disjoint(line.rows(instances), cast(pd.DataFrame, instances[["concept"]]), line), runs)
    pairs = _shared(cast(pd.DataFrame, sites[[*SPAN, "concept"]]), active)
    np.add.at(counts.bases, _at(runs, slice(None), "half"), _lengths(runs))
    np.add.at(counts.labelled, _at(sites, slice(None), "half", "concept"), _lengths(sites))
    np.add.at(counts.active, _at(active, "s", "half", 0, "k"), _lengths(active))
    where = _at(pairs, "s", "half", "concept", 0, "k")
    np.add.at(counts.tp, where, _lengths(pairs).astype(np.uint32))
    _count_instances(counts, instances, line, runs, active)
    _count_nucleotides(counts, evaluation.genome, line, runs, active)
    return counts


def _order(name: str) -> tuple[int, str]:
    """Features by their number, other names behind them."""
    return (int(name[1:]), "") if re.fullmatch(r"f\d{1,18}", name) else (1 << 60, name)


def _feature_rows(path: str | Path, evaluation: Evaluation) -> pd.DataFrame:
    """Read the rows of the file, with features as names; refuse a bedGraph, because its fourth column is a value."""
    rows = read_annotation(path, evaluation.genome, alias=evaluation.alias).sites
    names = rows["Name"].astype(str).unique().tolist()
    if cast(pd.Series, rows["Score"]).isna().all() and all(_is_number(name) for name in names):
        file = Path(path).name
        raise SaeTracksError(
            f"{file} is bedGraph: its fourth column is a value such as {names[0]}, not a feature's name. Write BED: "
            f"awk -v OFS='\\t' '$4 > 0 {{print $1, $2, $3, \"f357\"}}' {file} > f357.bed"
        )
    return rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _disjoint(spans: Spans, keys: pd.DataFrame, line: GenomeLine) -> pd.DataFrame:
    """``Start`` and ``End`` of disjoint intervals that cover the same bases for each set of keys, and the keys."""
    number = keys.groupby(list(keys), sort=True).ngroup().to_numpy(np.int64)
    distinct = keys.drop_duplicates().sort_values(list(keys), ignore_index=True)
    merged = merge(spans + number[:, None] * len(line))
    number = merged[:, 0] // len(line) if len(merged) else np.empty(0, np.int64)
    spans = merged - number[:, None] * len(line)
    return pd.DataFrame(spans, columns=SPAN).join(distinct.iloc[number].reset_index(drop=True))


def _readable_runs(evaluation: Evaluation, line: GenomeLine) -> pd.DataFrame:
    """Maximal runs of readable bases within one half and 1 Mb: Start, End, half, and run, the row."""
    black = merge(line.spans(evaluation.black_list))
    found, halves = [NO_SPANS], [np.empty(0, np.int64)]
    for region in evaluation.regions:
        for tile, half in evaluation.halves.tiles(region):
            runs = runs_of(readable_bases(evaluation.genome.sequence(tile))) + line.place(tile)
            found.append(subtract(runs, black) if len(black) else runs)
            halves.append(np.full(len(found[-1]), half))
    runs = pd.DataFrame(np.concatenate(found), columns=SPAN).assign(half=np.concatenate(halves))
    if runs.empty:
        raise SaeTracksError("the regions hold no readable base")
    return runs.assign(run=np.arange(len(runs)))


def _shared(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """The bases that each overlapping pair of rows shares, with the other columns of both."""
    a, b = overlapping_pairs(left[SPAN].to_numpy(np.int64), right[SPAN].to_numpy(np.int64))
    one, two = left.iloc[a].reset_index(drop=True), right.iloc[b].reset_index(drop=True)
    start, end = np.maximum(one["Start"], two["Start"]), np.minimum(one["End"], two["End"])
    return one.join(two.drop(columns=SPAN)).assign(Start=start, End=end)


def _at(table: pd.DataFrame, *index: str | slice | int) -> tuple:
    """An index into counts; a name is a column of the table."""
    return tuple(table[axis].to_numpy(np.int64) if isinstance(axis, str) else axis for axis in index)


def _lengths(intervals: pd.DataFrame) -> NDArray[np.int64]:
    return (intervals["End"] - intervals["Start"]).to_numpy(np.int64)


def _count_instances(
    counts: Counts, instances: pd.DataFrame, line: GenomeLine, runs: pd.DataFrame, active: pd.DataFrame
) -> None:
    """Add the instances whose first base is in a run, and the features that are active on each in the same half."""
    rows = pd.DataFrame(line.rows(instances), columns=SPAN)
    rows = rows.assign(concept=instances["concept"], copies=instances["copies"], instance=np.arange(len(rows)))
    firsts = _shared(rows.assign(End=rows["Start"] + 1), runs).rename(columns={"half": "home"})
    where = _at(firsts, slice(None), "home", "concept")
    np.add.at(counts.instances, where, firsts["copies"].to_numpy(np.int64))
    counted = rows.merge(firsts[["instance", "home"]], on="instance")
    hit = _shared(counted, active)
    hit = cast(pd.DataFrame, hit[hit["half"] == hit["home"]]).drop_duplicates(subset=["instance", "s", "k"])
    assert counts.hits is not None
    where = _at(hit, "s", "half", "concept", 0, "k")
    np.add.at(counts.hits, where, hit["copies"].to_numpy(np.uint32))


def _count_nucleotides(
    counts: Counts, genome: Genome, line: GenomeLine, runs: pd.DataFrame, active: pd.DataFrame
) -> None:
    """Add A, C, G and T, run by run: letters up to the end of an interval less those up to its start."""
    active = active.sort_values("run", kind="stable")
    edges = np.searchsorted(active["run"].to_numpy(), np.arange(len(runs) + 1))
    start, end, k, s = (active[name].to_numpy(np.int64) for name in ("Start", "End", "k", "s"))
    letters = np.arange(len(NUCLEOTIDES))[:, None]
    for run, (first, last, half) in enumerate(runs[[*SPAN, "half"]].to_numpy(np.int64).tolist()):
        sequence = codes(genome.sequence(line.region(first, last)))
        here = slice(edges[run], edges[run + 1])
        counts.labelled[:, half, : len(NUCLEOTIDES)] += np.bincount(sequence, minlength=len(NUCLEOTIDES))
        if here.start < here.stop:
            upto = np.zeros((len(NUCLEOTIDES), len(sequence) + 1), np.uint32)
            np.cumsum(sequence == letters, axis=1, out=upto[:, 1:])
            hits = upto[:, end[here] - first] - upto[:, start[here] - first]
            where: Any = (s[here], half, letters, 0, k[here])
            np.add.at(counts.tp, where, hits)
    counts.instances[..., : len(NUCLEOTIDES)] = counts.labelled[..., : len(NUCLEOTIDES)]
    assert counts.hits is not None
    counts.hits[:, :, : len(NUCLEOTIDES)] += counts.tp[:, :, : len(NUCLEOTIDES)]
