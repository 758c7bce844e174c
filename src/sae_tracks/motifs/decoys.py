"""Decoys: altered matrices that compete with a motif, with as many sites as the motif has, at other places.

In a decoy, A and T are exchanged in some columns of the motif, and C and G in others. So it has the width, the
information at each position and the GC content of the motif, and its scores have the same p-values. What matches a
decoy as well as its motif matches by chance, by composition or by a word.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import kmers
from sae_tracks.genome import Genome
from sae_tracks.jit import EXACT
from sae_tracks.motifs.matrix import Motif, loss_limit
from sae_tracks.motifs.scanner import Hits, Scanner, no_hits
from sae_tracks.progress import track
from sae_tracks.regions import GenomicRegion, intersect_regions, spread_regions

TRIES = 50  # draws in a row that are no new matrix, after which there are no more
CANDIDATES = 3.5  # matrices that are tried for each decoy wanted, at most
TRIED = 200  # matrices that may be tried at any rate: a tenth of JASPAR's motifs find one decoy in thirty of them
FEWER, MORE = 2 / 3, 2  # the least and the most sites of a decoy, as multiples of its motif's
ON_STRAND = 0.5  # and the least on each strand
OF_MOTIF = 0.1  # share of a decoy's sites that may lie on sites of the motif, or of another one of its family
OF_DECOY = 0.25  # share of a decoy's sites that may lie on sites of another decoy
MANY = 20  # decoys of a motif; so many similar matrices that avoid each other are hard to find, hence
OF_MANY = 0.5  # the share that may lie on sites of another decoy, if more are wanted
BATCH = 1000  # matrices that are scanned at once, which bounds the memory
CHUNK = 1 << 20  # bases that are scanned at once for sites, because a scanner first prepares each matrix
HELD = 2  # chunks whose sites are kept: the buffers of a counter come to the same places
SLACK = 1e-9  # scores that differ by less are ties
ALL = np.uint64(2**64 - 1)  # the cut-off of a hash that keeps all

LIKE_WORD = 2.0  # the most by which the fits of the best word to the sites of a motif and of a decoy differ
LEAST_FIT = 0.01  # added to both fits, below which a difference means nothing
LETTERS = 6  # of a word

Sites = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int8], NDArray[np.bool_]]


def decoys(motif: Motif, n: int, seed: int = 0) -> list[Motif]:
    """Return n altered matrices, called ``MA0139.1#1`` and so on; fewer, if there are not as many.

    Each is a random draw. A and T are exchanged on a random half of the columns, C and G on another random half. Half
    of the draws also have their columns in the reverse order. None equals the motif, its reverse complement, or another
    decoy or its reverse complement. They depend on the matrix ID, its counts and the seed alone, and the first ones do
    not depend on n.
    """
    return list(islice(_draws(motif, seed), n))


def _draws(motif: Motif, seed: int) -> Iterator[Motif]:
    rng = np.random.default_rng([seed, zlib.crc32(motif.matrix_id.encode())])
    taken = {_bytes(motif.counts), _bytes(motif.counts[::-1, ::-1])}
    number = tries = 0
    while tries < TRIES:
        tries += 1
        counts = motif.counts.copy()
        for exchanged in ([3, 1, 2, 0], [0, 2, 1, 3]):
            columns = rng.random(motif.width) < 0.5
            counts[columns] = counts[columns][:, exchanged]
        if rng.random() < 0.5:
            counts = counts[::-1].copy()
        if _bytes(counts) in taken:
            continue
        taken |= {_bytes(counts), _bytes(counts[::-1, ::-1])}
        number, tries = number + 1, 0
        yield replace(motif, matrix_id=f"{motif.matrix_id}#{number}", counts=counts)


def _bytes(counts: NDArray[np.float64]) -> bytes:
    return np.ascontiguousarray(counts).tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Competitors:
    """Motifs and their decoys, with cut-offs of the scores that give all of a group the same number of sites.

    A group is a motif and its decoys. In `motifs` the groups follow one another, the motif before its decoys. The
    motif is called ``MA0139.1#0``, its decoys ``MA0139.1#3`` and so on, by the number that `decoys` gives them.

    Attributes
    ----------
    names : list of str
        Matrix IDs of the C motifs that have a decoy.
    motifs : list of Motif
        The M matrices of all groups.
    decoys : (C,) int64
        Number of decoys of each motif.
    missing : dict
        Why the other motifs have no decoy, by matrix ID.
    facts : dict
        Numbers for the provenance.
    """

    names: list[str]
    motifs: list[Motif]
    decoys: NDArray[np.int64]
    missing: dict[str, str]
    facts: dict[str, Any]
    _scanner: Scanner | None = field(repr=False)  # None without motifs
    _score: NDArray[np.float64] = field(repr=False)  # (M, 2), on + and -: -log10 p of the worst sites kept
    _hash: NDArray[np.uint64] = field(
        repr=False
    )  # (M, 2): the largest hash of a place with that score whose site is kept
    _held: dict[tuple[str, str, int], Sites] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def sites(self, genome: Genome, region: GenomicRegion) -> Sites:
        """Return the sites that start in a region; they may end after it, and do not depend on it.

        Returns
        -------
        motif : (n,) int32
            Index in `motifs`.
        start, end : (n,) int64
            On the contig, 0-based half-open.
        strand : (n,) int8
            1 or -1. Sites ascend by motif, + before -, then by start.
        competes : (n,) bool
            Whether a site is among the best ones, of which a motif and its decoys have equally many.
        """
        first, last = region.start // CHUNK, (region.end - 1) // CHUNK
        parts = [self._chunk(genome, region.contig, number) for number in range(first, last + 1)]
        motif, start, end, strand, competes = map(np.concatenate, zip(*parts))
        inside = np.flatnonzero((start >= region.start) & (start < region.end))
        if len(parts) > 1:
            inside = inside[np.lexsort((start[inside], -strand[inside], motif[inside]))]
        return motif[inside], start[inside], end[inside], strand[inside], competes[inside]

    def _chunk(self, genome: Genome, contig: str, number: int) -> Sites:
        """The sites that start in a chunk of a contig."""
        key = str(genome.path), contig, number
        with self._lock:
            if key not in self._held:
                while len(self._held) >= HELD:
                    del self._held[next(iter(self._held))]
                self._held[key] = self._scanned(genome, contig, number * CHUNK)
            return self._held[key]

    def _scanned(self, genome: Genome, contig: str, start: int) -> Sites:
        region = GenomicRegion(contig, start, min(start + CHUNK, genome.lengths[contig]))
        hits = no_hits() if self._scanner is None else _hits_from(genome, region, self._scanner)
        side = (hits.strand < 0).astype(np.int64)
        score, most = self._score[hits.motif, side], self._hash[hits.motif, side]
        tie = np.abs(hits.minus_log10_p - score) <= SLACK
        competes = np.where(tie, hashed(contig, hits.start) <= most, hits.minus_log10_p > score)
        width = np.array([motif.width for motif in self.motifs], np.int64)
        return hits.motif, hits.start, hits.start + width[hits.motif], hits.strand, competes


def match_decoys(
    genome: Genome,
    motifs: Sequence[Motif],
    k: int,
    regions: Iterable[GenomicRegion] | None,
    *,
    p: float = 1e-4,
    relative: float = 0.8,
    seed: int = 0,
    sample: int = 2_000_000,
    threads: int | None = None,
) -> Competitors:
    """Choose up to k decoys of each motif, and cut-offs that give all of them the same number of sites.

    Decoys are chosen on a sample of the regions. A decoy is accepted if

    - it has two thirds to twice as many sites as the motif, and at least half as many on each strand (the best sites of
      a motif that has many more than its decoy are more alike than all of the decoy's, so they are easier to match);
    - at most a tenth of its sites lie on sites of the motif, or on those of another of the motifs that is of the same
      TF family;
    - at most a quarter (half, if k is above 20) lie on sites of a decoy that was accepted before;
    - its sites are as easy to match by a word: the word of six letters that fits them best has half to twice the F1 of
      the motif's best word (sites that have the word, among all places of the word).

    A site lies on another if they share more than half of the narrower one, on either strand. Decoys whose number of
    sites is nearest to the motif's come first. Then, per strand, all of a group are cut to the best n sites of the
    sample, and n is the smallest number in the group.

    Parameters
    ----------
    regions : iterable of GenomicRegion, optional
        By default the whole genome.
    p, relative : float
        Which words are sites; see `Scanner`.
    sample : int
        Bases at most, in bins that are spread evenly over the regions.
    """
    able = [motif for motif in motifs if loss_limit(motif, p, relative) >= 0]
    missing = {motif.matrix_id: f"no word reaches p <= {p:g}" for motif in motifs}
    text = _Sample(genome, regions, sample, max((motif.width for motif in able), default=1))
    groups = []
    for motif, hits in zip(able, text.scan(able, p, relative, threads)):
        missing[motif.matrix_id] = f"it has no site on the {text.bases:,} bases on which decoys are chosen"
        if len(hits):
            groups.append(_Group(motif, hits, seed, k, text))
    _add_families(groups)
    _fill(groups, lambda made: text.scan(made, p, relative, threads))
    for group in groups:
        missing[group.target.matrix_id] = f"none of {group.tried} altered matrices has as many sites at other places"
    found = [group for group in groups if group.chosen]
    missing = {name: why for name, why in missing.items() if name not in {g.target.matrix_id for g in found}}
    return _competitors(found, missing, text, p, relative, threads)


class _Sample:
    """Bins of the regions, joined to one text, on which motifs are scanned."""

    def __init__(self, genome: Genome, regions: Iterable[GenomicRegion] | None, most: int, widest: int) -> None:
        whole = genome.merged(regions)
        stretches = [part for contig in dict.fromkeys(r.contig for r in whole) for part in genome.stretches(contig)]
        self.bins = spread_regions(intersect_regions(whole, stretches), most)
        self.bases = sum(map(len, self.bins))
        texts = [genome.sequence(_reach(genome, region, widest)) + b"N" * widest for region in self.bins]
        self._first = np.cumsum([0, *map(len, texts)])  # of each bin, in the text
        self._length = np.array([*map(len, self.bins), 0])
        self._text = b"".join(texts)
        code, run = kmers(self._text, LETTERS)
        self._word = np.where(run >= LETTERS, code & np.uint32(4**LETTERS - 1), 4**LETTERS).astype(np.int64)
        self._places = np.bincount(self._word, minlength=4**LETTERS + 1)

    def scan(self, motifs: Sequence[Motif], p: float, relative: float, threads: int | None) -> list[Hits]:
        """Return the sites of each motif that start in a bin; starts are offsets in the text."""
        found = [no_hits() for _ in motifs]
        if motifs and self.bases:
            for hits in Scanner(motifs, p=p, relative=relative, threads=threads).scan_each(self._text):
                if len(hits):
                    found[int(hits.motif[0])] = hits.take(self._inside(hits.start))
        return found

    def _inside(self, start: NDArray[np.int64]) -> NDArray[np.bool_]:
        number = np.searchsorted(self._first, start, side="right") - 1
        return start - self._first[number] < self._length[number]

    def word_fit(self, hits: Hits, width: int) -> float:
        """The F1 of the word that fits the sites of a matrix best, as a mean over both strands."""
        found = []
        for strand in (1, -1):
            start = hits.start[hits.strand == strand]
            ends = start[:, None] + np.arange(min(LETTERS, width) - 1, width)  # of words in the site
            inside = np.sort(self._word[ends], axis=1)
            once = np.ones(inside.shape, np.bool_)
            once[:, 1:] = inside[:, 1:] > inside[:, :-1]
            hit = np.bincount(inside[once], minlength=4**LETTERS + 1)[:-1]
            found.append((2 * hit / np.maximum(len(start) + self._places[:-1], 1)).max())
        return float(np.mean(found))

    def hashed(self, start: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Hashes of the places on the genome of offsets in the text."""
        number = np.searchsorted(self._first, start, side="right") - 1
        hashes = np.empty(len(start), np.uint64)
        for one in np.unique(number):
            here, region = number == one, self.bins[one]
            hashes[here] = hashed(region.contig, start[here] - self._first[one] + region.start)
        return hashes


def _reach(genome: Genome, region: GenomicRegion, widest: int) -> GenomicRegion:
    """A region with the bases behind it that a site may need."""
    return replace(region, end=min(region.end + widest - 1, genome.lengths[region.contig]))


def _hits_from(genome: Genome, region: GenomicRegion, scanner: Scanner) -> Hits:
    """All hits that start in a region, by their start on the contig."""
    text = genome.sequence(_reach(genome, region, scanner.widest))
    return scanner.scan(text, len(region)).shift(region.start)


def hashed(contig: str, start: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(n,) uint64: a hash of each place on a contig (SplitMix64, Steele et al. 2014), so that no place is preferred."""
    place = start.astype(np.uint64) ^ (np.uint64(zlib.crc32(contig.encode())) << np.uint64(32))
    x = place * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class _Group:
    """A motif and its decoys, while these are chosen."""

    def __init__(self, target: Motif, hits: Hits, seed: int, k: int, text: _Sample) -> None:
        self.target, self.hits, self.k, self._text = target, hits, k, text
        self._fit = text.word_fit(hits, target.width) + LEAST_FIT
        self.chosen: list[tuple[Motif, Hits]] = []
        self.tried = 0
        self.avoid = Places.of([(hits, target.width)])  # the motif, and others of its family
        self._places: list[Places] = []  # of the chosen ones
        self._most = max(round(CANDIDATES * k), TRIED)
        self._candidates = _draws(target, seed)

    def batch(self) -> list[Motif]:
        """The next candidates: twice as many as are still wanted."""
        wanted = min(2 * (self.k - len(self.chosen)), self._most - self.tried)
        made = list(islice(self._candidates, wanted))
        self.tried += len(made)
        return made

    def accept(self, made: Sequence[tuple[Motif, Hits]]) -> None:
        """Add those candidates that keep the rules, the one with the nearest number of sites first."""
        n, own = len(self.hits), self.hits.by_strand()
        allowed = OF_MANY if self.k > MANY else OF_DECOY
        for motif, hits in sorted(made, key=lambda one: abs(np.log(max(len(one[1]), 0.1) / n))):
            if len(self.chosen) == self.k:
                return
            if not FEWER * n <= len(hits) <= MORE * n or (hits.by_strand() < ON_STRAND * own).any():
                continue
            fit = self._text.word_fit(hits, motif.width) + LEAST_FIT
            if not 1 / LIKE_WORD <= fit / self._fit <= LIKE_WORD:
                continue
            places = Places.of([(hits, motif.width)])
            if places.shared(self.avoid) > OF_MOTIF * len(hits):
                continue
            if all(places.shared(other) <= allowed * len(hits) for other in self._places):
                self.chosen.append((motif, hits))
                self._places.append(places)


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Sites of some matrices on either strand, by start."""

    start: NDArray[np.int64]
    width: NDArray[np.int64]
    owner: NDArray[np.int64]  # number of the matrix

    @classmethod
    def of(cls, matrices: Sequence[tuple[Hits, int]]) -> "Places":
        """From the hits and the width of each matrix."""
        sizes = [len(hits) for hits, _ in matrices]
        start = np.concatenate([hits.start for hits, _ in matrices])
        order = np.argsort(start, kind="stable")
        width, owner = (np.repeat(x, sizes)[order] for x in ([width for _, width in matrices], np.arange(len(sizes))))
        return cls(start[order], width, owner)

    def shared(self, other: "Places") -> int:
        """How many of these sites lie on sites of one matrix of the others, of that with which they share most."""
        return int(_most_shared(self.start, self.width, other.start, other.width, other.owner))


@njit(**EXACT)
def _most_shared(start, width, others, widths, owner):
    """See `Places`: all arrays are int64 and go by start."""
    widest, owners = widths.max(), owner.max() + 1
    last, count = np.full(owners, -1), np.zeros(owners, np.int64)
    first = 0
    for i in range(len(start)):
        end = start[i] + width[i]
        while first < len(others) and others[first] + widest <= start[i]:
            first += 1
        j = first
        while j < len(others) and others[j] < end:
            bases = min(end, others[j] + widths[j]) - max(start[i], others[j])
            if 2 * bases > min(width[i], widths[j]) and last[owner[j]] != i:
                last[owner[j]] = i
                count[owner[j]] += 1
            j += 1
    return count.max()


def _add_families(groups: Sequence[_Group]) -> None:
    """Let decoys avoid the sites of all motifs of the TF family."""
    members: dict[str, list[_Group]] = {}
    for group in groups:
        if group.target.tf_family:
            members.setdefault(group.target.tf_family, []).append(group)
    for family in members.values():
        places = Places.of([(group.hits, group.target.width) for group in family])
        for group in family:
            group.avoid = places


def _fill(groups: Sequence[_Group], scan: Callable[[Sequence[Motif]], list[Hits]]) -> None:
    """Choose the decoys of all groups, some groups at a time."""
    if not groups or groups[0].k < 1:
        return
    at_once = max(BATCH // (2 * groups[0].k), 1)
    parts = [groups[i : i + at_once] for i in range(0, len(groups), at_once)]
    for part in track(parts, "choosing decoys", len(parts)):
        while made := [(group, batch) for group in part if (batch := group.batch())]:
            found = iter(scan([motif for _, batch in made for motif in batch]))
            for group, batch in made:
                group.accept([(motif, next(found)) for motif in batch])


def _cut(text: "_Sample", group: _Group) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Return the cut-offs of a motif and its decoys: the score and the hash of the worst site kept, (m, 2) each."""
    matrices = [group.hits, *(hits for _, hits in group.chosen)]
    wanted = np.min([hits.by_strand() for hits in matrices], axis=0)
    score, most = np.full((len(matrices), 2), -np.inf), np.full((len(matrices), 2), ALL)
    for i, hits in enumerate(matrices):
        for side, n in enumerate(wanted.tolist()):
            mine = hits.take(hits.strand == (1, -1)[side])
            if n == 0:
                score[i, side] = np.inf
            elif n < len(mine):
                ranked = np.sort(mine.minus_log10_p)[::-1]
                score[i, side] = ranked[n - 1]
                tie = np.abs(mine.minus_log10_p - ranked[n - 1]) <= SLACK
                better = (mine.minus_log10_p > ranked[n - 1] + SLACK).sum()
                most[i, side] = np.sort(text.hashed(mine.start[tie]))[n - better - 1]
    return score, most


def _competitors(
    groups: Sequence[_Group],
    missing: dict[str, str],
    text: "_Sample",
    p: float,
    relative: float,
    threads: int | None,
) -> Competitors:
    """Put chosen decoys together."""
    motifs, cuts = [], [(np.empty((0, 2)), np.empty((0, 2), np.uint64))]
    for group in groups:
        target = replace(group.target, matrix_id=f"{group.target.matrix_id}#0")
        motifs += [target, *(motif for motif, _ in group.chosen)]
        cuts.append(_cut(text, group))
    number = np.array([len(group.chosen) for group in groups], np.int64)
    spread = (int(number.min()), int(number.max())) if len(number) else (0, 0)
    facts = {"motifs": len(groups), "decoys": int(number.sum()), "fewest": spread[0], "most": spread[1]}
    facts["bases"] = text.bases
    scanner = Scanner(motifs, p=p, relative=relative, threads=threads) if motifs else None
    names = [group.target.matrix_id for group in groups]
    score, most_hash = (np.concatenate(part) for part in zip(*cuts))
    return Competitors(names, motifs, number, missing, facts, scanner, score, most_hash)
