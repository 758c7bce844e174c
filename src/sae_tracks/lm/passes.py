"""The blocks of a HyenaDNA on a CPU: with the parameters of the differentiable `forward`, less memory traffic.

A block runs in three stages: projection by rows, long filters by channels, output projection and MLP by rows. Each
stage is cut into slices that one thread computes in its cache. Threads share no work within a slice, so the result does
not depend on their number, and a busy machine slows them by no more than its load.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.lm.hyenadna import HyenaBlock, fft_length
from sae_tracks.threads import ForEachSlice

ROWS = 1024  # bases of a slice: with fewer the matrix products slow down, with more the caches overflow
CHANNELS = 32  # of a slice: with fewer, planning the FFTs takes longer than running them
TAPS = 3  # of the short filter, as the kernels have it


@dataclass(frozen=True, slots=True)
class Trace:
    """What a block did with a sequence of n bases."""

    projected: torch.Tensor  # (3, d, n) float32, before the short filter
    fed: torch.Tensor  # (d, n) what the long filter took
    convolved: torch.Tensor  # (d, n) its output

    @classmethod
    def empty(cls, n: int, block: HyenaBlock, device: torch.device) -> "Trace":
        """Room for the trace of a block."""
        d = block.mixer.in_proj.in_features
        return cls(*(torch.empty(*shape, n, device=device) for shape in ((3, d), (d,), (d,))))

    def fill(self, block: HyenaBlock, x: torch.Tensor, spectrum: torch.Tensor) -> None:
        """Trace the block on the (1, n, d) stream before it."""
        mixer = block.mixer
        projected = mixer.in_proj(block.norm1(x)).mT
        fed = mixer.split(projected)[1]
        made = projected.view_as(self.projected), fed[0], mixer.convolve(fed, spectrum)[0]
        for room, one in zip((self.projected, self.fed, self.convolved), made):
            room.copy_(one)


class Workspace:
    """Memory that the blocks of one length share, and work memory of each thread."""

    def __init__(self, length: int, d_model: int, d_inner: int) -> None:
        # Rows are not a power of two long: that would crowd them into a few sets of the cache.
        self.projected = torch.empty(3, d_model, -(-length // 16) * 16 + 16)
        self._shapes = {"normed": (ROWS, d_model), "hidden": (ROWS, d_inner), "padded": (CHANNELS, fft_length(length))}
        self._mine = threading.local()

    def take(self, name: str, rows: int) -> torch.Tensor:
        """Return the first rows of this thread's ``normed``, ``hidden`` or ``padded``, which ends in zeros."""
        if not hasattr(self._mine, name):
            setattr(self._mine, name, torch.zeros(self._shapes[name]))
        return getattr(self._mine, name)[:rows]


class BlockPass:
    """One block over sequences of one length, on the CPU. How the long filter is computed is left to the caller."""

    def __init__(self, block: HyenaBlock) -> None:
        from sae_tracks.lm import kernels

        self.kernels, self.block, mixer = kernels, block, block.mixer
        names = "short_filter.weight", "in_proj.bias", "short_filter.bias"
        taps, add, bias = (
            mixer.get_parameter(name).data.numpy().reshape(3, mixer.out_proj.in_features, -1) for name in names
        )
        self.filters = list(zip(taps, add[:, :, 0], bias[:, :, 0]))

    def run(
        self,
        x: torch.Tensor,
        bias: torch.Tensor,
        each: ForEachSlice,
        space: Workspace,
        first: NDArray[np.int64],
        known: torch.Tensor,
        convolve: Callable[[torch.Tensor, slice], torch.Tensor],
    ) -> torch.Tensor:
        """Add `bias` to x and run the block, in place, without the bias of its last layer. Return that bias.

        Parameters
        ----------
        x : (m * length, d)
            The stream of m sequences.
        first : (m,) int64
            Bases before each of them.
        known : (3, d, n)
            Projections at bases, of which those at the last two before each sequence are used.
        convolve : callable
            Gets (c, >= m * length) inputs of the long filter and which channels these are. It returns the filter's
            output, as wide or less.
        """
        each(partial(self._project, x, bias, space), len(x), ROWS)
        each(partial(self._filter, len(x) // len(first), first, known, convolve, space), x.shape[1], CHANNELS)
        each(partial(self._transform, x, space), len(x), ROWS)
        return self.block.mlp.fc2.bias

    def _project(self, x: torch.Tensor, bias: torch.Tensor, space: Workspace, rows: slice) -> None:
        normed = self._add_norm(x[rows], bias, self.block.norm1, space)
        torch.mm(self.block.mixer.in_proj.weight, normed.T, out=space.projected.flatten(0, 1)[:, rows])

    def _filter(
        self,
        length: int,
        first: NDArray[np.int64],
        known: torch.Tensor,
        convolve: Callable[[torch.Tensor, slice], torch.Tensor],
        space: Workspace,
        channels: slice,
    ) -> None:
        """The gated long convolution of some channels. The result replaces the second projection."""
        gate, inner, v = (
            [projection[channels].numpy(), before[channels].numpy(), *(a[channels] for a in filters)]
            for projection, before, filters in zip(space.projected, known, self.filters)
        )
        fed = space.take("padded", len(v[0]))
        self.kernels.filter_and_multiply(length, first, *inner, *v, fed.numpy())
        self.kernels.filter_and_gate(length, first, *gate, convolve(fed, channels).numpy(), inner[0])

    def _transform(self, whole: torch.Tensor, space: Workspace, rows: slice) -> None:
        mixer, mlp, x = self.block.mixer, self.block.mlp, whole[rows]
        x.addmm_(space.projected[1][:, rows].T, mixer.out_proj.weight.T)
        normed = self._add_norm(x, mixer.out_proj.bias, self.block.norm2, space)
        hidden = torch.mm(normed, mlp.fc1.weight.T, out=space.take("hidden", len(x)))
        self.kernels.add_gelu(hidden.numpy(), mlp.fc1.bias.data.numpy())
        x.addmm_(hidden, mlp.fc2.weight.T)

    def _add_norm(self, x: torch.Tensor, add: torch.Tensor, norm: torch.nn.LayerNorm, space: Workspace) -> torch.Tensor:
        normed = space.take("normed", len(x))
        vectors = (v.data.numpy() for v in (add, norm.weight, norm.bias))
        self.kernels.add_norm(x.numpy(), *vectors, norm.eps, normed.numpy())
        return normed


class WindowPass(BlockPass):
    """One block over whole windows of one length."""

    def __init__(self, block: HyenaBlock, spectrum: torch.Tensor) -> None:
        super().__init__(block)
        self.spectrum = spectrum
        self.nothing = torch.empty(3, len(spectrum), 0)

    def __call__(
        self, x: torch.Tensor, bias: torch.Tensor, each: ForEachSlice, space: Workspace, trace: Trace | None = None
    ) -> torch.Tensor:
        """Run the block over a window, see `run`, and trace it."""
        convolve = partial(self._convolve, len(x), space, trace)
        return self.run(x, bias, each, space, np.zeros(1, np.int64), self.nothing, convolve)

    def _convolve(
        self, length: int, space: Workspace, trace: Trace | None, padded: torch.Tensor, channels: slice
    ) -> torch.Tensor:
        y = torch.fft.irfft(torch.fft.rfft(padded).mul_(self.spectrum[channels]), n=padded.shape[1], norm="forward")
        if trace is not None:
            add = self.block.mixer.in_proj.bias.view(3, -1, 1)[:, channels]
            trace.projected[:, channels] = space.projected[:, channels, :length] + add
            trace.fed[channels], trace.convolved[channels] = padded[:, :length], y[:, :length]
        return y
