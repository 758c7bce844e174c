"""Where features peak: in which repeats, at which position of their consensus, and in which part of genes.

Places of a feature are compared with all bases of the same half. A feature gets a name from where it peaks only if at
least half of its places lie there, and significantly more than of the bases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from sae_tracks.annotations import Annotation
from sae_tracks.arrays import adjusted
from sae_tracks.controls.alu import ALU, find_copies, longest
from sae_tracks.genome import Genome
from sae_tracks.genome_line import GenomeLine
from sae_tracks.intervals import Spans, hold, intersect, merge, subtract
from sae_tracks.metrics import Halves
from sae_tracks.source import ReadBases

Q = 0.05
MOST_OF = 0.5  # a feature is named by what holds so much of its places, and of those that chance would put elsewhere
AGREE = 50  # positions of a consensus that hold half of the places, at most
STRONGEST = 200  # places of a feature that are aligned with a consensus
COLUMNS = ("{0}", "{0}_share", "{0}_background", "{0}_q")


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """Disjoint ascending spans of C kinds of sites on a line, and the share of bases that each covers.

    Attributes
    ----------
    names : list of str
        Such as ``CDS:3 +``; the strand is left out if sites have none.
    spans : list of (k, 2) int64
    background : (C,) float64
    """

    names: list[str]
    spans: list[Spans]
    background: NDArray[np.float64]

    @classmethod
    def of(cls, annotation: Annotation, line: GenomeLine, bases: Spans, *, stranded: bool) -> "Sites":
        """The sites of an annotation by name (and strand); the background is the share of `bases`, on the line."""
        rows, edges = annotation.sites, line.rows(annotation.sites)
        keys = [rows["Name"].astype(object)]
        if stranded:
            keys.append(rows["Strand"].astype(object))
        names, spans = [], []
        for key, mine in sorted(rows.groupby(keys, observed=True).indices.items()):
            words = [str(word) for word in (key if isinstance(key, tuple) else (key,)) if word != "."]
            names.append(" ".join(words))
            spans.append(merge(edges[mine]))
        covered = [int(np.diff(intersect(some, bases)).sum()) for some in spans]
        return cls(names, spans, np.array(covered, np.float64) / np.diff(bases).sum())

    def count(self, places: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """(F, C) int64: how many of the places of each feature lie in each kind of sites."""
        each = np.repeat(np.arange(len(places)), [len(some) for some in places])
        flat = np.concatenate([np.empty(0, np.int64), *places])
        counts = [np.bincount(each[hold(some, flat)], minlength=len(places)) for some in self.spans]
        return np.stack(counts, axis=1)


def half_bases(read: ReadBases, halves: Halves, half: int, line: GenomeLine) -> Spans:
    """The bases of a half in the regions, on the line, without long runs of N and the black list; ascending."""
    tiles = [tile for region in read.regions for tile, one in halves.tiles(region) if one == half]
    known = [part for contig in read.contigs for part in read.genome.stretches(contig)]
    tiles, known, black = (merge(line.spans(some)) for some in (tiles, known, read.black_list))
    return subtract(intersect(tiles, known), black)


def enrichment(
    counts: NDArray[np.int64], places: NDArray[np.int64], background: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Are more of a feature's places in a kind of sites than of all bases?

    Parameters
    ----------
    counts : (F, C) int64
        Of the places of each feature, those in each kind of sites.
    places : (F,) int64
        Number of places.
    background : (C,) float64
        Share of the bases that lie in each kind of sites.

    Returns
    -------
    q : (F, C) float64
        One-sided binomial tests, adjusted by Benjamini and Hochberg over all features and kinds; NaN without a place.
    gain : (F, C) float64
        Bits per place by which the share differs from the background; 0 if it is not above it.
    """
    n = places[:, None]
    p = np.where(n > 0, binom.sf(counts - 1, n, background), np.nan)
    share = counts / np.maximum(n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.where(share > 0, share * np.log2(share / background), 0)
        outside = np.where(share < 1, (1 - share) * np.log2((1 - share) / (1 - background)), 0)
    gain = np.where(share > background, np.nan_to_num(inside + outside), 0)
    return adjusted(p.ravel()).reshape(p.shape), gain


def most_enriched(sites: Sites, places: Sequence[NDArray[np.int64]], kind: str) -> pd.DataFrame:
    """The kind of sites that says most about where each feature peaks; of equal ones the longer name.

    Returns
    -------
    DataFrame
        One row per feature: `kind`, and `kind` with ``_share`` (of the places), ``_background`` (of the bases), ``_q``.
        Empty and NaN if no kind has more of the places than of the bases.
    """
    counts, n = sites.count(places), np.array([len(some) for some in places])
    q, gain = enrichment(counts, n, sites.background)
    length = np.array([len(name) for name in sites.names])
    best = [int(np.lexsort((length, row))[-1]) for row in gain]
    rows = []
    for feature, column in enumerate(best):
        found = gain[feature, column] > 0
        share = counts[feature, column] / max(n[feature], 1)
        values = sites.names[column], share, sites.background[column], q[feature, column]
        rows.append(values if found else ("", np.nan, np.nan, np.nan))
    return pd.DataFrame(rows, columns=[name.format(kind) for name in COLUMNS])


def alu_positions(
    genome: Genome, line: GenomeLine, places: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which of (n,) places on the line lie in a copy of Alu, and the position in its consensus, -1 if it has none.

    Positions are 0-based, along the consensus on either strand. Only the sequence around the places is aligned.
    """
    order, reach = np.argsort(places, kind="stable"), longest(len(ALU))
    number = line.contigs(places)
    start, length = line.offsets[number], np.array([*line.lengths.values()], np.int64)[number]
    around = np.stack([np.maximum(places - reach, start), np.minimum(places + reach + 1, start + length)], axis=1)
    inside, found = np.zeros(len(places), bool), np.full(len(places), -1, np.int64)
    for first, last in merge(around).tolist():
        for copy in find_copies(genome.sequence(line.region(first, last))):
            low, high = np.searchsorted(places[order], (first + copy.start, first + copy.end))
            here = order[low:high]
            inside[here], found[here] = True, copy.consensus[places[here] - first - copy.start]
    return inside, found


def alu_context(
    genome: Genome, line: GenomeLine, places: Sequence[NDArray[np.int64]], others: NDArray[np.int64]
) -> pd.DataFrame:
    """Whether features peak in copies of Alu, and at which positions of its consensus.

    Parameters
    ----------
    places : sequence of (n,) int64
        Of each feature, on the line, the highest first; the first 200 are aligned.
    others : (m,) int64
        Places that say what share of the bases lies in copies.

    Returns
    -------
    DataFrame
        One row per feature, with the columns of `most_enriched` for ``repeat``. A repeat is ``Alu 109-125`` (1-based
        inclusive) if the narrowest stretch of the consensus that holds half of the places has at most 50 bases.
    """
    some = [one[:STRONGEST] for one in places]
    n = np.array([len(one) for one in some])
    flat, copies = np.unique(np.concatenate([others, *some]), return_inverse=True)
    inside, position = alu_positions(genome, line, flat)
    inside, position = inside[copies], position[copies]
    edges = len(others) + np.concatenate(([0], np.cumsum(n)))
    held = np.array([inside[a:b].sum() for a, b in zip(edges, edges[1:])])
    background = (inside[: len(others)].sum() + 1) / (len(others) + 2)  # never 0: a few places say little
    q, gain = enrichment(held[:, None], n, np.array([background]))
    rows = []
    for i, (a, b) in enumerate(zip(edges, edges[1:])):
        stretch = _narrowest(position[a:b][position[a:b] >= 0], -(-int(n[i]) // 2))
        name = "Alu" if stretch is None else f"Alu {stretch}"
        found = gain[i, 0] > 0
        rows.append((name, held[i] / n[i], background, q[i, 0]) if found else ("", np.nan, np.nan, np.nan))
    return pd.DataFrame(rows, columns=[name.format("repeat") for name in COLUMNS])


def _narrowest(position: NDArray[np.int64], count: int) -> str | None:
    """The narrowest stretch that holds so many positions, as 1-based inclusive text; None if it is too wide."""
    if len(position) < max(count, 1):
        return None
    ascending = np.sort(position)
    width = ascending[count - 1 :] - ascending[: len(ascending) - count + 1]
    first = int(width.argmin())
    if width[first] >= AGREE:
        return None
    low, high = int(ascending[first]) + 1, int(ascending[first + count - 1]) + 1
    return f"{low}-{high}" if high > low else str(low)


def names_of(table: pd.DataFrame, kind: str) -> list[str]:
    """The names that features get from `kind` (``repeat`` or ``concept``); empty if the test does not hold."""
    rows = zip(table[kind], table[f"{kind}_share"], table[f"{kind}_background"], table[f"{kind}_q"])
    return [
        _spoken(name) if share >= MOST_OF + MOST_OF * by_chance and q < Q else "" for name, share, by_chance, q in rows
    ]


def _spoken(name: str) -> str:
    """``codon position 3, CDS +`` of ``CDS:3 +``; other names stay."""
    position = name.removeprefix("CDS:")
    return name if position == name else f"codon position {position[0]}, CDS{position[1:]}"
