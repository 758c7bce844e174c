"""What features do in the model: how its predictions change if one feature at a time is ablated.

An effect belongs to the base at which the model predicts: the base that it has read last, where the feature is seen,
and not the base after it, which is predicted. In each window the model is read once, and what follows the SAE's layer
once more per feature that is active there. Of a causal model, the predictions before the first such base are left as
they are, because nothing reaches them but rounding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.bootstrap import draws_of, interval
from sae_tracks.dna import OTHER, codes, reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, write_provenance, write_tsv
from sae_tracks.genome import Genome
from sae_tracks.insight.spliced import Active, by_feature, remove
from sae_tracks.intervals import NO_SPANS, Spans, cover, merge
from sae_tracks.lm.rest import Rest, rest_of
from sae_tracks.metrics import read_table
from sae_tracks.names import feature_name, feature_number
from sae_tracks.progress import track
from sae_tracks.reading import BATCH, Reading, Window, read_windows
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source

BLOCK, MOST_BLOCKS = 10_000, 200  # bases of a block of the bootstrap, at least; blocks, about
FEW = 5  # blocks, which would tell too little about others


def effects(
    source: Source,
    features: Iterable[int],
    annotation: Annotation | None = None,
    *,
    threshold: float = 0.15,
    scale: str = "max",
    seed: int = 0,
) -> pd.DataFrame:
    """Ablate features one at a time, and measure how the predictions of the model change.

    The feature is set to zero at every base of a window, and the SAE's error is kept (see `spliced`). Memory grows with
    features x concepts, not with the genome.

    Parameters
    ----------
    source : Source
        Model, SAE, genome, regions and read strands. The model is a HyenaDNA with its next-base head, or a plug-in
        that offers outputs.
    features : iterable of int
        Feature ids.
    annotation : Annotation, optional
        From `read_annotation`. Changes are also averaged inside and outside of the sites of each concept.
    threshold, scale
        Where a feature counts as active, for the rows ``active``; see `SAE.cutoffs`.
    seed : int
        Of the bootstrap over blocks of 10 kb, or longer ones if there would be more than 200.

    Returns
    -------
    DataFrame
        Per feature and read strand, a row for ``all`` bases, one for those at which it is ``active``, and two per
        concept, ``inside`` and ``outside`` (column ``where``). ``bases``: predictions scored. Of a next-base model:
        ``nats``, the loss per base as it is, and ``change``, the mean increase of the loss if the feature is ablated,
        in nats. ``kl``: divergence of the predictions after the ablation from those before, in nats. ``p_A``, ...: mean
        change of the probability of a class. ``change_low``, ``kl_high``, ...: intervals of 95 %, NaN with fewer than
        five blocks. ``difference``, of rows ``inside``: change (of plug-ins: divergence) inside less that outside.

    Raises
    ------
    SaeTracksError
        It is not known what the model predicts, a feature is not in the SAE, or the regions hold nothing to score.

    Examples
    --------
    >>> table = effects(source, [357, 12], read_annotation("genes.gtf", source.genome))
    >>> table[table["where"] == "active"][["feature", "change", "change_low", "change_high"]]
    """
    asked = list(dict.fromkeys(features))
    ids = source.sae.check_features(asked).tolist()
    ablation = _Ablation(source, ids, rest_of(source.lm), source.sae.cutoffs(threshold, scale))
    concepts, blocks = Concepts.of(annotation), Blocks.of(source.regions or [])
    parts = []
    for strand in source.read_strands:
        sums = _Sums(len(ids), concepts, blocks, ablation.measures)
        for stand in ablation.windows(strand):
            sums.add(stand, ablation)
        parts.append(sums.table([feature_name(i) for i in ids], strand, seed))
    table = pd.concat(parts, ignore_index=True)
    order = {feature_name(i): place for place, i in enumerate(asked)}
    return table.sort_values("feature", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def features_with_verdict(table: str | Path, verdict: str) -> list[int]:
    """Return the features of the matches with a verdict in ``metrics.tsv`` or ``metrics.parquet``, in its order."""
    matches = read_table(Path(table))
    if missing := [name for name in ("feature", "verdict") if name not in matches]:
        raise SaeTracksError(f"{table} has no column {missing[0]!r}: name the metrics.tsv of sae-tracks metrics")
    found = list(dict.fromkeys(matches.loc[matches["verdict"] == verdict, "feature"].astype(str)))
    if not found:
        known = ", ".join(sorted(set(matches["verdict"].dropna()))) or "none"
        raise SaeTracksError(f"no match in {table} has the verdict {verdict!r}; it has {known}")
    if not all(name[:1] == "f" and name[1:].isdigit() for name in found):
        raise SaeTracksError(f"{table} is not of an SAE: its feature {found[0]!r} has no name like f357")
    return [feature_number(name) for name in found]


def write_effects(table: pd.DataFrame, out: Path, **facts: Any) -> None:
    """Write ``NAME.tsv``, ``NAME.parquet`` and ``NAME.tsv.provenance.json``; `out` must end in ``.tsv``."""
    check_name(out)
    with atomic(out.with_suffix(".parquet")) as temporary:
        table.to_parquet(temporary, index=False)
    write_tsv(table, out)
    write_provenance(out.parent, file_name=f"{out.name}.{PROVENANCE}", **facts)


def check_name(out: Path) -> None:
    """Refuse a name that does not end in ``.tsv``: the Parquet file beside it has the other ending."""
    if out.suffix != ".tsv":
        raise SaeTracksError(f"cannot write {out}: name a file that ends in .tsv")


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


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of contigs that the bootstrap draws."""

    size: int
    number: dict[tuple[str, int], int]  # (contig, start // size): place in the arrays

    @classmethod
    def of(cls, regions: Sequence[GenomicRegion]) -> "Blocks":
        """The blocks that regions touch, of `BLOCK` bases, or of a multiple of it for more than `MOST_BLOCKS`."""
        size = BLOCK * -(-sum(map(len, regions)) // (BLOCK * MOST_BLOCKS)) if regions else BLOCK
        places = ((r.contig, i) for r in regions for i in range(r.start // size, -(-r.end // size)))
        return cls(size, {place: i for i, place in enumerate(dict.fromkeys(places))})


@dataclass(slots=True)
class _Stand:
    """A window as the model reads it, and the n places in it whose predictions are scored."""

    sequence: bytes
    activations: torch.Tensor
    contig: str
    scored: NDArray[np.int64]  # (n,) places in the window
    position: NDArray[np.int64]  # (n,) of the same bases in the genome
    target: NDArray[np.int64]  # (n,) the next base, 0 to 3; without meaning for plug-ins
    active: dict[int, Active]  # of the features asked for
    before: torch.Tensor = field(init=False)  # (window, k) float64 log probabilities as they are


class _Ablation:
    """Reads windows, and measures what changes in them without a feature."""

    def __init__(self, source: Source, ids: list[int], rest: Rest, cutoffs: NDArray[np.float32]) -> None:
        self.source, self.ids, self.rest, self.cutoffs = source, ids, rest, cutoffs
        self.encoder = SparseEncoder.of(source.sae, ids)
        self.measures = [*(["change"] if rest.next_base else []), "kl", *(f"p_{name}" for name in rest.names)]

    def windows(self, strand: ReadStrand) -> Iterator[_Stand]:
        """Yield the windows of a read strand in which something is scored; at least one."""
        source, any_scored = self.source, False
        groups = [list(same) for _, same in groupby(source.windows(strand), lambda window: window.fed)]
        whole = [replace(same[0], kept=same[0].fed) for same in groups]
        readings = read_windows(source.lm, source.genome, whole, source.black_list, source.min_context)
        with_progress = track(zip(groups, readings, strict=True), f"ablating {strand}", len(groups))
        for same, reading in with_progress:
            stand = self._stand(same, reading)
            if len(stand.scored):
                any_scored = True
                stand.before = self.rest(stand.sequence, stand.activations[None])[0].double()
                yield stand
        if not any_scored:
            raise SaeTracksError(
                "the regions are too short: they hold no base at which a prediction can be scored, which is a readable "
                "base with A, C, G or T behind it"
            )

    def _stand(self, windows: list[Window], reading: Reading) -> _Stand:
        fed, forward = reading.region, reading.read_strand == "+"
        kept = np.zeros(len(fed), bool)
        for window in windows:
            kept[window.kept.start - fed.start : window.kept.end - fed.start] = True
        scored, position = kept & reading.readable, np.arange(fed.start, fed.end)
        sequence, x = self.source.genome.sequence(fed), reading.activations
        if not forward:
            sequence, x = reverse_complement(sequence), x.flip(0)
            scored, position = scored[::-1], position[::-1]
        target = _base_numbers(_next_bases(self.source.genome, fed, sequence, forward))
        if self.rest.next_base:
            scored = scored & (target >= 0)
        at = np.flatnonzero(scored)
        active = by_feature(*self.encoder.encode(x))
        return _Stand(sequence, x, fed.contig, at, position[at], target[at], active)

    def changes(self, stand: _Stand) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield each feature with an effect (its place in the ids), and (n, measures) changes at the scored places."""
        last = stand.scored[-1]
        present = [i for i, one in enumerate(self.ids) if one in stand.active]
        if self.source.lm.causal and self.rest.next_base:  # what lies behind all scored places changes none
            present = [i for i in present if stand.active[self.ids[i]][0][0] <= last]
        waiting = iter(present)
        while some := list(islice(waiting, max(BATCH // len(stand.sequence), 1))):
            without = stand.activations.repeat(len(some), 1, 1)
            for x, i in zip(without, some):
                remove(x, *stand.active[self.ids[i]], self.source.sae.W_dec[self.ids[i]])
            for i, after in zip(some, self.rest(stand.sequence, without)):
                yield i, self._measured(stand, after.double(), stand.active[self.ids[i]][0][0])

    def _measured(self, stand: _Stand, after: torch.Tensor, first: int) -> NDArray[np.float64]:
        """(n, measures): the loss (of a next-base model), the divergence, and the probability of each class."""
        if self.source.lm.causal and self.rest.next_base:
            after[:first] = stand.before[:first]
        before, now = stand.before.numpy()[stand.scored], after.numpy()[stand.scored]
        p = np.exp(before)
        columns = [(p * (before - now)).sum(1), *(np.exp(now) - p).T]
        if self.rest.next_base:
            rows = np.arange(len(before)), stand.target
            columns.insert(0, before[rows] - now[rows])
        return np.stack(columns, axis=1)

    def is_active(self, stand: _Stand, feature: int) -> NDArray[np.bool_]:
        """(n,) whether a feature exceeds its cutoff at the scored places."""
        rows, values = stand.active[feature]
        return np.isin(stand.scored, rows[values > self.cutoffs[feature]])

    def losses(self, stand: _Stand) -> NDArray[np.float64]:
        """(n,) nats of the model as it is; zeros for plug-ins."""
        if not self.rest.next_base:
            return np.zeros(len(stand.scored))
        return -stand.before.numpy()[stand.scored, stand.target]


def _next_bases(genome: Genome, fed: GenomicRegion, sequence: bytes, forward: bool) -> bytes:
    """The base behind each base of a window, as the model reads; N behind the last one of a contig."""
    at = fed.end if forward else fed.start - 1
    if not 0 <= at < genome.lengths[fed.contig]:
        return sequence[1:] + b"N"
    letter = genome.sequence(GenomicRegion(fed.contig, at, at + 1))
    return sequence[1:] + (letter if forward else reverse_complement(letter))


def _base_numbers(sequence: bytes) -> NDArray[np.int64]:
    """(n,) 0 to 3 for A, C, G and T; -1 for other letters."""
    found = codes(sequence).astype(np.int64)
    return np.where(found == OTHER, -1, found)


_Parts = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  # (b,) bases, (b,) nats, (b, m) changes


class _Sums:
    """Sums over the scored bases of one read strand: k features, w sets of bases (all, and each concept), b blocks."""

    def __init__(self, features: int, concepts: Concepts, blocks: Blocks, measures: list[str]) -> None:
        self.concepts, self.blocks, self.measures = concepts, blocks, measures
        k, w, b, m = features, 1 + len(concepts.names), len(blocks.number), len(measures)
        self.bases, self.nats, self.change = np.zeros((w, b)), np.zeros((w, b)), np.zeros((k, w, b, m))
        # the same where each feature is active
        self.bases_on, self.nats_on, self.change_on = np.zeros((k, b)), np.zeros((k, b)), np.zeros((k, b, m))

    def add(self, stand: _Stand, ablation: _Ablation) -> None:
        """Add a window."""
        start = int(stand.position.min())
        masks = self.concepts.masks(GenomicRegion(stand.contig, start, int(stand.position.max()) + 1))
        masks, losses = masks[:, stand.position - start], ablation.losses(stand)
        block = stand.position // self.blocks.size
        parts = [(self.blocks.number[stand.contig, one], block == one) for one in np.unique(block).tolist()]
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

    def table(self, names: list[str], strand: ReadStrand, seed: int) -> pd.DataFrame:
        """The rows of every feature."""
        draws = draws_of(self.bases.shape[1], seed)
        rows = []
        for i, name in enumerate(names):
            head = {"feature": name, "read_strand": strand, "concept": "", "site_strand": ""}
            whole: _Parts = (self.bases[0], self.nats[0], self.change[i, 0])
            on: _Parts = (self.bases_on[i], self.nats_on[i], self.change_on[i])
            rows += [self._row(head, "all", *whole, draws), self._row(head, "active", *on, draws)]
            for c, (concept, site_strand) in enumerate(self.concepts.names, 1):
                here = head | {"concept": concept, "site_strand": site_strand}
                inside: _Parts = (self.bases[c], self.nats[c], self.change[i, c])
                outside = whole[0] - inside[0], whole[1] - inside[1], whole[2] - inside[2]
                more = _difference(inside, outside, draws)
                rows.append(self._row(here, "inside", *inside, draws) | more)
                rows.append(self._row(here, "outside", *outside, draws))
        return pd.DataFrame(rows)

    def _row(
        self,
        head: dict[str, str],
        where: str,
        bases: NDArray[np.float64],
        nats: NDArray[np.float64],
        change: NDArray[np.float64],
        draws: NDArray[np.float64],
    ) -> dict[str, object]:
        """Means over some bases, from sums by block."""
        total = bases.sum()
        row: dict[str, object] = {**head, "where": where, "bases": int(total)}
        if "change" in self.measures:
            row["nats"] = _ratio(nats.sum(), total)
        for m, measure in enumerate(self.measures):
            row[measure] = _ratio(change[:, m].sum(), total)
            if measure in ("change", "kl"):
                between = interval(_ratio(draws @ change[:, m], draws @ bases)) if len(bases) >= FEW else NO_INTERVAL
                row[f"{measure}_low"], row[f"{measure}_high"] = between
        return row | dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)


NO_INTERVAL = np.nan, np.nan


def _difference(inside: _Parts, outside: _Parts, draws: NDArray[np.float64]) -> dict[str, float]:
    """The first measure inside less that outside, and its interval from the same draws of blocks."""
    one = np.ones((1, draws.shape[1]))
    found, drawn = (
        _ratio(times @ inside[2][:, 0], times @ inside[0]) - _ratio(times @ outside[2][:, 0], times @ outside[0])
        for times in (one, draws)
    )
    low, high = interval(drawn) if draws.shape[1] >= FEW else NO_INTERVAL
    return {"difference": float(found[0]), "difference_low": low, "difference_high": high}


def _ratio(part, whole):
    """``part / whole``, NaN where there is nothing."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)[()]
