"""Changed copies of a sequence, read without reading again what they share with it.

A HyenaDNA is causal: a copy has the sequence's activations before its first change. Behind it, two things carry what
was before: the short filter, which sees two bases back, and the long filter, which is linear. Its output on a copy is
that on the sequence plus its output on the difference, which is zero before the change. So a copy costs the bases that
are asked for, not the window. Of other models, every copy is read whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.hyenadna import HyenaBlock, fft_length
from sae_tracks.lm.passes import ROWS, BlockPass, Trace, Workspace
from sae_tracks.lm.protocol import Edits, GeneLM, OffersEdits, checked_batch, checked_rows
from sae_tracks.lm.tokens import base_tokens
from sae_tracks.threads import in_threads, in_turn

DIRECT = 256  # the most bases of a copy over which the long filter is a sum, not a product of transforms


def begin_edits(lm: GeneLM, sequence: bytes) -> Edits:
    """Read a sequence whose changed copies are wanted, in the fastest way that the model offers."""
    return lm.begin(sequence) if isinstance(lm, OffersEdits) else WholeCopies(lm, sequence)


class WholeCopies:
    """`Edits` of any model: every copy is read from its first base to its last."""

    def __init__(self, lm: GeneLM, sequence: bytes) -> None:
        self.lm, self._letters = lm, np.frombuffer(sequence, np.uint8)
        self.activations = checked_rows(lm, sequence)[0]

    def read(self, starts: NDArray[np.int64], letters: NDArray[np.uint8], before: int = 0) -> torch.Tensor:
        """See `Edits`."""
        _check_inside(len(self._letters), starts - before, before + letters.shape[1])
        copies = np.repeat(self._letters[None], len(starts), axis=0)
        at = starts[:, None] + np.arange(letters.shape[1])
        copies[np.arange(len(starts))[:, None], at] = letters
        found = checked_batch(self.lm, [copy.tobytes() for copy in copies])
        ends = (starts + letters.shape[1]).tolist()
        return torch.stack([rows[start:end] for (rows, _), start, end in zip(found, (starts - before).tolist(), ends)])


@dataclass(frozen=True, slots=True)
class Copies:
    """Bases of m changed copies of a sequence, s of each."""

    first: torch.Tensor  # (m,) int64: the first base of each copy
    same: torch.Tensor  # (m, s) bool: no base up to and including this one is changed

    def of(self, traced: torch.Tensor) -> torch.Tensor:
        """(d, n) of the sequence -> (d, m, s): the same at the bases of the copies."""
        return traced.unfold(1, self.same.shape[1], 1)[:, self.first]

    def before(self, projected: torch.Tensor, bases: int) -> torch.Tensor:
        """(3, d, n) of the sequence -> (3, d, m, bases) just before the copies, zeros before the sequence."""
        at = self.first[:, None] + torch.arange(-bases, 0, device=self.first.device)
        return torch.where(at < 0, 0, projected[..., at.clamp(min=0)])


ReadCopies = Callable[[torch.Tensor, Copies, Trace], torch.Tensor]  # a block on the (m * s, d) stream of copies


def copies_as_they_are(
    block: HyenaBlock, spectrum: torch.Tensor, x: torch.Tensor, copies: Copies, trace: Trace
) -> torch.Tensor:
    """Run a block over copies, with the filter's transform at their length, on any device."""
    mixer, (m, s) = block.mixer, copies.same.shape
    left = copies.before(trace.projected, mixer.short_filter.kernel_size[0] - 1).flatten(0, 1)
    projected = mixer.in_proj(block.norm1(x)).view(m, s, -1).permute(2, 0, 1)
    gate, fed = (part[..., -s:] for part in mixer.split(torch.cat([left, projected], 2).transpose(0, 1)))
    difference = (fed - copies.of(trace.fed).transpose(0, 1)).masked_fill(copies.same[:, None], 0)
    y = mixer.convolve(difference, spectrum) + copies.of(trace.convolved).transpose(0, 1)
    x = x + mixer.out_proj((y * gate).mT).flatten(0, 1)
    return x + block.mlp(block.norm2(x))


class CopyPass(BlockPass):
    """One block over copies of one length, on the CPU."""

    def __init__(self, block: HyenaBlock, bases: int, space: Callable[[int], Workspace]) -> None:
        super().__init__(block)
        function = block.mixer.filter_fn
        self.space, self.no_bias = space, torch.zeros_like(function.bias)
        if bases > DIRECT:
            self.filter = function.spectrum(bases)
        else:
            self.filter = torch.nn.functional.pad(function(bases), (7, 0))
            self.filter[:, 7] += function.bias

    def __call__(self, x: torch.Tensor, copies: Copies, trace: Trace) -> torch.Tensor:
        """See `ReadCopies`; in place."""
        space, first = self.space(max(ROWS, len(x))), copies.first.numpy()
        convolve = partial(self._convolve, copies, trace)
        return x.add_(self.run(x, self.no_bias, in_turn, space, first, trace.projected, convolve))

    def _convolve(self, copies: Copies, trace: Trace, fed: torch.Tensor, channels: slice) -> torch.Tensor:
        """The output of the long filter, from that on the sequence and what changes of its input."""
        m, s = copies.same.shape
        bases = s, copies.first.numpy(), copies.same.sum(1).numpy()
        self.kernels.keep_difference(*bases, trace.fed[channels].numpy(), fed.numpy())
        known, filters = trace.convolved[channels], self.filter[channels]
        if s <= DIRECT:
            y = torch.empty(len(fed), m * s)
            self.kernels.add_filtered(*bases, known.numpy(), fed.numpy(), filters.numpy(), y.numpy())
            return y
        n, difference = fft_length(s), fed[:, : m * s].unflatten(1, (m, s))
        transform = torch.fft.rfft(difference, n=n).mul_(filters[:, None])
        return torch.fft.irfft(transform, n=n, norm="forward")[..., :s].add_(copies.of(known)).flatten(1)


class HyenaEdits:
    """`Edits` of a HyenaDNA."""

    def __init__(
        self,
        embed: Callable[[torch.Tensor], torch.Tensor],
        blocks: Callable[[int], Sequence[ReadCopies]],
        traces: Sequence[Trace],
        ids: torch.Tensor,
        rows: torch.Tensor,
        one_at_a_time: Lock,
    ) -> None:
        self._embed, self._blocks, self._traces, self._ids = embed, blocks, traces, ids
        self._rows, self._lock, self.activations = rows, one_at_a_time, rows.cpu()

    @torch.inference_mode(False)
    @torch.no_grad()
    def read(self, starts: NDArray[np.int64], letters: NDArray[np.uint8], before: int = 0) -> torch.Tensor:
        """See `Edits`."""
        (m, s), d = letters.shape, self._rows.shape[1]
        _check_inside(len(self._ids), starts - before, before + s)
        device = self._ids.device
        first = torch.from_numpy(starts).to(device)
        ids = torch.from_numpy(base_tokens(letters.tobytes()).reshape(m, s)).to(device)
        found = torch.empty(m, before + s, d)

        def read_some(copies: slice) -> None:
            found[copies, before:] = self._read(first[copies], ids[copies], blocks).cpu()
            if before:
                at = first[copies, None] + torch.arange(-before, 0, device=device)
                found[copies, :before] = self._rows[at].cpu()

        with self._lock, in_threads() as each:
            blocks = self._blocks(s)
            each(read_some, m, max(ROWS // s, 1))
        return found

    def _read(self, first: torch.Tensor, ids: torch.Tensor, blocks: Sequence[ReadCopies]) -> torch.Tensor:
        """(m, s, d) activations of copies with (m, s) ids from base `first` (m,) on."""
        at = first[:, None] + torch.arange(ids.shape[1], device=ids.device)
        copies = Copies(first, (ids == self._ids[at]).cummin(1).values)
        x = self._embed(ids).flatten(0, 1)
        for block, trace in zip(blocks, self._traces):
            x = block(x, copies, trace)
        rows = x.view(*ids.shape, -1)
        rows[copies.same] = self._rows[at[copies.same]]
        return rows


def _check_inside(length: int, starts: NDArray[np.int64], span: int) -> None:
    if len(starts) and not (starts.min() >= 0 and starts.max() + span <= length):
        raise SaeTracksError(f"copies are changed at bases outside of the sequence, which has {length:,}")
