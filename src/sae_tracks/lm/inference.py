"""HyenaDNA for reading alone: the parameters of the differentiable `forward`, with less memory traffic.

On a CPU a block runs in three stages, each cut into pieces that one thread takes from its cache to the end: projection
by rows, long filters by channels, output projection and MLP by rows. Threads share no work within a piece, so the
result does not depend on their number, and a busy machine slows them by no more than its load. On other devices the
blocks run as they are, with the filters' transforms at hand.
"""

import threading
from functools import lru_cache, partial
from itertools import islice

import torch

from sae_tracks.lm.blocks import HyenaBackbone, HyenaBlock, fft_length
from sae_tracks.threads import Each, pieces

ROWS = 1024  # bases of a piece: with fewer the matrix products slow down, with more the caches overflow
CHANNELS = 32  # of a piece: with fewer, planning the FFTs takes longer than running them
TAPS = 3  # of the short filter, as the kernels have it
_ONE_AT_A_TIME = threading.Lock()  # memory to work in, and torch's number of threads


class Inference:
    """The first blocks of a HyenaDNA; callers in several threads wait for one another.

    Parameters
    ----------
    backbone : HyenaBackbone
        Its filters are transformed once for each length, so its parameters must not change any more.
    layers : int
        How many blocks to run.
    """

    def __init__(self, backbone: HyenaBackbone, layers: int) -> None:
        self.backbone, self.blocks = backbone, backbone.layers[:layers]
        self._spectra = lru_cache(maxsize=2)(lambda length: backbone.spectra(length, layers))
        self._passes = lru_cache(maxsize=2)(self._make_passes)  # full windows, and the last of a stretch

    @torch.inference_mode(False)  # what is kept from call to call must work outside of it too
    @torch.no_grad()
    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Residual stream after the last of the blocks.

        Parameters
        ----------
        ids : (L,) int64
            Token ids, on the device of the parameters.

        Returns
        -------
        (L, d_model) float32
            On the same device.
        """
        x = self.backbone.embeddings(ids[None])
        if x.device.type != "cpu" or any(block.mixer.short_filter.kernel_size != (TAPS,) for block in self.blocks):
            stream = self.backbone.residuals(x, self._spectra(len(ids)))
            return next(islice(stream, len(self.blocks), None))[0]
        x, bias = x[0], torch.zeros(x.shape[2])
        with _ONE_AT_A_TIME, pieces() as each:
            for block in self._passes(len(ids)):
                bias = block(x, bias, each)
        return x.add_(bias)

    def _make_passes(self, length: int) -> "list[BlockPass]":
        d, inner = self.blocks[0].mlp.fc1.weight.shape[::-1]
        space = Workspace(length, d, inner)
        return [BlockPass(*pair, space) for pair in zip(self.blocks, self._spectra(length))]


class Workspace:
    """Memory that the blocks of one length share; what a piece works in, each thread has to itself.

    Attributes
    ----------
    projected : (3, d_model, >= L) float32
        Rows are longer than a power of two, which would crowd them into a few sets of the cache.
    """

    def __init__(self, length: int, d_model: int, d_inner: int) -> None:
        self.projected = torch.empty(3, d_model, -(-length // 16) * 16 + 16)
        self._shapes = {"normed": (ROWS, d_model), "hidden": (ROWS, d_inner), "padded": (CHANNELS, fft_length(length))}
        self._mine = threading.local()

    def take(self, name: str, rows: int) -> torch.Tensor:
        """The first rows of this thread's ``normed``, ``hidden`` or ``padded``, which ends in zeros."""
        if not hasattr(self._mine, name):
            setattr(self._mine, name, torch.zeros(self._shapes[name]))
        return getattr(self._mine, name)[:rows]


class BlockPass:
    """One block over windows of one length, on the CPU."""

    def __init__(self, block: HyenaBlock, spectrum: torch.Tensor, space: Workspace) -> None:
        from sae_tracks.lm import kernels

        self.kernels, self.block, self.spectrum, self.space = kernels, block, spectrum, space
        mixer, d = block.mixer, len(spectrum)
        names = "short_filter.weight", "in_proj.bias", "short_filter.bias"
        taps, add, bias = (mixer.get_parameter(name).data.numpy().reshape(3, d, -1) for name in names)
        self.filters = list(zip(taps, add[:, :, 0], bias[:, :, 0]))
        self.projected = space.projected

    def __call__(self, x: torch.Tensor, bias: torch.Tensor, each: Each) -> torch.Tensor:
        """``x += bias`` and on through the block, in place, but for the bias of its last layer, which is returned."""
        each(partial(self._project, x, bias), len(x), ROWS)
        each(partial(self._filter, len(x)), x.shape[1], CHANNELS)
        each(partial(self._transform, x), len(x), ROWS)
        return self.block.mlp.fc2.bias

    def _project(self, x: torch.Tensor, bias: torch.Tensor, rows: slice) -> None:
        normed = self._add_norm(x[rows], bias, self.block.norm1)
        torch.mm(self.block.mixer.in_proj.weight, normed.T, out=self.projected.flatten(0, 1)[:, rows])

    def _filter(self, length: int, channels: slice) -> None:
        """The gated long convolution of some channels; the result takes the place of the second projection."""
        gate, inner, v = (part[channels].numpy() for part in self.projected)
        (g_taps, g_add, g_bias), *others = ([a[channels] for a in part] for part in self.filters)
        (i_taps, i_add, i_bias), (v_taps, v_add, v_bias) = others
        padded = self.space.take("padded", len(v))
        self.kernels.filter_and_multiply(length, inner, v, i_taps, v_taps, i_add, v_add, i_bias, v_bias, padded.numpy())
        y = torch.fft.irfft(torch.fft.rfft(padded).mul_(self.spectrum[channels]), n=padded.shape[1], norm="forward")
        self.kernels.filter_and_gate(length, gate, y.numpy(), g_taps, g_add, g_bias, inner)

    def _transform(self, whole: torch.Tensor, rows: slice) -> None:
        mixer, mlp, x = self.block.mixer, self.block.mlp, whole[rows]
        x.addmm_(self.projected[1][:, rows].T, mixer.out_proj.weight.T)
        normed = self._add_norm(x, mixer.out_proj.bias, self.block.norm2)
        hidden = torch.mm(normed, mlp.fc1.weight.T, out=self.space.take("hidden", len(x)))
        self.kernels.add_gelu(hidden.numpy(), mlp.fc1.bias.data.numpy())
        x.addmm_(hidden, mlp.fc2.weight.T)

    def _add_norm(self, x: torch.Tensor, add: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
        normed = self.space.take("normed", len(x))
        vectors = (v.data.numpy() for v in (add, norm.weight, norm.bias))
        self.kernels.add_norm(x.numpy(), *vectors, norm.eps, normed.numpy())
        return normed
