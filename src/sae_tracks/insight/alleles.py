"""Variants as a model reads them: on one strand, from the first base that differs, in windows of the genome."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight.vcf import Variant
from sae_tracks.reading import WindowLayout, most_after
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.source import Source

REACH = 15  # bases behind a variant that are compared; with a model that is not causal also before it
ROOM = 64  # bases of a window, at most, that are kept free for what lies behind its last variants
SIZES = 16  # copies have a multiple of so many bases, so that many are read together
CHUNK = 64  # bases fetched at once
ALONE = -(1 << 30)  # in place of a base that has no counterpart


@dataclass(frozen=True, slots=True)
class Allele:
    """A variant in the direction of reading, without the bases that both alleles share at their ends.

    Of the places at which an insertion or deletion in a repeat may be written, this is the last one in the direction
    of reading. So all ways to write a variant are one, and the alleles differ from the first base on.

    Attributes
    ----------
    number : int
        Of the variant, in the list that was given.
    first : int
        Offset of the first base that differs, in the direction of reading, from where the stretch begins.
    ref, alt : bytes
        Either may be empty.
    """

    number: int
    first: int
    ref: bytes
    alt: bytes

    @property
    def longest(self) -> int:
        """Bases of the longer allele."""
        return max(len(self.ref), len(self.alt))

    @property
    def shared(self) -> int:
        """Bases of both alleles that are compared with each other: the last ones of each."""
        return min(len(self.ref), len(self.alt))


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a contig between long runs of N, as it is read on one strand. Offsets count in this direction."""

    genome: Genome
    region: GenomicRegion
    read_strand: ReadStrand

    def __len__(self) -> int:
        return len(self.region)

    def position(self, offset: int) -> int:
        """The forward position of an offset."""
        return self.region.start + offset if self.read_strand == "+" else self.region.end - 1 - offset

    def letters(self, start: int, end: int) -> bytes:
        """Upper-case letters of some offsets; N behind the end of the stretch."""
        inside = min(end, len(self))
        if inside <= start:
            return b"N" * (end - start)
        ends = self.position(start), self.position(inside - 1)
        forward = self.genome.sequence(GenomicRegion(self.region.contig, min(ends), max(ends) + 1))
        oriented = forward if self.read_strand == "+" else reverse_complement(forward)
        return oriented + b"N" * (end - inside)


def as_read(variant: Variant, number: int, stretch: Stretch) -> Allele:
    """Orient a variant, cut what its alleles share, and move it as far as possible in the direction of reading."""
    ref, alt, end = variant.ref, variant.alt, variant.start + len(variant.ref)
    first = variant.start - stretch.region.start
    if stretch.read_strand == "-":
        ref, alt, first = reverse_complement(ref), reverse_complement(alt), stretch.region.end - end
    shared = _shared(ref, alt)
    ref, alt, first = ref[shared:], alt[shared:], first + shared
    shared = _shared(ref[::-1], alt[::-1])
    ref, alt = ref[: len(ref) - shared], alt[: len(alt) - shared]
    if bool(ref) != bool(alt):
        moved = _room_to_move(ref or alt, first + len(ref), stretch)
        word, first = _rotated(ref or alt, moved), first + moved
        ref, alt = (word, b"") if ref else (b"", word)
    return Allele(number, first, ref, alt)


def _shared(one: bytes, other: bytes) -> int:
    """Letters that both begin with."""
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)


def _rotated(word: bytes, by: int) -> bytes:
    turn = by % len(word)
    return word[turn:] + word[:turn]


def _room_to_move(word: bytes, behind: int, stretch: Stretch) -> int:
    """How many of the bases behind an inserted or deleted word go on with the word, over and over."""
    moved = 0
    while behind + moved < len(stretch):
        letters = stretch.letters(behind + moved, min(behind + moved + CHUNK, len(stretch)))
        wanted = _rotated(word, moved) * (len(letters) // len(word) + 1)
        same = _shared(letters, wanted)
        moved += same
        if same < len(letters):
            break
    return moved


@dataclass(frozen=True, slots=True)
class AlleleWindow:
    """A part of a stretch that is read once, and the alleles in it.

    Attributes
    ----------
    start, end : int
        Offsets that the model reads; N behind the end of the stretch.
    alleles : list of Allele
    """

    stretch: Stretch
    start: int
    end: int
    alleles: list[Allele]

    def letters(self) -> bytes:
        """What the model reads of the reference."""
        return self.stretch.letters(self.start, self.end)


class Plan:
    """Which windows are read for variants.

    The windows are those of `read`, a little shorter, so that a variant has the same window whatever other variants
    there are. Of a window, a causal model reads the first half, quarter and so on that
    holds all its variants. An allele that does not fit behind the last base
    of its window has a window of its own, with the bases of context before it.
    """

    def __init__(self, source: Source) -> None:
        lm, layout = source.lm, source.layout
        self.genome, self.lm = source.genome, lm
        self.shared = most_after(lm) == 0  # copies differ from the first changed base on, and none needs what follows
        room = min(ROOM, (layout.window - layout.before) // 2)
        self.room, self.context = (room, layout.before) if self.shared else (layout.after, layout.before)
        self.after = 0 if self.shared else layout.after
        window = layout.window - room if self.shared else layout.window
        self.layout = WindowLayout(window, layout.before, self.after, causal=lm.causal)
        self._spans = lru_cache(maxsize=16)(self._spans_of)

    @property
    def back(self) -> int:
        """Bases before a variant that are compared."""
        return 0 if self.shared else REACH

    def windows(self, variants: Sequence[Variant], read_strand: ReadStrand) -> list[AlleleWindow]:
        """The windows of one read strand, in the order of their first variants."""
        found: dict[tuple, list[Allele]] = defaultdict(list)
        for number, variant in enumerate(variants):
            stretch = self._stretch(variant, read_strand)
            allele = as_read(variant, number, stretch)
            found[(stretch, *self._place(allele, stretch))].append(allele)
        return [
            AlleleWindow(stretch, start, self._end(start, end, alleles), alleles)
            for (stretch, start, end), alleles in found.items()
        ]

    def neighbourhood(self, variant: Variant, read_strand: ReadStrand) -> GenomicRegion:
        """The part of the genome that is read in one window with a variant, without its context."""
        stretch = self._stretch(variant, read_strand)
        _, kept = self._spans(len(stretch))
        first = min(as_read(variant, 0, stretch).first, len(stretch) - 1)
        i = int(np.searchsorted(kept, first, side="right"))
        ends = stretch.position(int(kept[i - 1]) if i else 0), stretch.position(int(kept[i]) - 1)
        return GenomicRegion(variant.contig, min(ends), max(ends) + 1)

    def span(self, allele: Allele) -> int:
        """Bases of a copy, from the first that differs on."""
        return -(-(allele.longest + REACH) // SIZES) * SIZES

    def _stretch(self, variant: Variant, read_strand: ReadStrand) -> Stretch:
        for region in self.genome.stretches(variant.contig):
            if region.start <= variant.start < region.end:
                return Stretch(self.genome, region, read_strand)
        raise SaeTracksError(f"{variant.contig}:{variant.start + 1} lies in a long run of N")

    def _place(self, allele: Allele, stretch: Stretch) -> tuple[int, int]:
        """Start and end of the window of an allele, before it is cut behind its last allele."""
        needed = self.span(allele) if self.shared else allele.longest + REACH
        if needed > self.room:
            return self._alone(allele, needed, stretch)
        fed, kept = self._spans(len(stretch))
        return fed[int(np.searchsorted(kept, min(allele.first, len(stretch) - 1), side="right"))]

    def _alone(self, allele: Allele, needed: int, stretch: Stretch) -> tuple[int, int]:
        start = max(allele.first - self.context, 0)
        end = allele.first + needed + self.after
        if end - start > self.lm.max_length:
            raise SaeTracksError(
                f"{stretch.region.contig}:{stretch.position(min(allele.first, len(stretch) - 1)) + 1} changes "
                f"{allele.longest:,} bases; this model reads {self.lm.max_length:,} at once: lower --context, or leave "
                "it out"
            )
        return start, end if self.shared else min(end, len(stretch))

    def _spans_of(self, length: int) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
        spans = list(self.layout.spans(length))
        return [fed for fed, _ in spans], np.array([kept[1] for _, kept in spans])

    def _end(self, start: int, end: int, alleles: list[Allele]) -> int:
        """Where reading may end: of a causal model behind the last allele, with few different lengths."""
        if not self.shared:
            return end
        needed = max(one.first + self.span(one) for one in alleles) - start
        length = self.layout.window + self.room
        while length // 2 >= needed:
            length //= 2
        return start + max(length, needed)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The k bases of two alleles that are compared, as offsets from the first base that differs.

    Attributes
    ----------
    ref, alt : (k,) int64
        Bases before the variant (of a model that is not causal), the last bases of both alleles, and the bases behind
        them, each with its counterpart. Then the bases of the longer allele that have no counterpart: `ALONE` stands
        for it.
    distance : (k,) int64
        0 is the last base of the alleles, 1 the first base behind them.
    focal : int
        Place of the pair at the variant: the first changed base, or the first one behind an insertion or deletion.
    """

    ref: NDArray[np.int64]
    alt: NDArray[np.int64]
    distance: NDArray[np.int64]
    focal: int


def pairs_of(allele: Allele, at: int, readable: NDArray[np.bool_], back: int) -> Pairs:
    """Pair the bases of both alleles that a window holds and that are A, C, G or T.

    Parameters
    ----------
    at : int
        First base that differs, counted from the start of the window.
    readable : (n,) bool
        Which bases of the window's reference are A, C, G or T.
    back : int
        Bases before the variant.
    """
    a, b, both, n = len(allele.ref), len(allele.alt), allele.shared, len(readable)
    offset = np.arange(-both - back, REACH)  # from the end of both alleles
    shorter = np.where(offset < -both, offset + both, offset)
    ref, alt = shorter + np.where(offset < -both, 0, a), shorter + np.where(offset < -both, 0, b)
    inside = (at + ref >= 0) & (at + np.maximum(ref, alt) < n)
    inside[inside] = readable[at + ref[inside]]
    alone = np.full(max(a, b) - both, ALONE)
    only = np.arange(len(alone))[: n - at]
    alone = alone[: len(only)]
    return Pairs(
        np.concatenate([ref[inside], only if a > b else alone]),
        np.concatenate([alt[inside], alone if a > b else only]),
        np.concatenate([offset[inside] + 1, np.zeros(len(only), np.int64)]),
        int((offset[inside] < -both).sum()),
    )


def copy_of(allele: Allele, at: int, beyond: bytes, start: int, end: int) -> bytes:
    """Letters ``start:end`` of a window's copy with an allele that begins at `at`.

    `beyond` are the window's letters and at least as many of those that follow as the allele shortens the copy.
    """
    return (beyond[start:at] + allele.alt + beyond[at + len(allele.ref) : end + len(allele.ref)])[: end - start]
