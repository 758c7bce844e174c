"""Counting all features against all motifs on 1 Mb: our counter, one joint pyranges join, one bedtools call per pair.

    python benchmarks/counter.py --json
    python benchmarks/counter.py --json jaspar.chr22_20-21M.bed.gz    # your own sites, all on 1 Mb of one contig

Without a BED file, 226,840 sites of 1,758 concepts are drawn at random. This is their number in JASPAR 2022 on that
megabase. On every base, 64 of 8,192 features are active: one of each of 64 groups, in runs of 4 bases on average. The
groups have 4 to 634 features, so a feature is active on 25 % to 0.2 % of the bases. There are five thresholds.

CPU seconds are those of all threads, for one read strand. `stream_cpu_s` is the time from sparse blocks to counts,
labels included. `dense_cpu_s` is the same from dense (1,024 x 8,192) float32 tiles, with their compaction. Neither
includes the time to make the blocks. `peak_rss_mb` is the largest memory until then.

The peers count the bases that the 200 most active features, above the lowest threshold, share with the 200 concepts
with the most sites. pyranges joins the intervals of all pairs at once and adds them up. bedtools intersects one pair
per call; a sample of pairs is timed, and the time is multiplied by the number of pairs. Ours counts the same from
blocks that hold only these features, labels and A, C, G and T included. All counts are compared; those of bedtools, on
its sample.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyranges
import torch

from sae_tracks.annotations import Annotation
from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.metrics import THRESHOLDS, Counter, Counts, Evaluation, Halves, Labels
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae.encoder import Compaction

BASES, FEATURES, L0, RUN = 1_000_000, 8192, 64, 4
SITES, CONCEPTS = 226_840, 1758
TILE, WINDOW = 1024, 24_576
SIDE = 200  # features and concepts that the peers count
COLUMNS = ["Chromosome", "Start", "End", "Name", "Strand"]
TEXTS = dict.fromkeys(("Chromosome", "Name", "Strand"), "category")
T = TypeVar("T")


def cpu_seconds() -> float:
    """CPU time of this process and its threads, and of the processes it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def timed(function: Callable[..., T], *arguments) -> tuple[T, float]:
    """What a call returns, and its CPU seconds."""
    started = cpu_seconds()
    result = function(*arguments)
    return result, cpu_seconds() - started


def random_sites() -> pd.DataFrame:
    """Sites of 6 to 20 bases, a length a concept."""
    rng = np.random.default_rng(0)
    concept = rng.integers(0, CONCEPTS, SITES)
    length = rng.integers(6, 21, CONCEPTS)[concept]
    start = 20 * BASES + rng.integers(0, BASES - 20, SITES)
    names = np.array([f"M{i // 2:04}" for i in range(CONCEPTS)])[concept]
    strand = np.array(["+", "-"])[concept % 2]
    return pd.DataFrame(dict(zip(COLUMNS, ("chr22", start, start + length, names, strand)))).astype(TEXTS)


def read_sites(path: Path) -> pd.DataFrame:
    """Sites of a BED6 file; where there are fewer than 1,758 concepts, single sites become concepts of their own."""
    sites = pd.read_csv(path, sep="\t", header=None, usecols=[0, 1, 2, 3, 5])
    sites.columns = COLUMNS
    missing = max(CONCEPTS - len(sites[["Name", "Strand"]].drop_duplicates()), 0)
    at = np.linspace(0, len(sites) - 1, missing).astype(int)
    sites.loc[at, "Name"] = [f"padding{i}" for i in range(missing)]
    return sites.astype(TEXTS)


def evaluation_of(sites: pd.DataFrame, folder: Path) -> Evaluation:
    """The megabase that holds the sites, of random sequence behind N, in halves of alternate 100 kb."""
    contig, start = str(sites["Chromosome"].iloc[0]), int(sites["Start"].min()) // BASES * BASES
    letters = np.random.default_rng(1).choice(np.frombuffer(b"ACGT", np.uint8), BASES).tobytes().decode()
    (folder / "g.fa").write_text(f">{contig}\n{'N' * start}{letters}\n")
    region = GenomicRegion(contig, start, start + BASES)
    return Evaluation(Genome(folder / "g.fa"), [region], [], labels_of(sites), Halves(100_000))


def labels_of(sites: pd.DataFrame) -> Labels:
    """The labels of such sites."""
    return Labels(Annotation(sites.assign(Score=np.nan, TF=""), "sites"))


def blocks_of(region: GenomicRegion, features: int = FEATURES) -> Iterator[FeatureBlock]:
    """The stream, of the first features alone."""
    edges = np.round(FEATURES * (1.0833 ** np.arange(L0 + 1) - 1) / (1.0833**L0 - 1)).astype(np.int32)
    wanted = int(np.searchsorted(edges, features))
    for number, start in enumerate(range(region.start, region.end, WINDOW)):
        rng = np.random.default_rng((2, number))
        place = GenomicRegion(region.contig, start, min(start + WINDOW, region.end))
        n = len(place)
        drawn = rng.random((n, L0), np.float32) < 1 / RUN
        drawn[0] = True
        held = np.maximum.accumulate(np.where(drawn, np.arange(n)[:, None], 0), axis=0)
        drawn_features = rng.integers(edges[:-1], edges[1:], (n, L0), np.int32)
        feature = np.take_along_axis(drawn_features, held, axis=0)[:, :wanted]
        value = (1 - rng.random((n, L0), np.float32))[:, :wanted]
        kept = feature < features
        indptr = np.concatenate(([0], np.cumsum(kept.sum(axis=1))))
        yield FeatureBlock(place, "+", np.ones(n, bool), indptr, feature[kept], value[kept], FEATURES)


def counter_of(
    evaluation: Evaluation,
    features: int = FEATURES,
    thresholds: Sequence[float] = THRESHOLDS,
    instances: bool = True,
) -> Counter:
    """Of the first features; every maximum is 1."""
    cutoffs = np.repeat(np.float32(thresholds)[:, None], FEATURES, axis=1)
    return Counter(evaluation, thresholds, cutoffs, features=range(features), instances=instances)


def stream(evaluation: Evaluation, sites: pd.DataFrame) -> tuple[Counts, float]:
    """Counts from sparse blocks, and the CPU seconds they took."""
    _, seconds = timed(labels_of, sites)
    sink = counter_of(evaluation)
    for block in blocks_of(evaluation.regions[0]):
        seconds += timed(sink.add, block)[1]
    counts, rest = timed(sink.counts)
    return counts, seconds + rest


def dense(evaluation: Evaluation, sites: pd.DataFrame) -> tuple[Counts, float]:
    """Counts from dense activations, and the CPU seconds they took."""
    _, seconds = timed(labels_of, sites)
    sink = counter_of(evaluation)
    compaction = Compaction(np.zeros(FEATURES, np.float32), np.arange(FEATURES, dtype=np.int32))
    tile, every, lowest = np.zeros((TILE, FEATURES), np.float32), np.arange(TILE, dtype=np.int32), np.zeros(TILE)
    for block in blocks_of(evaluation.regions[0]):
        parts = []
        for start in range(0, len(block.region), TILE):
            end = min(start + TILE, len(block.region))
            here = slice(block.indptr[start], block.indptr[end])
            row = np.repeat(np.arange(end - start), np.diff(block.indptr[start : end + 1]))
            tile[row, block.feature[here]] = block.value[here]
            rows = every[: end - start], lowest[: end - start].astype(np.float32)
            seconds += timed(compaction.add, tile, *rows)[1]
            part, taken = timed(compaction.take)
            parts, seconds = [*parts, part], seconds + taken
            tile[row, block.feature[here]] = 0
        seconds += timed(add_parts, sink, block, parts)[1]
    counts, rest = timed(sink.counts)
    return counts, seconds + rest


def add_parts(sink: Counter, block: FeatureBlock, parts: list[tuple]) -> None:
    """Give the counter a block made of compacted tiles."""
    width, feature, value = (np.concatenate(arrays) for arrays in zip(*parts))
    indptr = np.concatenate(([0], np.cumsum(width)))
    sink.add(FeatureBlock(block.region, block.read_strand, block.readable, indptr, feature, value, FEATURES))


def intervals_of(region: GenomicRegion) -> pd.DataFrame:
    """Runs of active bases of the first features, as a BED would hold them."""
    on = np.zeros((SIDE, len(region) + 2), np.int8)
    for block in blocks_of(region, SIDE):
        row = np.repeat(np.arange(len(block.region)), np.diff(block.indptr)) + block.region.start - region.start
        on[block.feature, row + 1] = 1
    feature, edge = np.nonzero(np.diff(on, axis=1))
    start, end = edge.reshape(-1, 2).T + region.start
    return pd.DataFrame({"Chromosome": region.contig, "Start": start, "End": end, "feature": feature[::2]})


def join(sites: pd.DataFrame, intervals: pd.DataFrame) -> np.ndarray:
    """(200, 200) bases shared, by pyranges: sites merged within a concept, one join, one sum."""
    merged = pyranges.PyRanges(sites).merge(by="concept")
    pairs = merged.join(pyranges.PyRanges(intervals)).df
    shared = np.minimum(pairs["End"], pairs["End_b"]) - np.maximum(pairs["Start"], pairs["Start_b"])
    total = np.zeros((SIDE, SIDE), np.int64)
    np.add.at(total, (pairs["concept"], pairs["feature"]), shared)
    return total


def calls(sites: pd.DataFrame, intervals: pd.DataFrame, pairs: np.ndarray, folder: Path) -> list[int]:
    """Bases shared by each pair, by a bedtools call each; files are written before."""
    found = []
    for concept, feature in pairs:
        command = f"bedtools merge -i c{concept}.bed | bedtools intersect -a f{feature}.bed -b - -wo"
        lines = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout
        found.append(sum(int(line.rsplit("\t", 1)[1]) for line in lines.splitlines()))
    return found


def peers(evaluation: Evaluation, sites: pd.DataFrame, sample: int, folder: Path) -> dict[str, float | int | str]:
    """200 features x 200 concepts in all three ways."""
    frequent = sites.groupby(["Name", "Strand"], observed=True).size().nlargest(SIDE).index
    chosen = sites[pd.MultiIndex.from_frame(sites[["Name", "Strand"]]).isin(frequent)]
    evaluation = Evaluation(evaluation.genome, evaluation.regions, [], labels_of(chosen), Halves())
    blocks, sink = list(blocks_of(evaluation.regions[0], SIDE)), counter_of(evaluation, SIDE, [0.0], False)

    def count() -> Counts:
        labels_of(chosen)
        for block in blocks:
            sink.add(block)
        return sink.counts()

    counts, ours = timed(count)
    tp = counts.tp[0, 0, 4:, 0]
    rows = evaluation.labels.instances.assign(concept=lambda rows: rows["concept"] - 4).drop(columns="copies")
    intervals = intervals_of(evaluation.regions[0])
    joined, pyranges_s = timed(join, rows, intervals)
    pairs = np.random.default_rng(3).integers(0, SIDE, (sample, 2))
    for concept, feature in pairs:
        for name, frame in ((f"c{concept}", rows[rows["concept"] == concept]),
                            (f"f{feature}", intervals[intervals["feature"] == feature])):  # fmt: skip
            bed = frame.sort_values("Start")[["Chromosome", "Start", "End"]]
            bed.to_csv(folder / f"{name}.bed", sep="\t", header=False, index=False)
    called, bedtools_s = timed(calls, rows, intervals, pairs, folder)
    same = (tp == joined).all() and [int(tp[c, f]) for c, f in pairs] == called
    return {
        "ours_200x200_cpu_s": round(ours, 3),
        "vs_pyranges": round(pyranges_s / ours, 1),
        "vs_bedtools": round(bedtools_s / sample * SIDE * SIDE / ours),
        "bedtools_pairs_timed": sample,
        "equal_counts": bool(same),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotation", type=Path, nargs="?", help="BED6 or more, plain or gzip")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of lines to read")
    parser.add_argument("--pairs", type=int, default=50, help="pairs that bedtools is timed on")
    parser.add_argument("--threads", "-p", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sites = read_sites(options.annotation) if options.annotation else random_sites()
    with tempfile.TemporaryDirectory() as folder:
        evaluation = evaluation_of(sites, Path(folder))
        warm_up(evaluation)
        counts, stream_s = stream(evaluation, sites)
        tp, hits = counts.tp.sum(), counts.hits.sum()
        del counts
        again, dense_s = dense(evaluation, sites)
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 10 if sys.platform == "linux" else 1 << 20)
        result = {
            "stream_cpu_s": round(stream_s, 2),
            "dense_cpu_s": round(dense_s, 2),
            "peak_rss_mb": round(rss),
            **peers(evaluation, sites, options.pairs, Path(folder)),
            "sites": len(sites),
            "concepts": len(evaluation.labels.concepts) - 4,
            "threads": options.threads,
        }
        assert (again.tp.sum(), again.hits.sum()) == (tp, hits)
    sys.stdout.write(
        (json.dumps(result) if options.json else "\n".join(f"{k:20} {v}" for k, v in result.items())) + "\n"
    )


def warm_up(evaluation: Evaluation) -> None:
    """Compile the kernels, or load them."""
    sink = counter_of(evaluation, SIDE)
    sink.add(next(blocks_of(evaluation.regions[0], SIDE)))
    sink.counts()
    compaction = Compaction(np.zeros(FEATURES, np.float32), np.arange(FEATURES, dtype=np.int32), rows=1)
    compaction.add(np.zeros((1, FEATURES), np.float32), np.zeros(1, np.int32), np.zeros(1, np.float32))
    compaction.take()


if __name__ == "__main__":
    main()
