"""Sequence to put motifs into, and the words that are put there."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sae_tracks.controls.repeats import repeat_spans
from sae_tracks.dna import LETTERS, codes, readable_bases, reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.intervals import NO_SPANS, Spans, as_spans, hold, merge
from sae_tracks.motifs import Motif
from sae_tracks.motifs.decoys import decoys, hashed
from sae_tracks.motifs.matrix import Cutoff, cutoff
from sae_tracks.names import counted
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.source import Source

Kind = Literal["shuffled", "genome", "repeat"]
Places = list[tuple[str, NDArray[np.int64]]]  # forward positions by contig
KINDS: tuple[Kind, ...] = ("shuffled", "genome", "repeat")
LEAST = 20  # contexts of a kind: with fewer, an interval over contexts means little
DECOYS = 20  # altered matrices of a motif, whose words are drawn in turn
TRIES = 200  # draws per word that is wanted, after which a matrix is taken to have too few


@dataclass(frozen=True, slots=True)
class Context:
    """Real sequence around a place, or the same after a shuffle.

    `letters` are upper-case, in the direction of reading. The place is at the same offset of all contexts.
    """

    kind: Kind
    place: GenomicRegion  # where the real sequence is, forward
    read_strand: ReadStrand
    letters: bytes


@dataclass(frozen=True, slots=True)
class Shape:
    """Bases of a context before the place and from it on."""

    before: int
    behind: int

    def around(self, contig: str, place: int, read_strand: ReadStrand) -> GenomicRegion:
        """The region of a context, from the forward position of its place."""
        left, right = self.sides(read_strand)
        return GenomicRegion(contig, max(place - left, 0), place + right)

    def sides(self, read_strand: ReadStrand) -> tuple[int, int]:
        """Bases of a context to the left of its place, forward, and from the place on."""
        return (self.before, self.behind) if read_strand == "+" else (self.behind - 1, self.before + 1)


def draw_contexts(
    source: Source, shape: Shape, n: int, read_strand: ReadStrand, *, repeats: str | None = None, seed: int = 0
) -> list[Context]:
    """Draw n real contexts in the regions of a source, the same n after a shuffle, and n whose place is in a repeat.

    Places are chosen by a hash of their coordinates, so that none is preferred. Real contexts of a kind do not overlap
    and hold A, C, G and T alone. With `repeats` (a file, ``softmask`` or ``alu``), the first two kinds have no repeat
    in the bases behind the place nor in as many before it, and the places of the third are the middles of repeats.
    Without, there is no third kind.

    Raises
    ------
    SaeTracksError
        The regions hold fewer than 20 contexts of a kind.
    """
    spans = repeat_spans(source.genome, source.regions or source.genome.whole, repeats) if repeats else {}
    rng = np.random.default_rng(seed)
    real = _real(source, shape, n, read_strand, "genome", _everywhere(source, shape, read_strand, spans))
    inside = _real(source, shape, n, read_strand, "repeat", _middles(spans)) if repeats else []
    shuffled = [Context("shuffled", one.place, read_strand, shuffle_dinucleotides(one.letters, rng)) for one in real]
    return [*shuffled, *real, *inside]


def _everywhere(source: Source, shape: Shape, read_strand: ReadStrand, avoid: dict[str, Spans]) -> Places:
    """Places that are as far apart as a context is long, and away from long runs of N and the spans to avoid."""
    places, (left, right) = [], shape.sides(read_strand)
    for region in source.regions or source.genome.whole:
        found = np.arange(region.start, region.end, shape.before + shape.behind)
        stretches = [part for part in source.genome.stretches(region.contig) if len(part) >= left + right]
        found = found[hold(as_spans([(part.start + left, part.end - right + 1) for part in stretches]), found)]
        wider = merge(avoid.get(region.contig, NO_SPANS) + np.array([-shape.behind, shape.behind]))
        places.append((region.contig, found[~hold(wider, found)]))
    return places


def _middles(spans: dict[str, Spans]) -> Places:
    return [(contig, pairs.sum(axis=1) // 2) for contig, pairs in spans.items()]


def _real(source: Source, shape: Shape, n: int, read_strand: ReadStrand, kind: Kind, places: Places) -> list[Context]:
    """The first n contexts by the hash of their places that are complete, apart, and hold no other letter."""
    found = list[Context]()
    names = np.repeat(np.arange(len(places)), [len(some) for _, some in places])
    flat = np.concatenate([np.empty(0, np.int64), *(some for _, some in places)])
    order = np.argsort(np.concatenate([np.empty(0, np.uint64), *(hashed(*some) for some in places)]), kind="stable")
    for contig, place in ((places[names[i]][0], int(flat[i])) for i in order):
        region = shape.around(contig, place, read_strand)
        whole = len(region) == shape.before + shape.behind and region.end <= source.genome.lengths[contig]
        if whole and not any(region.overlap(one.place) for one in found):
            sequence = source.genome.sequence(region)
            if readable_bases(sequence).all():
                oriented = sequence if read_strand == "+" else reverse_complement(sequence)
                found.append(Context(kind, region, read_strand, oriented))
        if len(found) == n:
            break
    if len(found) < LEAST:
        where = "in repeats" if kind == "repeat" else "outside of repeats"
        raise SaeTracksError(
            f"the regions hold {counted(len(found), 'context')} of {shape.before + shape.behind:,} bases {where}; "
            f"{LEAST} are needed: name longer regions, or fewer bases of --context"
        )
    return found


def shuffle_dinucleotides(sequence: bytes, rng: np.random.Generator) -> bytes:
    """Shuffle a sequence of A, C, G and T so that every dinucleotide occurs as often as before.

    A random Euler walk through the graph of letters (Altschul and Erickson 1985): of the edges that leave a letter, the
    last ones form a tree towards the last letter, and the others come in random order. All such sequences are equally
    likely. The first and the last letter stay.
    """
    letters = codes(sequence).astype(np.int64)
    if len(letters) < 3:
        return sequence
    last = int(letters[-1])
    following = [letters[1:][letters[:-1] == letter] for letter in range(4)]
    while True:
        order = [rng.permutation(edges) for edges in following]
        exits = {letter: int(edges[-1]) for letter, edges in enumerate(order) if len(edges) and letter != last}
        if all(_reaches(letter, last, exits) for letter in exits):
            break
    steps, walk = [iter(edges.tolist()) for edges in order], [int(letters[0])]
    for _ in range(len(letters) - 1):
        walk.append(next(steps[walk[-1]]))
    return LETTERS[walk].tobytes()


def _reaches(letter: int, last: int, exits: dict[int, int]) -> bool:
    seen: set[int] = set()
    while letter != last and letter not in seen:
        seen.add(letter)
        letter = exits[letter]
    return letter == last


def words_of(motif: Motif, n: int, seed: int) -> tuple[list[bytes], list[bytes]]:
    """Draw n words of a motif, and n of its decoys, which are no sites of the motif.

    A word is drawn base by base from the matrix, and again until it is a site (p at most 1e-4, relative score at least
    0.8). The words of decoys are drawn in the same way from altered matrices, so their scores are alike.

    Returns
    -------
    sites, decoys : lists of n bytes
        Both empty if no word reaches the p-value, or if the motif has no decoy.
    """
    rng, own = np.random.default_rng([seed, zlib.crc32(motif.matrix_id.encode())]), cutoff(motif)
    others = decoys(motif, DECOYS, seed)
    if own.limit < 0 or not others:
        return [], []
    sites = list(_draw(motif, own, n, rng))
    drawn = [list(_draw(other, cutoff(other), n, rng, unlike=own)) for other in others]
    words = [one[i] for i in range(n) for one in drawn if i < len(one)][:n]  # in turn, as long as a decoy has any
    return (sites, words) if len(sites) == len(words) == n else ([], [])


def _draw(
    motif: Motif, limits: Cutoff, n: int, rng: np.random.Generator, unlike: Cutoff | None = None
) -> Iterator[bytes]:
    """Yield up to n words that are sites of a matrix, and on neither strand sites of another one."""
    edges, costs = motif.probabilities().cumsum(axis=1)[:, :3], motif.costs()
    column, left = np.arange(motif.width), n
    for _ in range(TRIES):
        drawn = (rng.random((n, motif.width))[..., None] > edges).sum(axis=2)
        good = (limits.losses[column, drawn].sum(axis=1) <= limits.limit) & (
            costs[column, drawn].sum(axis=1) <= limits.most
        )
        if unlike is not None:
            for oriented in (drawn, 3 - drawn[:, ::-1]):
                good &= unlike.losses[column, oriented].sum(axis=1) > unlike.limit
        for word in drawn[good][:left]:
            yield LETTERS[word].tobytes()
        left -= min(int(good.sum()), left)
        if not left:
            return


def kinds_of(contexts: Sequence[Context]) -> NDArray[np.int64]:
    """(n,) int64: the kind of each context, as an index into `KINDS`."""
    return np.array([KINDS.index(one.kind) for one in contexts])
