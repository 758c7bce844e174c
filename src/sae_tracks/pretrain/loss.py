"""Next-base cross entropy of any model over regions: every model is scored on the same bases."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from sae_tracks.dna import readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import CHUNK, Genome
from sae_tracks.intervals import NO_SPANS, Spans, cover
from sae_tracks.lm import HyenaDNAForCausalLM, base_tokens
from sae_tracks.lm.tokens import BASES, SPECIAL_TOKENS
from sae_tracks.pretrain.windows import overlapping_chunks, stretches_inside
from sae_tracks.regions import GenomicRegion

BLOCK = 10_000  # bases; longer than almost every gene of yeast, so that blocks are nearly independent
NOTHING: Mapping[str, Spans] = MappingProxyType({})


class NextBaseModel(Protocol):
    """A model that gives each base a probability from those before it."""

    shape: tuple[int, ...]  # of the losses of one base: empty, or (models,) if several are scored together
    window: int  # bases read at once
    context: int  # how many of them, at the start, are context alone unless a stretch begins there

    def losses(self, sequence: bytes) -> NDArray[np.float32]:
        """(\\*shape, n) negative log probabilities, nats, of n upper-case letters; read only at scored bases."""
        ...


class NextBaseLM:
    """A language model as a `NextBaseModel`: windows overlap by half, and the softmax is over A, C, G, T alone."""

    shape = ()

    def __init__(self, model: HyenaDNAForCausalLM) -> None:
        self.model = model.eval()
        self.window = model.config.max_seq_len - SPECIAL_TOKENS
        self.context = self.window // 2

    @torch.inference_mode()
    def losses(self, sequence: bytes) -> NDArray[np.float32]:
        """See `NextBaseModel.losses`."""
        ids = torch.from_numpy(base_tokens(sequence)).to(self.model.device)
        logits = self.model(ids[None, :-1]).logits[0][:, list(BASES)].float()
        targets = (ids[1:] - BASES[0]).clamp(0, len(BASES) - 1)
        loss = F.cross_entropy(logits, targets, reduction="none")
        return np.concatenate([np.array([np.nan], np.float32), loss.cpu().numpy()])


def cross_entropy(
    model: NextBaseModel, genome: Genome, regions: Iterable[GenomicRegion]
) -> tuple[NDArray[np.float64], int]:
    """Mean next-base cross entropy over regions, forward strand.

    Each A, C, G, T is scored once if a letter is before it, after its region's start and the last long run of N.

    Returns
    -------
    (\\*model.shape,) float64, int
        Nats per base, and the number of bases scored.
    """
    total, bases = losses_by_block(model, genome, regions)
    return total.sum(axis=(0, 1)) / bases.sum(), int(bases.sum())


def losses_by_block(
    model: NextBaseModel, genome: Genome, regions: Iterable[GenomicRegion], marked: Mapping[str, Spans] = NOTHING
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums of the losses whose mean `cross_entropy` returns, apart for marked bases, over blocks of `BLOCK` bases.

    Blocks are those of the contig, counted from its start; a block that the regions only touch is shorter.

    Parameters
    ----------
    marked : mapping of contig to (k, 2) int64
        Ascending, disjoint.

    Returns
    -------
    (2, blocks, \\*model.shape) float64, (2, blocks) int64
        Nats, and the number of bases scored: of the other bases, and of those marked.
    """
    regions = list(regions)
    check_scorable(genome, regions)
    places = ((region.contig, i) for region in regions for i in range(region.start // BLOCK, -(-region.end // BLOCK)))
    number = {place: i for i, place in enumerate(dict.fromkeys(places))}
    total, bases = np.zeros((2, len(number), *model.shape)), np.zeros((2, len(number)), np.int64)
    for window, losses, scored in _windows_with_losses(model, genome, regions):
        inside = cover(marked.get(window.contig, NO_SPANS), window.start, window.end)
        for first in range(window.start // BLOCK * BLOCK, window.end, BLOCK):
            at = number[window.contig, first // BLOCK]
            here = slice(max(first - window.start, 0), first - window.start + BLOCK)
            for side, which in enumerate((scored[here] & ~inside[here], scored[here] & inside[here])):
                total[side, at] += losses[..., here][..., which].sum(axis=-1, dtype=np.float64)
                bases[side, at] += which.sum()
    return total, bases


def cross_entropy_per_base(
    model: NextBaseModel, genome: Genome, regions: Iterable[GenomicRegion]
) -> list[NDArray[np.float32]]:
    """The losses whose mean `cross_entropy` returns, (\\*model.shape, len(region)) per region, NaN on other bases."""
    out = []
    for region in regions:
        out.append(np.full((*model.shape, len(region)), np.nan, np.float32))
        for window, losses, scored in _windows_with_losses(model, genome, [region]):
            here = out[-1][..., window.start - region.start : window.end - region.start]
            here[..., scored] = losses[..., scored]
    return out


def check_scorable(genome: Genome, regions: Iterable[GenomicRegion]) -> None:
    """Refuse regions in which `cross_entropy` has nothing to score; reads them up to the first base that has."""
    windows = scored_windows(genome, regions, CHUNK, 1)
    if not any(scored_bases(genome.sequence(window), known).any() for window, known in windows):
        raise SaeTracksError("the held-out regions hold no base to score: all are N, or alone between N")


def scored_windows(
    genome: Genome, regions: Iterable[GenomicRegion], length: int, context: int
) -> list[tuple[GenomicRegion, int]]:
    """Windows of `length` bases that score each base of regions once, and how many first bases each does not score.

    The first `context` bases of a window were scored in the window before.
    """
    return [
        (window, max(context, 1) if window.start > stretch.start else 1)  # nothing predicts its first base
        for stretch in stretches_inside(genome, regions)
        for window in overlapping_chunks(stretch, length, context)
        if len(window) > 1
    ]


def scored_bases(sequence: bytes, known: int) -> NDArray[np.bool_]:
    """(n,) whether each base of a window is scored: A, C, G and T after the first `known`."""
    scored = readable_bases(sequence)
    scored[:known] = False
    return scored


def _windows_with_losses(
    model: NextBaseModel, genome: Genome, regions: Iterable[GenomicRegion]
) -> Iterator[tuple[GenomicRegion, NDArray[np.float32], NDArray[np.bool_]]]:
    """Windows, losses (\\*shape, n) of their bases, and which of these are scored."""
    for window, known in scored_windows(genome, regions, model.window, model.context):
        sequence = genome.sequence(window)
        yield window, model.losses(sequence), scored_bases(sequence, known)
