"""What changes elsewhere: substitutions like the given ones, drawn from the same parts of the genome."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import binom

from sae_tracks.annotations import read_annotation
from sae_tracks.annotations.sites import only, series
from sae_tracks.arrays import adjusted
from sae_tracks.dna import NUCLEOTIDES, kmers
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight.vcf import Variant
from sae_tracks.names import feature_name
from sae_tracks.regions import GenomicRegion, ReadStrand

TRIPLETS, CODON = 64, 3
DIRECT = 1 << 22  # products of terms, up to which distributions are convolved term by term: tails keep their digits
BLOCK = 10_000  # bases: hits within are counted as one block
COLUMNS = ("feature", "read_strand", "variants", "hits", "expected", "ratio", "blocks", "mean_change", "p", "q")


@dataclass(frozen=True, slots=True)
class Null:
    """Drawn substitutions.

    Attributes
    ----------
    variants : list of Variant
    of : (k,) int64
        Number of the given variant that each was drawn for.
    group : (n,) int64
        What was matched, of each given variant: substitution, triplet and codon phase; -1 if nothing was drawn for it.
    """

    variants: list[Variant]
    of: NDArray[np.int64]
    group: NDArray[np.int64]


class Phases:
    """Codon positions of coding bases: 0 outside of CDS, 1 to 3 on the forward strand, 4 to 6 on the reverse one."""

    def __init__(self, genome: Genome, annotation: str | Path | None, regions: Sequence[GenomicRegion], alias=None):
        self._by_contig: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        if annotation is None:
            return
        found = read_annotation(annotation, genome, regions, alias=alias).sites
        sites = only(found, series(found, "Name").isin([f"CDS:{i + 1}" for i in range(CODON)]))
        if not len(sites):
            raise SaeTracksError(f"{annotation} has no CDS near the variants: leave --annotation out, or name a GTF")
        for contig, rows in sites.groupby("Chromosome", observed=True):
            codon = series(rows, "Name").astype(str).str[-1].astype(int).to_numpy()
            code = codon + np.where(series(rows, "Strand") == "-", CODON, 0)
            position, first = np.unique(series(rows, "Start").to_numpy(np.int64), return_index=True)
            self._by_contig[str(contig)] = position, code[first]

    def along(self, region: GenomicRegion) -> NDArray[np.int64]:
        """(len(region),) codes; where genes overlap, that of one of them."""
        found = np.zeros(len(region), np.int64)
        if region.contig in self._by_contig:
            position, code = self._by_contig[region.contig]
            inside = slice(*np.searchsorted(position, [region.start, region.end]))
            found[position[inside] - region.start] = code[inside]
        return found


def draw_null(
    genome: Genome,
    variants: Sequence[Variant],
    regions: Sequence[GenomicRegion],
    draws: int,
    *,
    phases: Phases,
    seed: int = 0,
) -> Null:
    """Draw other places for the substitutions among some variants.

    A place has the same base with the same neighbours, in CDS also the same codon position on the same strand, and lies
    in the regions. No given variant touches it. The same base replaces it. All such places are equally likely.

    Parameters
    ----------
    regions : sequence of GenomicRegion
        Disjoint.
    draws : int
        Places per substitution. It has fewer if the regions hold fewer, and none at the ends of contigs or beside
        letters other than A, C, G and T.
    """
    rng, table = np.random.default_rng(seed), _Places(genome, variants, regions, phases)
    snvs = np.array([number for number, one in enumerate(variants) if one.snv], np.int64)
    place = table.places_of([variants[number] for number in snvs])
    chosen = dict[int, list[tuple[int, int]]]()  # by class of places: rank of a place and number of the variant
    for kind in np.unique(place[place >= 0]).tolist():
        mine, held = snvs[place == kind], int(table.counts[:, kind].sum())
        if held >= draws * len(mine):
            ranks = rng.choice(held, (len(mine), draws), replace=False)
        else:
            ranks = np.array([rng.permutation(held)[:draws] for _ in mine], np.int64).reshape(len(mine), -1)
        chosen[kind] = [(rank, number) for number, row in zip(mine.tolist(), ranks.tolist()) for rank in row]
    drawn = sorted(((number, where) for number, where in table.found(chosen)), key=lambda one: one[0])
    found = [Variant(contig, start, variants[n].ref, variants[n].alt) for n, (contig, start) in drawn]
    group = np.full(len(variants), -1)
    of = np.array([number for number, _ in drawn], np.int64)
    alt = np.array([NUCLEOTIDES.index(variants[number].alt.decode()) for number in snvs], np.int64)
    group[snvs] = np.where(np.isin(snvs, of), place * 4 + alt, -1)
    return Null(found, of, group)


class _Places:
    """Classes of the bases of regions: triplet and codon phase."""

    def __init__(
        self, genome: Genome, variants: Sequence[Variant], regions: Sequence[GenomicRegion], phases: Phases
    ) -> None:
        self._genome, self._regions, self._phases = genome, list(regions), phases
        self._taken: dict[str, NDArray[np.int64]] = {}
        for contig in {region.contig for region in regions}:
            touched = [np.arange(one.start, one.start + len(one.ref)) for one in variants if one.contig == contig]
            self._taken[contig] = np.unique(np.concatenate(touched)) if touched else np.empty(0, np.int64)
        kinds = TRIPLETS * (2 * CODON + 1)
        free = [self._free(region) for region in self._regions]
        self.counts = np.array([np.bincount(one[one >= 0], minlength=kinds) for one in free])

    def places_of(self, variants: Sequence[Variant]) -> NDArray[np.int64]:
        """(n,) the class of each substitution's place, -1 without one."""
        return np.array(
            [self._classes(GenomicRegion(v.contig, v.start, v.start + 1))[0] for v in variants], np.int64
        ).reshape(-1)

    def found(self, chosen: dict[int, list[tuple[int, int]]]) -> Iterator[tuple[int, tuple[str, int]]]:
        """Yield numbers of variants, and the contig and position that each rank within a class means."""
        ends = np.cumsum(self.counts, axis=0)
        for i, region in enumerate(self._regions):
            kinds = self._free(region)
            order = np.argsort(kinds, kind="stable")
            first = np.searchsorted(kinds[order], np.arange(ends.shape[1]))
            for kind, pairs in chosen.items():
                before = ends[i - 1, kind] if i else 0
                for rank, number in pairs:
                    if before <= rank < ends[i, kind]:
                        yield number, (region.contig, region.start + int(order[first[kind] + rank - before]))

    def _free(self, region: GenomicRegion) -> NDArray[np.int64]:
        kinds, taken = self._classes(region), self._taken[region.contig]
        kinds[taken[slice(*np.searchsorted(taken, [region.start, region.end]))] - region.start] = -1
        return kinds

    def _classes(self, region: GenomicRegion) -> NDArray[np.int64]:
        length = self._genome.lengths[region.contig]
        start, end = max(region.start - 1, 0), min(region.end + 1, length)
        letters = self._genome.sequence(GenomicRegion(region.contig, start, end))
        letters = b"N" * (start == region.start) + letters + b"N" * (end == region.end)
        triplet, runs = kmers(letters, 3)
        kinds = triplet[2:].astype(np.int64) * (2 * CODON + 1) + self._phases.along(region)
        return np.where(runs[2:] >= 3, kinds, -1)


def variant_p(strongest: NDArray[np.float32], null: Null) -> NDArray[np.float64]:
    """(n,) float64: the share of drawn variants of the same class whose strongest change is not smaller.

    p = (1 + those) / (1 + all of the class); NaN without a draw. `strongest` is (n + k,): the given ones, then the
    drawn ones.
    """
    n = len(null.group)
    p, drawn = np.full(n, np.nan), null.group[null.of]
    for group in np.unique(null.group[null.group >= 0]).tolist():
        mine = null.group == group
        theirs = np.sort(strongest[n:][drawn == group])
        lower = np.searchsorted(theirs, strongest[:n][mine], side="left")
        p[mine] = (1 + len(theirs) - lower) / (1 + len(theirs))
    return p


def feature_tests(
    of: NDArray[np.int64],
    feature: NDArray[np.int32],
    change: NDArray[np.float32],
    null: Null,
    variants: Sequence[Variant],
    read_strand: ReadStrand,
) -> pd.DataFrame:
    """Test of each feature whether more of the given variants hit it than of the drawn ones.

    A variant and its draws are a set. If the given variants were like the drawn ones, each member of a set would be the
    given one with equal probability. So the number of hits among the given ones is a sum of independent draws, one per
    set, with probability (hits in the set) / (size of the set). p is the probability of so many hits or more under this
    exact distribution, and q is adjusted over features by Benjamini and Hochberg. Variants count as independent:
    ``blocks`` says how many separate parts of the genome the hits come from. ``expected`` is the mean number of hits
    among the drawn ones.

    Parameters
    ----------
    of, feature, change : (r,) arrays
        The hits of given (``of < n``) and drawn variants, once per variant and feature.
    """
    n = len(null.group)
    member = np.concatenate([np.where(null.group >= 0, np.arange(n), -1), null.of])[of]
    order = np.argsort(feature, kind="stable")
    order = order[member[order] >= 0]
    of, feature, change, member = of[order], feature[order], change[order], member[order]
    draws = np.bincount(null.of, minlength=n)
    block = np.unique([f"{one.contig}:{one.start // BLOCK}" for one in variants], return_inverse=True)[1]
    rows, starts = [], np.flatnonzero(np.diff(feature, prepend=-1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(feature)]):
        given, mine = of[start:end] < n, of[start:end][of[start:end] < n]
        sets, hits = np.unique(member[start:end], return_counts=True)
        drawn = hits - np.isin(sets, mine)
        rows.append({
            "feature": feature_name(int(feature[start])),
            "read_strand": read_strand,
            "variants": int((null.group >= 0).sum()),
            "hits": len(mine),
            "expected": float((drawn / draws[sets]).sum()),
            "blocks": len(np.unique(block[mine])),
            "mean_change": float(change[start:end][given].mean()) if len(mine) else np.nan,
            "p": tail(len(mine), hits, 1 + draws[sets]),
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    with np.errstate(divide="ignore"):
        table["ratio"] = table["hits"].to_numpy(np.float64) / table["expected"].to_numpy(np.float64)
    table["q"] = adjusted(table["p"].to_numpy(np.float64))
    return table.sort_values(["p", "hits"], ascending=[True, False], ignore_index=True)


def tail(observed: int, hits: NDArray[np.int64], size: NDArray[np.int64]) -> float:
    """The probability that at least so many sets have a hit at one member drawn from each.

    Parameters
    ----------
    hits, size : (s,) int64
        Members of each set with a hit, and members.
    """
    kinds, sets = np.unique(np.stack([hits, size]), axis=1, return_counts=True)
    total = np.ones(1)
    for (k, m), many in zip(kinds.T.tolist(), sets.tolist()):
        mass = binom.pmf(np.arange(many + 1), many, k / m)
        small = len(total) * len(mass) <= DIRECT
        total = np.convolve(total, mass) if small else np.clip(fftconvolve(total, mass), 0, None)
    return float(min(total[observed:].sum(), 1.0))
