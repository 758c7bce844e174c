"""What features do when words of motifs and of their decoys are put into contexts."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.insight.contexts import Context, Shape, words_of
from sae_tracks.insight.edits import FeatureReader
from sae_tracks.lm.edits import begin_edits
from sae_tracks.motifs import Motif, Scanner
from sae_tracks.names import counted, feature_name
from sae_tracks.progress import track
from sae_tracks.regions import ReadStrand, Shard
from sae_tracks.source import Source

REACH = 15  # bases behind a word in which the feature may fire, and with a model that is not causal also before it
SPAN = 64  # bases from the place on that are read, at least: so most motifs get the same contexts, alone or with others
MOST_BYTES = 2 << 30  # of the responses at each base, in memory at once
SITE, DECOY = 0, 1
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """The copies of each context, and the R rows of the table, by their indices."""

    motifs: Sequence[Motif]
    words: list[tuple[list[bytes], list[bytes]]]  # of each motif, a word per context: sites, decoys
    features: list[int]
    motif: NDArray[np.int64]  # (R,)
    strand: NDArray[np.int64]  # (R,) of the site: 0 is +
    column: NDArray[np.int64]  # (R,) in `features`
    shape: Shape
    back: int  # bases before the word in which the feature may fire
    span: int  # bases from the word's first one on that are read
    contexts: int  # of all kinds

    def part(self, some: slice) -> "Plan":
        """The rows of some of the motifs; contexts, words and bases stay those of all motifs."""
        rows = self._rows(some)
        columns = {"motif": self.motif[rows] - some.start, "strand": self.strand[rows], "column": self.column[rows]}
        return replace(self, motifs=self.motifs[some], words=self.words[some], **columns)

    def groups(self, shard: Shard) -> list[slice]:
        """The motifs of a shard, in groups whose responses fit in memory."""
        mine, found = shard.slice(len(self.motifs)), list[slice]()
        for i in range(mine.start, mine.stop):
            grown = slice(found[-1].start, i + 1) if found else slice(i, i + 1)
            if found and self.bytes(grown) <= MOST_BYTES:
                found[-1] = grown
            else:
                found.append(slice(i, i + 1))
        return found

    def bytes(self, some: slice) -> int:
        """Of the responses to some of the motifs, and of all features on the copies of one context."""
        rows, copies = self._rows(some), 4 * (some.stop - some.start)
        values = (rows.stop - rows.start) * self.contexts + copies * len(self.features)
        return 4 * values * (self.back + self.span)

    def _rows(self, some: slice) -> slice:
        """The rows of some of the motifs: they are in the order of the motifs."""
        return slice(*np.searchsorted(self.motif, (some.start, some.stop)).tolist())

    def names(self, row: int, read_strand: ReadStrand) -> dict[str, str]:
        """The columns that identify a row."""
        motif = self.motifs[self.motif[row]]
        names = motif.matrix_id, motif.tf, "+-"[self.strand[row]], feature_name(self.features[self.column[row]])
        return dict(zip(("concept", "tf", "site_strand", "feature", "read_strand"), (*names, read_strand)))


def plan_copies(
    source: Source,
    motifs: Sequence[Motif],
    features: list[int],
    pairs: set[tuple[str, int]] | None,
    contexts: int,
    kinds: int,
    seed: int,
) -> Plan:
    """Draw the words of motifs for so many contexts of each kind, and say how much of each context is read."""
    words = [words_of(motif, kinds * contexts, seed) for motif in motifs]
    wanted = np.array([[pairs is None or (m.matrix_id, f) in pairs for f in features] for m in motifs])
    motif, strand, column = np.nonzero(np.repeat(wanted[:, None], 2, axis=1))
    if without := [motif.matrix_id for motif, (sites, _) in zip(motifs, words) if not sites]:
        few = counted(len(without), "motif has", "motifs have")
        log.info("%s too few words or decoys (left empty): %s", few, ", ".join(without))
    span = max(SPAN, max(motif.width for motif in motifs) + REACH)
    layout, causal = source.layout, source.lm.causal
    behind = span if causal else max(span, layout.after)
    if layout.before + behind > source.lm.max_length:
        raise SaeTracksError(
            f"{layout.before:,} bases of context and {behind} of the motif are more than the {source.lm.max_length:,} "
            "that this model reads: lower --context"
        )
    back = 0 if causal else min(REACH, layout.before)
    shape = Shape(layout.before, behind)
    plan = Plan(motifs, words, features, motif, strand, column, shape, back, span, kinds * contexts)
    if (size := max(plan.bytes(slice(i, i + 1)) for i in range(len(motifs)))) > MOST_BYTES:
        raise SaeTracksError(
            f"the responses of {len(features):,} features to one motif need {size / 1e9:.1f} GB: name fewer features "
            "or contexts"
        )
    return plan


@dataclass(frozen=True, slots=True)
class Responses:
    """Responses to the words of each row."""

    change: NDArray[np.float32]  # (R, contexts, 2) of the maximum, by the motif's word and by the decoy's
    profile: NDArray[np.float32]  # (R, contexts, bases) by the motif's word, at each base
    used: NDArray[np.bool_]  # (R, contexts) the motif has words and no site near the place


def measure(source: Source, plan: Plan, contexts: Sequence[Context], read_strand: ReadStrand) -> Responses:
    """Put the words into the contexts, and read what the features do."""
    bases, place, rows = plan.back + plan.span, plan.shape.before, len(plan.motif)
    change = np.zeros((rows, len(contexts), 2), np.float32)
    profile = np.zeros((rows, len(contexts), bases), np.float32)
    reader = FeatureReader(source.encoder(plan.features), plan.features)
    width = np.array([motif.width for motif in plan.motifs])[plan.motif]
    far = np.arange(bases) >= (plan.back + width + REACH)[:, None]
    for number, context in enumerate(track(contexts, f"inserting {read_strand}", len(contexts))):
        copies, edits = _copies(plan, context, number, read_strand), begin_edits(source.lm, context.letters)
        values = reader.copies(edits, np.full(len(copies), place), copies, plan.back)
        values = values.reshape(len(plan.motifs), 2, 2, bases, len(plan.features))
        own = reader.values(edits.activations[place - plan.back : place + plan.span]).T[plan.column]
        highest = np.where(far, 0, own).max(axis=1)
        for word in (SITE, DECOY):
            found = values[plan.motif, plan.strand, word, :, plan.column]
            change[:, number, word] = np.where(far, 0, found).max(axis=1) - highest
            if word == SITE:
                profile[:, number] = found - own
    return Responses(change, profile, _free(plan, contexts)[plan.motif])


def _copies(plan: Plan, context: Context, number: int, read_strand: ReadStrand) -> NDArray[np.uint8]:
    """(motifs x 2 site strands x 2 words, span) letters from the place on, in the direction of reading."""
    behind, rows = context.letters[plan.shape.before :][: plan.span], []
    for sites, decoys in plan.words:
        for strand in "+-":
            for words in (sites, decoys):
                word = words[number] if words else b""
                word = word if strand == read_strand else reverse_complement(word)
                rows.append(word + behind[len(word) :])
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), plan.span)


def _free(plan: Plan, contexts: Sequence[Context]) -> NDArray[np.bool_]:
    """(motifs, contexts) bool: the motif has words, and none of its sites touches bases from which responses come."""
    able = [i for i, (sites, _) in enumerate(plan.words) if sites]
    free = np.zeros((len(plan.motifs), len(contexts)), bool)
    if not able:
        return free
    free[able] = True
    scanner = Scanner([plan.motifs[i] for i in able])
    widths = np.array([plan.motifs[i].width for i in able])
    first = max(plan.shape.before - plan.back - scanner.widest + 1, 0)
    for number, context in enumerate(contexts):
        hits = scanner.scan(context.letters[first : plan.shape.before + plan.span])
        width = widths[hits.motif]
        start = hits.start + first - plan.shape.before
        near = (start + width > -plan.back) & (start < width + REACH)
        free[np.array(able)[hits.motif[near]], number] = False
    return free
