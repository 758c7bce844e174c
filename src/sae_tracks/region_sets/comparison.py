"""What a set of regions is compared with: regions that are matched to it, the rest of a universe, or another set."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import ContigLengths
from sae_tracks.intervals import overlapping_pairs
from sae_tracks.names import counted
from sae_tracks.region_sets.matched import MatchedRegions
from sae_tracks.region_sets.regions import RegionSet, region_set

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """One set and its background, as rows of the regions that are read.

    Attributes
    ----------
    name : str
        Of the set.
    own, background : (n,), (m,) int64
        Rows of the set's regions, and of the others.
    stratum : (m,) int64, optional
        The region of the set, as an index into `own`, to which each other one is matched; ascending. None: any of the
        regions could be the set's.
    """

    name: str
    own: NDArray[np.int64]
    background: NDArray[np.int64]
    stratum: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Regions to read, and the sets among them.

    Attributes
    ----------
    regions : RegionSet
        All regions of all designs.
    designs : list of Design
        One per set.
    kind : str
        ``matched``, ``universe``, ``against`` or ``paired``.
    """

    regions: RegionSet
    designs: list[Design]
    kind: str

    def __post_init__(self) -> None:
        check_names(design.name for design in self.designs)


def check_names(names: Iterable[str]) -> None:
    """Refuse two sets of one name."""
    names = list(names)
    if twice := [name for name in names if names.count(name) > 1]:
        raise SaeTracksError(f"two sets are called {twice[0]}: rename one of the files")


def with_matched(matched: Sequence[MatchedRegions], genome: ContigLengths) -> Comparison:
    """Compare each set with the regions that were matched to it.

    Parameters
    ----------
    matched : sequence of MatchedRegions
        From `match_regions` or `read_matched`. Regions without a match are left out.
    genome : ContigLengths

    Returns
    -------
    Comparison

    Raises
    ------
    SaeTracksError
        A set has no matched region.
    """
    tables, before = [], 0
    parts: list[tuple[str, NDArray, NDArray, NDArray]] = []
    for one in matched:
        theirs = one.table.sort_values("Region", kind="stable")
        if not len(theirs):
            raise SaeTracksError(
                f"no matched region is left of {one.regions.source}: draw them in the regions that are read "
                "(match-regions -r), or read more of the genome"
            )
        numbers, stratum = np.unique(theirs["Region"].to_numpy(np.int64), return_inverse=True)
        tables += [one.regions.table.iloc[numbers], theirs]
        after = before + len(numbers)
        parts.append((one.regions.name, np.arange(before, after), after + np.arange(len(theirs)), stratum))
        before = after + len(theirs)
    regions, rows = _joined(tables, genome, "the sets and their matched regions")
    return Comparison(regions, [Design(name, rows[own], rows[b], s) for name, own, b, s in parts], "matched")


def in_universe(sets: Sequence[RegionSet], universe: RegionSet) -> Comparison:
    """Compare the regions of a universe that overlap a set with those that do not, as LOLA does.

    Parameters
    ----------
    sets : sequence of RegionSet
    universe : RegionSet
        All regions that could have been in a set, such as all accessible ones.

    Returns
    -------
    Comparison

    Raises
    ------
    SaeTracksError
        No region of the universe overlaps a set, or all do.
    """
    designs, universe = [], universe.distinct()
    for one in sets:
        ours, theirs = _overlaps(one, universe)
        held = np.zeros(len(universe), np.bool_)
        held[theirs] = True
        if missing := len(one) - len(np.unique(ours)):
            log.warning("%d of %d regions of %s overlap no region of the universe", missing, len(one), one.source)
        if held.all() or not held.any():
            raise SaeTracksError(
                f"{'all' if held.all() else 'no'} regions of {universe.source} overlap {one.source}: a universe holds "
                "the regions that could have been in the set, and more than are in it"
            )
        designs.append(Design(one.name, np.flatnonzero(held), np.flatnonzero(~held)))
    return Comparison(universe, designs, "universe")


def with_other(own: RegionSet, other: RegionSet, genome: ContigLengths, *, paired: bool = False) -> Comparison:
    """Compare a set with another one.

    Parameters
    ----------
    own, other : RegionSet
        Regions of either that overlap the other are left out, unless they are paired.
    genome : ContigLengths
    paired : bool
        Each region is compared with that of the other set that has its name, or, if not all have names, its row number.

    Returns
    -------
    Comparison

    Raises
    ------
    SaeTracksError
        Nothing is left, or pairs have no partner.
    """
    if paired:
        partner = _partners(own, other)
        regions, rows = _joined([own.table, other.table.iloc[partner]], genome, f"{own.source} and {other.source}")
        n = len(own)
        return Comparison(regions, [Design(own.name, rows[:n], rows[n:], np.arange(n))], "paired")
    own, other = own.distinct(), other.distinct()
    both = [np.unique(some) for some in _overlaps(own, other)]
    if len(both[0]):
        says = "%s of %s and %d of %s overlap each other and are left out"
        log.warning(says, counted(len(both[0]), "region"), own.source, len(both[1]), other.source)
    left = [one.table.drop(index=some) for one, some in zip((own, other), both)]
    if not all(map(len, left)):
        raise SaeTracksError(f"{own.source} and {other.source} share all their regions: compare sets that differ")
    regions, rows = _joined(left, genome, f"{own.source} and {other.source}")
    own_rows, others = np.split(rows, [len(left[0])])
    return Comparison(regions, [Design(own.name, own_rows, others)], "against")


def _partners(own: RegionSet, other: RegionSet) -> NDArray[np.int64]:
    """(n,) int64: the row of the other set's table that belongs to each region."""
    keys = []
    named = all((one.table["Name"] != "").all() and one.table["Name"].is_unique for one in (own, other))
    for one in (own, other):
        keys.append(one.table["Name"].astype(str) if named else one.table["Row"])
    place = pd.Series(np.arange(len(other)), index=keys[1].to_numpy())
    partner = keys[0].map(place)
    if partner.isna().any() or len(own) != len(other):
        by = "name" if named else "row"
        raise SaeTracksError(
            f"{own.source} has {len(own)} regions and {other.source} {len(other)}, of which "
            f"{int(partner.notna().sum())} have a partner by {by}: paired sets have the same names, or rows in order"
        )
    return partner.to_numpy(np.int64)


def _overlaps(one: RegionSet, other: RegionSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of all pairs of regions that share a base."""
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    theirs = other.table.groupby("Chromosome", observed=True).indices
    for contig, rows in one.table.groupby("Chromosome", observed=True).indices.items():
        if contig in theirs:
            spans = (t.table[["Start", "End"]].to_numpy(np.int64)[r] for t, r in ((one, rows), (other, theirs[contig])))
            mine, others = overlapping_pairs(*spans)
            found.append((rows[mine], theirs[contig][others]))
    first, second = (np.concatenate(some) for some in zip(*found))
    return first, second


def _joined(tables: Sequence[pd.DataFrame], genome: ContigLengths, source: str) -> tuple[RegionSet, NDArray[np.int64]]:
    """All regions in the order of the genome, and where each row of the tables has gone."""
    table = pd.concat(
        [cast(pd.DataFrame, t[["Chromosome", "Start", "End"]]).astype({"Chromosome": str}) for t in tables]
    )
    table = table.assign(Name="", Strand=".", Row=np.arange(len(table)))
    regions = region_set(table, genome, source)
    rows = np.empty(len(table), np.int64)
    rows[regions.table["Row"].to_numpy()] = np.arange(len(table))
    return regions, rows
