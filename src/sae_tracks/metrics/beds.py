"""The same counts from BED files of feature intervals, by joins of intervals."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import read_annotation
from sae_tracks.dna import NUCLEOTIDES, codes, readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.intervals import runs_of
from sae_tracks.metrics.counts import Counts
from sae_tracks.metrics.evaluation import Evaluation, join_overlaps
from sae_tracks.regions import GenomicRegion

INTERVAL = ["Chromosome", "Start", "End"]


def count_bed(path: str | Path, evaluation: Evaluation, *, threshold: float | None = None) -> Counts:
    """Count intervals against annotations: those of active bases, exported before, or any.

    The numbers are those of a `Counter` at the threshold of the export. All pairs of features and annotated concepts
    come from two joins, of bases and of instances; A, C, G and T are looked up in the sequence.

    Parameters
    ----------
    path : path
        See `read_annotation`. The name is the feature (``f357``, or any other), the strand the read strand (``.``
        where the file has none); intervals that overlap within both count a base once.
    evaluation : Evaluation
        Bases, concepts and halves.
    threshold : float, optional
        What the intervals were exported at, for the tables; it changes no count.

    Raises
    ------
    SaeTracksError
        A row is malformed, or no interval lies in the regions.
    """
    labels, halves = evaluation.labels, evaluation.halves
    intervals = _feature_intervals(path, evaluation)
    runs = _readable_runs(evaluation)
    features = sorted(set(intervals["Name"]), key=_order)
    strands = sorted(set(intervals["Strand"]))
    thresholds = [np.nan if threshold is None else threshold]
    counts = Counts.zeros(strands, halves.names, labels.concepts, thresholds, features)
    keys = {
        "k": intervals["Name"].map({name: k for k, name in enumerate(features)}).astype(np.int64),
        "s": intervals["Strand"].map({strand: s for s, strand in enumerate(strands)}).astype(np.int64),
    }
    active = _shared(intervals[INTERVAL].assign(**keys), runs)
    if active.empty:
        raise SaeTracksError(f"no interval of {Path(path).name} lies in the regions: is it of this genome?")
    sites = _shared(labels.sites, runs)
    pairs = _shared(sites[[*INTERVAL, "concept"]], active)
    np.add.at(counts.bases, (slice(None), runs["half"]), _lengths(runs))
    np.add.at(counts.labelled, (slice(None), sites["half"], sites["concept"]), _lengths(sites))
    np.add.at(counts.active, (active["s"], active["half"], 0, active["k"]), _lengths(active))
    where = (pairs["s"], pairs["half"], pairs["concept"], 0, pairs["k"])
    np.add.at(counts.tp, where, _lengths(pairs).astype(np.uint32))
    _count_instances(counts, labels.instances, runs, active)
    _count_nucleotides(counts, evaluation.genome, runs, active)
    return counts


def _order(name: str) -> tuple[int, str]:
    """Features by their number, other names behind them."""
    return (int(name[1:]), "") if re.fullmatch(r"f\d{1,18}", name) else (1 << 60, name)


def _count_instances(counts: Counts, instances: pd.DataFrame, runs: pd.DataFrame, active: pd.DataFrame) -> None:
    """Add the instances whose first base is in a run, and the features that are active on each in the same half."""
    rows = instances.assign(instance=np.arange(len(instances)))
    firsts = _shared(rows.assign(End=rows["Start"] + 1), runs).rename(columns={"half": "home"})
    np.add.at(counts.instances, (slice(None), firsts["home"], firsts["concept"]), firsts["copies"])
    counted = rows.merge(firsts[["instance", "home"]], on="instance")
    hit = _shared(counted, active)
    hit = hit[hit["half"] == hit["home"]].drop_duplicates(["instance", "s", "k"])
    where = (hit["s"], hit["half"], hit["concept"], 0, hit["k"])
    np.add.at(counts.hits, where, hit["copies"].to_numpy(np.uint32))


def _feature_intervals(path: str | Path, evaluation: Evaluation) -> pd.DataFrame:
    """Chromosome, Start, End, Name (the feature) and Strand (the read strand), disjoint within both."""
    rows = read_annotation(path, evaluation.genome, alias=evaluation.alias).sites
    key = rows.groupby(["Name", "Strand"], observed=True).ngroup()
    names = rows.assign(key=key).drop_duplicates("key").set_index("key")[["Name", "Strand"]].astype(object)
    return join_overlaps(rows[INTERVAL].assign(key=key), "key").join(names, on="key")


def _readable_runs(evaluation: Evaluation) -> pd.DataFrame:
    """Maximal runs of readable bases within one half and 1 Mb: Chromosome, Start, End, half, and run, the row."""
    import pyranges

    tiles = [tile for region in evaluation.regions for tile in evaluation.halves.tiles(region)]
    readable = [(*run, half) for tile, half in tiles for run in _runs(evaluation.genome, tile)]
    runs = pyranges.PyRanges(pd.DataFrame(readable, columns=[*INTERVAL, "half"]))
    black = pd.DataFrame([(r.contig, r.start, r.end) for r in evaluation.black_list], columns=INTERVAL)
    runs = runs.subtract(pyranges.PyRanges(black)) if len(black) else runs
    if not len(runs):
        raise SaeTracksError("the regions hold no readable base")
    return runs.df[[*INTERVAL, "half"]].assign(run=np.arange(len(runs)))


def _runs(genome: Genome, tile: GenomicRegion) -> Iterator[tuple[str, int, int]]:
    for start, end in (runs_of(readable_bases(genome.sequence(tile))) + tile.start).tolist():
        yield tile.contig, start, end


def _shared(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """The bases that each overlapping pair of rows shares, with the other columns of both; one join."""
    import pyranges

    pairs = pyranges.PyRanges(left).join(pyranges.PyRanges(right)).df
    if pairs.empty:
        return pd.DataFrame(columns=[*left.columns, *right.columns.difference(INTERVAL)], dtype=np.int64)
    start, end = pairs[["Start", "Start_b"]].max(axis=1), pairs[["End", "End_b"]].min(axis=1)
    return pairs.drop(columns=["Start_b", "End_b"]).assign(Start=start, End=end)


def _lengths(intervals: pd.DataFrame) -> NDArray[np.int64]:
    return (intervals["End"] - intervals["Start"]).to_numpy(np.int64)


def _count_nucleotides(counts: Counts, genome: Genome, runs: pd.DataFrame, active: pd.DataFrame) -> None:
    """Add A, C, G and T, run by run: letters up to the end of an interval less those up to its start."""
    by_run = dict(iter(active.groupby("run")))
    letters = np.arange(len(NUCLEOTIDES))[:, None]
    for contig, start, end, half, run in runs.itertuples(index=False, name=None):
        sequence = codes(genome.sequence(GenomicRegion(contig, start, end)))
        upto = np.zeros((len(NUCLEOTIDES), len(sequence) + 1), np.uint32)
        np.cumsum(sequence == letters, axis=1, out=upto[:, 1:])
        counts.labelled[:, half, : len(NUCLEOTIDES)] += upto[:, -1]
        if run in by_run:
            here = by_run[run]
            hits = upto[:, here["End"] - start] - upto[:, here["Start"] - start]
            np.add.at(counts.tp, (here["s"].to_numpy(), half, letters, 0, here["k"].to_numpy()), hits)
    counts.instances[..., : len(NUCLEOTIDES)] = counts.labelled[..., : len(NUCLEOTIDES)]
    np.add.at(counts.hits, np.s_[:, :, : len(NUCLEOTIDES)], counts.tp[:, :, : len(NUCLEOTIDES)])
