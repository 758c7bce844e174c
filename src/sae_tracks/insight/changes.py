"""What variants change in a window: every feature, and the model's own loss."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import codes, readable_bases
from sae_tracks.insight.alleles import ALONE, Allele, AlleleWindow, Pairs, Plan, copy_of, pairs_of
from sae_tracks.jit import EXACT
from sae_tracks.lm import HyenaDNAReader
from sae_tracks.lm.edits import begin_edits
from sae_tracks.lm.hyenadna import HyenaDNAForCausalLM
from sae_tracks.lm.protocol import Edits, GeneLM
from sae_tracks.regions import ReadStrand
from sae_tracks.sae.encoder import Sparse, SparseEncoder

ROWS = 1 << 14  # activations of copies in memory at once
SAME, NONE = -2, -1  # in place of a row: that of the reference, bit for bit; none


@dataclass(frozen=True, slots=True)
class Effects:
    """What m variants do to features on one read strand; r changes, those of a variant together.

    Attributes
    ----------
    number : (m,) int64
        Of the variant in the list that was given.
    strongest : (m,) float32
        Largest absolute change of any feature.
    loss : (m,) float32
        Change of the model's loss in nats, NaN if it was not asked for.
    of : (r,) int64
        Number of the variant of each change; those of one variant stand together.
    feature : (r,) int32
        Ascending for each variant.
    change : (r,) float32
        Signed change (alternative minus reference) of largest magnitude. Of equal ones, the first in the direction of
        reading.
    distance, position : (r,) int64
        Where: bases behind the last one of the allele, in the direction of reading, and forward position.
    focal : (r,) float32
        Change at the variant.
    ref_max, alt_max : (r,) float32
        Largest activation in either allele.
    """

    read_strand: ReadStrand
    number: NDArray[np.int64]
    strongest: NDArray[np.float32]
    loss: NDArray[np.float32]
    of: NDArray[np.int64]
    feature: NDArray[np.int32]
    change: NDArray[np.float32]
    distance: NDArray[np.int64]
    position: NDArray[np.int64]
    focal: NDArray[np.float32]
    ref_max: NDArray[np.float32]
    alt_max: NDArray[np.float32]


class Comparer:
    """Compares the alleles of windows.

    Parameters
    ----------
    plan : Plan
    encoder : SparseEncoder
        Of the features that are wanted.
    unit : (d_sae,) float32
        What activations are multiplied by; 0 leaves a feature out.
    least : float
        Changes of a smaller magnitude are left out, unless the maxima of the alleles differ as much.
    loss : bool
        Also measure the loss; see `NextBase`.
    """

    def __init__(
        self, plan: Plan, encoder: SparseEncoder, unit: NDArray[np.float32], least: float, *, loss: bool
    ) -> None:
        self.plan, self.encoder, self.unit, self.least = plan, encoder, unit, np.float32(least)
        self.next_base = NextBase.of(plan.lm) if loss else None
        self._scratch = _Scratch(len(unit))

    def compare(self, window: AlleleWindow) -> Iterator[Effects]:
        """Yield the effects of the variants of a window, some at a time."""
        letters = window.letters()
        longest = max(len(allele.ref) for allele in window.alleles)
        beyond = window.stretch.letters(window.start, window.end + longest)
        readable, edits = readable_bases(letters), begin_edits(self.plan.lm, letters)
        at = [allele.first - window.start for allele in window.alleles]
        pairs = [pairs_of(one, place, readable, self.plan.back) for one, place in zip(window.alleles, at)]
        reference = _Reference(self.encoder, edits, at, pairs)
        whole = self.next_base and self.next_base.begin(letters)
        for span, members in self._together(window, len(letters)):
            starts = np.array([at[i] for i in members]) if self.plan.shared else np.zeros(len(members), np.int64)
            copies = [
                copy_of(window.alleles[i], at[i], beyond, start, start + span)
                for i, start in zip(members, starts.tolist())
            ]
            changed = np.frombuffer(b"".join(copies), np.uint8).reshape(len(members), span)
            some = [pairs[i] for i in members]
            shift = np.array([at[i] for i in members]) - starts
            rows = edits.read(starts, changed)
            loss = whole.change(starts, changed, some) if whole else np.full(len(members), np.nan, np.float32)
            found = self._difference(reference, rows, shift, [at[i] for i in members], some)
            yield self._effects(window, [window.alleles[i] for i in members], some, found, loss)

    def _together(self, window: AlleleWindow, n: int) -> Iterator[tuple[int, list[int]]]:
        """Yield spans, and the places of the alleles whose copies are read together."""
        by_span: dict[int, list[int]] = defaultdict(list)
        for place, allele in enumerate(window.alleles):
            by_span[self.plan.span(allele) if self.plan.shared else n].append(place)
        for span, members in by_span.items():
            step = max(ROWS // span, 1)
            for first in range(0, len(members), step):
                yield span, members[first : first + step]

    def _difference(
        self, reference: "_Reference", rows: torch.Tensor, shift: NDArray[np.int64], at: list[int], pairs: list[Pairs]
    ) -> tuple[NDArray, ...]:
        """Changes of the features of copies, from their (m, span, d) activations."""
        copy = np.repeat(np.arange(len(pairs)), [len(one.ref) for one in pairs])
        ref, alt = (np.concatenate([getattr(one, name) for one in pairs]) for name in ("ref", "alt"))
        base = np.asarray(at)[copy] + ref  # in the window
        alt_row = np.full(len(copy), NONE)
        there, both = alt != ALONE, (alt != ALONE) & (ref != ALONE)
        mine = rows[torch.from_numpy(copy[there]), torch.from_numpy((alt + shift[copy])[there])]
        old = reference.rows[torch.from_numpy(np.where(both, base, 0)[there])]
        differs = (mine != old).any(1).numpy() | ~both[there]
        alt_row[there] = np.where(differs, np.cumsum(differs) - 1, SAME)
        alternative = _encoded(self.encoder, mine[torch.from_numpy(differs)])
        ref_row = np.where(ref == ALONE, NONE, reference.place[np.where(ref == ALONE, 0, base)])
        edges = np.concatenate(([0], np.cumsum([len(one.ref) for one in pairs])))
        focal = np.array([one.focal for one in pairs])
        sparse = (*reference.sparse, *alternative)
        return self._scratch.differences(edges, focal, ref_row, alt_row, sparse, self.unit, self.least)

    def _effects(
        self,
        window: AlleleWindow,
        alleles: list[Allele],
        pairs: list[Pairs],
        found: tuple[NDArray, ...],
        loss: NDArray[np.float32],
    ) -> Effects:
        strongest, copy, feature, change, where, focal, ref_max, alt_max = found
        number = np.array([allele.number for allele in alleles])
        edges = np.concatenate(([0], np.cumsum([len(one.ref) for one in pairs])))
        ref, distance = (np.concatenate([getattr(one, name) for one in pairs]) for name in ("ref", "distance"))
        column = np.minimum(edges[copy] + where, max(len(ref) - 1, 0))
        offset = np.array([allele.first for allele in alleles])[copy] + np.maximum(ref[column], 0)
        stretch = window.stretch
        offset = np.minimum(offset, len(stretch) - 1)  # at its end, nothing may be left to compare
        return Effects(
            stretch.read_strand,
            number,
            strongest,
            loss,
            number[copy],
            feature,
            change,
            distance[column],
            stretch.region.start + offset if stretch.read_strand == "+" else stretch.region.end - 1 - offset,
            focal,
            ref_max,
            alt_max,
        )


class _Reference:
    """The features of the bases of a window that are compared."""

    def __init__(self, encoder: SparseEncoder, edits: Edits, at: Sequence[int], pairs: Sequence[Pairs]) -> None:
        self.rows = edits.activations
        needed = np.zeros(len(self.rows), bool)
        for place, one in zip(at, pairs):
            needed[place + one.ref[one.ref != ALONE]] = True
        self.place = np.cumsum(needed) - 1
        self.sparse = _encoded(encoder, self.rows[torch.from_numpy(needed)])


def _encoded(encoder: SparseEncoder, rows: torch.Tensor) -> Sparse:
    if not len(rows):
        return np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    return encoder.encode(rows)


class _Scratch:
    """Memory of `_differences`: a place per feature."""

    def __init__(self, d_sae: int) -> None:
        self._floats, self._ints = np.zeros((4, d_sae), np.float32), np.zeros((2, d_sae), np.int64)

    def differences(self, edges, focal, ref_row, alt_row, sparse, unit, least) -> tuple[NDArray, ...]:
        """Return (m,) strongest changes of copies, then (r,) arrays: copy, feature, change, pair, focal, maxima."""
        room = _entries(ref_row, sparse[0]) + _entries(alt_row, sparse[3])
        room += _entries(np.where(alt_row == SAME, ref_row, NONE), sparse[0])
        ints, floats = np.empty((3, room), np.int64), np.empty((4, room), np.float32)
        strongest = np.zeros(len(focal), np.float32)
        made = self._floats, self._ints, ints, floats, strongest
        used = _differences(edges, focal, ref_row, alt_row, *sparse, unit, least, *made)  # pyright: ignore[reportCallIssue]
        copy, feature, pair = ints[:, :used]
        change, at, ref_max, alt_max = floats[:, :used]
        return strongest, copy, feature.astype(np.int32), change, pair, at, ref_max, alt_max


def _entries(row: NDArray[np.int64], indptr: NDArray[np.int64]) -> int:
    row = row[row >= 0]
    return int((indptr[row + 1] - indptr[row]).sum())


@njit(**EXACT)
def _differences(  # noqa: C901 (a kernel)
    edges, focal, ref_row, alt_row, ref_ptr, ref_ids, ref_values, alt_ptr, alt_ids, alt_values,
    unit, least, per_feature, marks, ints, floats, strongest,
):  # fmt: skip
    """Fill `strongest`, `ints` (copy, feature, pair) and `floats` (change, focal, maxima); return how many changes."""
    change, at, ref_max, alt_max = per_feature[0], per_feature[1], per_feature[2], per_feature[3]
    where, seen = marks[0], marks[1]
    touched = np.empty(len(unit), np.int64)
    used = 0
    for copy in range(len(focal)):
        many = 0
        for pair in range(edges[copy], edges[copy + 1]):
            r, a = ref_row[pair], alt_row[pair]
            i, i_end = (ref_ptr[r], ref_ptr[r + 1]) if r >= 0 else (0, 0)
            j, j_end = (alt_ptr[a], alt_ptr[a + 1]) if a >= 0 else (0, 0)
            while i < i_end or j < j_end:
                first = j == j_end or (i < i_end and ref_ids[i] <= alt_ids[j])
                feature = ref_ids[i] if first else alt_ids[j]
                old = new = np.float32(0)
                if i < i_end and ref_ids[i] == feature:
                    old = ref_values[i] * unit[feature]
                    i += 1
                if j < j_end and alt_ids[j] == feature:
                    new = alt_values[j] * unit[feature]
                    j += 1
                if a == SAME:
                    new = old
                if not seen[feature]:
                    seen[feature] = 1
                    touched[many] = feature
                    many += 1
                ref_max[feature] = max(ref_max[feature], old)
                alt_max[feature] = max(alt_max[feature], new)
                if r != NONE and a != NONE:
                    difference = new - old
                    if abs(difference) > abs(change[feature]):
                        change[feature], where[feature] = difference, pair - edges[copy]
                    if pair - edges[copy] == focal[copy]:
                        at[feature] = difference
        touched[:many].sort()
        for t in range(many):
            feature = touched[t]
            size = abs(change[feature])
            strongest[copy] = max(strongest[copy], size)
            size = max(size, abs(alt_max[feature] - ref_max[feature]))
            if size > 0 and size >= least:
                ints[0, used], ints[1, used], ints[2, used] = copy, feature, where[feature]
                floats[0, used], floats[1, used] = change[feature], at[feature]
                floats[2, used], floats[3, used] = ref_max[feature], alt_max[feature]
                used += 1
            change[feature] = at[feature] = ref_max[feature] = alt_max[feature] = 0
            where[feature] = seen[feature] = 0
    return used


class NextBase:
    """What a HyenaDNA predicts of the next base, on a sequence and on changed copies of it."""

    def __init__(self, lm: HyenaDNAReader) -> None:
        model = lm.causal_lm
        last = model.config.n_layer
        self._reader = lm if lm.layer == last else HyenaDNAReader(model, last, lm.model_id, lm.revision)

    @classmethod
    def of(cls, lm: GeneLM) -> "NextBase | None":
        """The predictions of a model, None if it is not a HyenaDNA with a next-base head."""
        return cls(lm) if isinstance(lm, HyenaDNAReader) and isinstance(lm.model, HyenaDNAForCausalLM) else None

    def begin(self, sequence: bytes) -> "_Predicted":
        """Read a sequence whose copies are wanted."""
        return _Predicted(self, sequence, begin_edits(self._reader, sequence))

    def log_probabilities(self, rows: torch.Tensor) -> NDArray[np.float32]:
        """(..., d_model) of the last layer -> (..., 4): A, C, G and T at the next base."""
        return self._reader.next_base(rows).numpy()


class _Predicted:
    """A sequence with what is predicted at each of its bases."""

    def __init__(self, model: NextBase, sequence: bytes, edits: Edits) -> None:
        self._model, self._edits, self._codes = model, edits, codes(sequence)
        self._next = model.log_probabilities(edits.activations)

    def change(
        self, starts: NDArray[np.int64], letters: NDArray[np.uint8], pairs: Sequence[Pairs]
    ) -> NDArray[np.float32]:
        """(m,) float32: the loss of the alternative minus that of the reference, summed over pairs, in nats."""
        new = self._model.log_probabilities(self._edits.read(starts, letters)[:, :-1])
        found = np.zeros(len(starts), np.float32)
        for i, (start, one) in enumerate(zip(starts.tolist(), pairs)):
            before = self._next[[start - 1]] if start else np.full((1, 4), np.nan, np.float32)  # of no first base
            predicted, read = np.concatenate([before, new[i]]), codes(letters[i].tobytes())
            both = (one.ref != ALONE) & (one.alt != ALONE)
            ref, alt = start + one.ref[both], one.alt[both]
            old = np.where(ref > 0, self._next[ref - 1, self._codes[ref]], np.nan)
            found[i] = np.nansum(old - predicted[alt, read[alt]])
        return found
