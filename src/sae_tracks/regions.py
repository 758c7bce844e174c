"""Genomic regions: 0-based half-open inside, samtools' 1-based inclusive text outside."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sae_tracks.errors import SaeTracksError
from sae_tracks.intervals import NO_SPANS, Spans, as_spans, intersect, merge, subtract

ReadStrand = Literal["+", "-"]  # the direction in which a model reads; - is the reverse complement


@dataclass(frozen=True, slots=True, order=True)
class GenomicRegion:
    """An interval of one contig, on the forward strand.

    Attributes
    ----------
    contig : str
        Name as in the FASTA.
    start, end : int
        Bases, 0-based half-open, ``0 <= start < end``.
    """

    contig: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise SaeTracksError(f"region {self.contig}:{self.start}-{self.end} (0-based) is empty or starts before 0")

    def __len__(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        """The region as samtools and browsers write it: 1-based inclusive, no commas."""
        return f"{self.contig}:{self.start + 1}-{self.end}"

    def overlap(self, other: "GenomicRegion") -> "GenomicRegion | None":
        """The bases that both regions share, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return GenomicRegion(self.contig, start, end) if self.contig == other.contig and start < end else None


def parse_region(text: str, lengths: Mapping[str, int]) -> GenomicRegion:
    """Read ``chr14``, ``chr14:1,000-2,000`` or ``chr14:1000-`` (1-based inclusive, commas ignored).

    A contig name that itself holds a colon is matched first. `lengths` has the contigs of the genome in bases.
    """
    text = text.strip()
    if text in lengths:
        return GenomicRegion(text, 0, lengths[text])
    contig, colon, span = text.rpartition(":")
    if not colon:
        contig, span = text, "1-"
    if contig not in lengths:
        if (colons := re.fullmatch(r"(.+):([\d,]+):([\d,]+)", text)) and colons[1] in lengths:
            raise SaeTracksError(f"region {text!r} has deepTools' colons: write {colons[1]}:{colons[2]}-{colons[3]}")
        raise unknown_contig(contig, lengths, "the genome")
    match = re.fullmatch(r"(\d+)(?:-(\d*))?", span.replace(",", "").replace(" ", ""))
    if not match:
        raise SaeTracksError(f"cannot read region {text!r}: write it as chr14:87,049,332-87,049,831")
    start = int(match[1])
    end = int(match[2]) if match[2] else (lengths[contig] if match[2] == "" else start)
    if start < 1 or end < start:
        raise SaeTracksError(f"region {text!r}: positions count from 1 and the end is not before the start")
    if end > lengths[contig]:
        raise SaeTracksError(f"region {text!r} ends past {contig}, which has {lengths[contig]:,} bases")
    return GenomicRegion(contig, start - 1, end)


def unknown_contig(contig: str, known: Iterable[str], where: str) -> SaeTracksError:
    """The error for a contig that is not there, with the name that was probably meant."""
    known = list(known)
    near = similar_contig(contig, known)
    hint = f"did you mean {near!r}?" if near else f"it has {', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
    return SaeTracksError(f"no contig {contig!r} in {where}: {hint}")


def similar_contig(contig: str, known: Iterable[str]) -> str | None:
    """The name of the same contig elsewhere, such as chr1 for 1; None if no name is like it."""
    return next((name for name in known if _bare(name) == _bare(contig)), None)


def _bare(name: str) -> str:
    """The part of a contig's name that UCSC, Ensembl and (for human chromosomes) RefSeq have in common."""
    name = name.lower().removeprefix("chr")
    if accession := re.fullmatch(r"nc_0000(\d\d)\.\d+", name):
        name = {"23": "x", "24": "y"}.get(accession[1], accession[1].lstrip("0"))
    return {"mt": "m", "nc_012920.1": "m"}.get(name, name)


def spans_by_contig(regions: Iterable[GenomicRegion]) -> dict[str, Spans]:
    """(k, 2) int64 starts and ends by contig, contigs and regions in the order given."""
    found: dict[str, list[tuple[int, int]]] = {}
    for region in regions:
        found.setdefault(region.contig, []).append((region.start, region.end))
    return {contig: as_spans(pairs) for contig, pairs in found.items()}


def regions_of(contig: str, spans: Spans) -> list[GenomicRegion]:
    """The regions of one contig with these (k, 2) starts and ends."""
    return [GenomicRegion(contig, start, end) for start, end in spans.tolist()]


def merge_regions(regions: Iterable[GenomicRegion], order: Iterable[str]) -> list[GenomicRegion]:
    """Disjoint regions that cover the same bases, with contigs in `order`. Regions that touch are joined."""
    rank = {name: i for i, name in enumerate(order)}
    spans = spans_by_contig(regions)
    return [region for c in sorted(spans, key=rank.__getitem__) for region in regions_of(c, merge(spans[c]))]


def intersect_regions(regions: Iterable[GenomicRegion], others: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """The parts of regions that lie in others, contig by contig; others are ascending and disjoint on each contig."""
    spans, theirs = spans_by_contig(regions), spans_by_contig(others)
    return [part for c in spans for part in regions_of(c, intersect(spans[c], theirs.get(c, NO_SPANS)))]


def subtract_regions(regions: Iterable[GenomicRegion], others: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """The parts of regions that lie in none of the others; see `intersect_regions`."""
    spans, theirs = spans_by_contig(regions), spans_by_contig(others)
    return [part for c in spans for part in regions_of(c, subtract(spans[c], theirs.get(c, NO_SPANS)))]


def spread_regions(regions: Sequence[GenomicRegion], most: int) -> list[GenomicRegion]:
    """The regions, or bins that are spread evenly over them, of at most `most` bases in all.

    A bin has 32,768 bases, or `most` if this is less; it is cut where a region ends.
    """
    total, size = sum(map(len, regions)), min(32_768, most)
    if total <= most:
        return list(regions)
    starts = np.linspace(0, total - size, most // size).astype(np.int64) if most >= 2 * size else np.array([0])
    found, before = list[GenomicRegion](), 0
    for region in regions:  # bins are on the line of all regions, one after the other
        for start in starts[(starts < before + len(region)) & (starts + size > before)].tolist():
            low, high = max(start - before, 0), min(start + size - before, len(region))
            found.append(GenomicRegion(region.contig, region.start + low, region.start + high))
        before += len(region)
    return found


@dataclass(frozen=True, slots=True)
class Shard:
    """One of n equal parts of the work, counted from 1 as Slurm counts array indices."""

    index: int
    count: int

    def slice(self, n: int) -> slice:
        """This shard's contiguous part of n items; the parts of all shards are disjoint and cover all."""
        return slice((self.index - 1) * n // self.count, self.index * n // self.count)


WHOLE = Shard(1, 1)
Differ = Callable[[Mapping[str, Any], Mapping[str, Any]], str | None]  # the name of what differs


class StreamPosition(NamedTuple):
    """How far a stream was read: all earlier read strands, and this one up to a base."""

    read_strand: ReadStrand
    contig: str
    base: int  # 0-based; the first base that was not read


def parse_shard(text: str | None) -> Shard:
    """Read ``i/n``; None is the whole, ``1/1``."""
    match = re.fullmatch(r"(\d+)/(\d+)", text or "1/1")
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise SaeTracksError(f"--shard {text!r}: write i/n with 1 <= i <= n, such as 3/16")
    return Shard(int(match[1]), int(match[2]))


def check_complete(shards: Iterable[Shard], verb: str) -> None:
    """Raise unless each shard of one division is there once. The error says how `verb` makes a missing one."""
    shards = list(shards)
    if not shards:
        raise SaeTracksError(f"there is no shard to merge: name the folders of {verb} --shard i/n")
    count = shards[0].count
    found = sorted(shard.index for shard in shards)
    if any(shard.count != count for shard in shards):
        raise SaeTracksError("the shards are of different divisions, such as 1/4 and 2/8: name those of one run")
    if twice := [i for i, j in zip(found, found[1:]) if i == j]:
        raise SaeTracksError(f"shard {twice[0]}/{count} is there twice: name each folder once")
    if missing := sorted(set(range(1, count + 1)) - set(found)):
        again = f"{missing[0]}/{count}"
        raise SaeTracksError(f"shard {again} is missing: run {verb} --shard {again}, or name its folder")


def one_run(folders: Sequence[Path], records: Sequence[Mapping[str, Any]], verb: str, differ: Differ) -> list[Path]:
    """The folders of all shards of one run, by number; the ``shard`` of each record is ``i/n``.

    `differ` names what makes two records those of different runs. That and what `check_complete` refuses are errors.
    """
    for folder, record in zip(folders, records):
        if key := differ(records[0], record):
            raise SaeTracksError(f"{folder} is of another run than {folders[0]}: its {key} differs")
    shards = [parse_shard(record["shard"]) for record in records]
    check_complete(shards, verb)
    return [folder for _, folder in sorted(zip([shard.index for shard in shards], folders))]
