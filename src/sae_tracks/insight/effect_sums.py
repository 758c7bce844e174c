"""Sums of effects over bases, by concept and by block, and the table of means and intervals that follows."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.arrays import ratio
from sae_tracks.bootstrap import FEW, Blocks, draws_of, interval
from sae_tracks.insight.ablation import Ablation, Stand
from sae_tracks.intervals import NO_SPANS, Spans, cover, merge
from sae_tracks.regions import GenomicRegion

_Parts = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  # (b,) bases, (b,) nats, (b, m) changes


@dataclass(frozen=True, slots=True)
class Concepts:
    """The concepts of an annotation, as masks of bases."""

    names: list[tuple[str, str]]  # (concept, site strand)
    spans: dict[str, list[Spans]]  # contig: of each concept, ascending and disjoint

    @classmethod
    def of(cls, annotation: Annotation | None) -> "Concepts":
        """All names on all site strands, sorted."""
        if annotation is None or not len(annotation):
            return cls([], {})
        spans: dict[tuple[str, str], dict[str, Spans]] = {}
        for key, sites in annotation.sites.groupby(["Name", "Strand", "Chromosome"], observed=True):
            name, strand, contig = map(str, cast(tuple, key))
            spans.setdefault((name, strand), {})[contig] = merge(sites[["Start", "End"]].to_numpy(np.int64))
        names = sorted(spans)
        contigs = {contig for one in spans.values() for contig in one}
        return cls(names, {contig: [spans[name].get(contig, NO_SPANS) for name in names] for contig in contigs})

    def masks(self, region: GenomicRegion) -> NDArray[np.float64]:
        """(1 + concepts, n) which bases of a region belong to each concept; the first row is every base."""
        spans = self.spans.get(region.contig, [NO_SPANS] * len(self.names))
        covered = [cover(one, region.start, region.end) for one in spans]
        return np.array([np.ones(len(region), bool), *covered], np.float64)


@dataclass(slots=True)
class EffectSums:
    """Sums over the scored bases of one read strand: k features, w sets of bases (all, and each concept), b blocks.

    The last three are of the bases at which each feature is active.
    """

    bases: NDArray[np.float64]  # (w, b)
    nats: NDArray[np.float64]  # (w, b)
    change: NDArray[np.float64]  # (k, w, b, m) of each measure
    bases_on: NDArray[np.float64]  # (k, b)
    nats_on: NDArray[np.float64]  # (k, b)
    change_on: NDArray[np.float64]  # (k, b, m)

    @classmethod
    def zeros(cls, k: int, w: int, b: int, m: int) -> "EffectSums":
        return cls(*map(np.zeros, ((w, b), (w, b), (k, w, b, m), (k, b), (k, b), (k, b, m))))

    def merge(self, other: "EffectSums") -> None:
        """Add the sums over other bases."""
        for name in NAMES:
            array = getattr(self, name)
            array += getattr(other, name)

    def add(self, stand: Stand, ablation: Ablation, concepts: Concepts, blocks: Blocks) -> None:
        """Add a window."""
        start = int(stand.position.min())
        masks = concepts.masks(GenomicRegion(stand.contig, start, int(stand.position.max()) + 1))
        masks, losses = masks[:, stand.position - start], ablation.losses(stand)
        block = stand.position // blocks.size
        parts = [(blocks.number[stand.contig, one], block == one) for one in np.unique(block).tolist()]
        for b, here in parts:
            self.bases[:, b] += masks[:, here].sum(1)
            self.nats[:, b] += masks[:, here] @ losses[here]
        for i, feature in enumerate(ablation.ids):
            if feature in stand.active:
                on = ablation.is_active(stand, feature)
                for b, here in parts:
                    self.bases_on[i, b] += (on & here).sum()
                    self.nats_on[i, b] += losses[on & here].sum()
        for i, change in ablation.changes(stand):
            on = ablation.is_active(stand, ablation.ids[i])
            for b, here in parts:
                self.change[i, :, b] += masks[:, here] @ change[here]
                self.change_on[i, b] += change[on & here].sum(0)


NAMES = tuple(one.name for one in fields(EffectSums))


def table_of(
    sums: EffectSums,
    names: Sequence[str],
    concepts: Sequence[Sequence[str]],
    measures: Sequence[str],
    strand: str,
    seed: int,
) -> pd.DataFrame:
    """The rows of every feature on one read strand; concepts are pairs of name and site strand."""
    draws = draws_of(sums.bases.shape[1], seed)
    rows = []
    for i, name in enumerate(names):
        head = {"feature": name, "read_strand": strand, "concept": "", "site_strand": ""}
        whole: _Parts = (sums.bases[0], sums.nats[0], sums.change[i, 0])
        on: _Parts = (sums.bases_on[i], sums.nats_on[i], sums.change_on[i])
        rows += [_row(head, "all", *whole, draws, measures), _row(head, "active", *on, draws, measures)]
        for c, (concept, site_strand) in enumerate(concepts, 1):
            here = head | {"concept": concept, "site_strand": site_strand}
            inside: _Parts = (sums.bases[c], sums.nats[c], sums.change[i, c])
            outside = whole[0] - inside[0], whole[1] - inside[1], whole[2] - inside[2]
            more = _difference(inside, outside, draws)
            rows.append(_row(here, "inside", *inside, draws, measures) | more)
            rows.append(_row(here, "outside", *outside, draws, measures))
    return pd.DataFrame(rows)


def _row(
    head: dict[str, str],
    where: str,
    bases: NDArray[np.float64],
    nats: NDArray[np.float64],
    change: NDArray[np.float64],
    draws: NDArray[np.float64],
    measures: Sequence[str],
) -> dict[str, object]:
    """Means over some bases, from sums by block."""
    total = bases.sum()
    row: dict[str, object] = {**head, "where": where, "bases": int(total)}
    if "change" in measures:
        row["nats"] = ratio(nats.sum(), total)
    for m, measure in enumerate(measures):
        row[measure] = ratio(change[:, m].sum(), total)
        if measure in ("change", "kl"):
            between = interval(ratio(draws @ change[:, m], draws @ bases)) if len(bases) >= FEW else NO_INTERVAL
            row[f"{measure}_low"], row[f"{measure}_high"] = between
    return row | dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)


NO_INTERVAL = np.nan, np.nan


def _difference(inside: _Parts, outside: _Parts, draws: NDArray[np.float64]) -> dict[str, float]:
    """The first measure inside less that outside, and its interval from the same draws of blocks."""
    one = np.ones((1, draws.shape[1]))
    found, drawn = (
        ratio(times @ inside[2][:, 0], times @ inside[0]) - ratio(times @ outside[2][:, 0], times @ outside[0])
        for times in (one, draws)
    )
    low, high = interval(drawn) if draws.shape[1] >= FEW else NO_INTERVAL
    return {"difference": float(found[0]), "difference_low": low, "difference_high": high}
