"""Changed copies of a sequence, read without reading again what they share with it.

A HyenaDNA is causal: a copy has the sequence's activations before its first change. Behind it, two things carry what
was before: the short filter, which sees two bases back, and the long filter, which is linear. Its output on a copy is
that on the sequence plus its output on the difference, which is zero before the change. So a copy costs the bases that
are asked for, not the window. Of other models, every copy is read whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.hyenadna import HyenaBackbone, HyenaBlock, fft_length
from sae_tracks.lm.protocol import Edits, GeneLM, OffersEdits, checked_batch, checked_rows
from sae_tracks.lm.tokens import base_tokens
from sae_tracks.threads import in_threads

ROWS = 1024  # bases of copies that one thread reads at once, about
DIRECT = 128  # the most bases of a copy over which the long filter is a matrix product, not a transform


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
class Trace:
    """What a block did with a sequence of n bases."""

    projected: torch.Tensor  # (n, 3 d) float32, before the short filter
    fed: torch.Tensor  # (n, d) what the long filter took
    convolved: torch.Tensor  # (n, d) its output

    @classmethod
    def empty(cls, n: int, block: HyenaBlock, device: torch.device) -> "Trace":
        """Room for the trace of a block."""
        three, d = block.mixer.in_proj.weight.shape
        return cls(*(torch.empty(n, width, device=device) for width in (three, d, d)))

    def fill(self, block: HyenaBlock, x: torch.Tensor, spectrum: torch.Tensor) -> None:
        """Trace the block on the (1, n, d) stream before it."""
        mixer = block.mixer
        projected = mixer.in_proj(block.norm1(x))
        fed = mixer.split(projected.transpose(1, 2))[1]
        convolved = mixer.convolve(fed, spectrum)
        for room, made in zip((self.projected, self.fed, self.convolved), (projected, fed.mT, convolved.mT)):
            room.copy_(made[0])


class HyenaEdits:
    """`Edits` of a HyenaDNA."""

    def __init__(
        self,
        backbone: HyenaBackbone,
        blocks: Sequence[HyenaBlock],
        traces: Sequence[Trace],
        ids: torch.Tensor,
        rows: torch.Tensor,
        filters: Callable[[int], list[torch.Tensor]],
        one_at_a_time: Lock,
    ) -> None:
        self._embed, self._blocks, self._traces, self._ids = backbone.embeddings, blocks, traces, ids
        self._rows, self._filters, self._lock, self.activations = rows, filters, one_at_a_time, rows.cpu()

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
            found[copies, before:] = self._read(first[copies], ids[copies], filters).cpu()
            if before:
                at = first[copies, None] + torch.arange(-before, 0, device=device)
                found[copies, :before] = self._rows[at].cpu()

        with self._lock, in_threads() as each:
            filters = self._filters(s)
            each(read_some, m, max(ROWS // s, 1))
        return found

    def _read(self, first: torch.Tensor, ids: torch.Tensor, filters: list[torch.Tensor]) -> torch.Tensor:
        """(m, s, d) activations of copies with (m, s) ids from base `first` (m,) on."""
        at = first[:, None] + torch.arange(ids.shape[1], device=ids.device)
        same = ((ids == self._ids[at]).cummin(1).values)[..., None]
        x = self._embed(ids)
        for block, trace, taps in zip(self._blocks, self._traces, filters):
            gate, fed = _split(block, trace, first, block.mixer.in_proj(block.norm1(x)))
            difference = torch.where(same, 0, fed - trace.fed[at])
            y = trace.convolved[at] + _convolve(difference, taps)
            x = x + block.mixer.out_proj(y * gate)
            x = x + block.mlp(block.norm2(x))
        return torch.where(same, self._rows[at], x)


def _split(
    block: HyenaBlock, trace: Trace, first: torch.Tensor, projected: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gate and input of the long filter, (m, s, d), from the (m, s, 3 d) projections of copies."""
    short, s = block.mixer.short_filter, projected.shape[1]
    taps = short.weight[:, 0]
    back = taps.shape[1] - 1
    at = first[:, None] + torch.arange(-back, 0, device=first.device)
    left = torch.where(at[..., None] < 0, 0, trace.projected[at.clamp(min=0)])  # zeros lie before a sequence
    whole = torch.cat([left, projected], dim=1)
    filtered = torch.addcmul(cast(torch.Tensor, short.bias), whole[:, :s], taps[:, 0])
    for t in range(1, back + 1):
        filtered.addcmul_(whole[:, t : t + s], taps[:, t])
    gate, inner, v = filtered.chunk(3, dim=2)
    return gate, v * inner


def filter_over(block: HyenaBlock, s: int) -> torch.Tensor:
    """The long filter over s bases with its skip weight: (d, s, s) Toeplitz matrices, or (n_fft, d) transforms."""
    function = block.mixer.filter_fn
    taps = function(s).clone()
    taps[:, 0] += function.bias
    if s > DIRECT:
        return torch.fft.rfft(taps, n=fft_length(s)).T
    behind = torch.arange(s, device=taps.device)[:, None] - torch.arange(s, device=taps.device)
    return torch.where(behind < 0, 0, taps[:, behind.clamp(min=0)])


def _convolve(x: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """The long filter of (m, s, d), by what `filter_over` made."""
    s = x.shape[1]
    if s <= DIRECT:
        return torch.bmm(taps, x.permute(2, 1, 0)).permute(2, 1, 0)
    n = fft_length(s)
    return torch.fft.irfft(torch.fft.rfft(x, n=n, dim=1) * taps, n=n, dim=1)[:, :s]


def _check_inside(length: int, starts: NDArray[np.int64], span: int) -> None:
    if len(starts) and not (starts.min() >= 0 and starts.max() + span <= length):
        raise SaeTracksError(f"copies are changed at bases outside of the sequence, which has {length:,}")
