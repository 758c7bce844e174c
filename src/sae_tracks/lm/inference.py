"""HyenaDNA read at one layer: the parameters of the differentiable `forward`, with less memory traffic.

On a CPU a block runs in three stages: projection by rows, long filters by channels, output projection and MLP by rows.
Each stage is cut into slices that one thread computes in its cache. Threads share no work within a slice, so the result
does not depend on their number, and a busy machine slows them by no more than its load. A sequence of one slice leaves
nothing to share: of several such sequences each thread takes whole ones. On other devices the blocks run as they are,
with the filters' transforms computed once.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.hyenadna import HyenaBackbone, HyenaBlock, HyenaDNAForCausalLM, HyenaDNAModel, fft_length
from sae_tracks.lm.protocol import check_length, weights_checksum
from sae_tracks.lm.tokens import SPECIAL_TOKENS, base_tokens
from sae_tracks.lm.untrained import Kind, untrained_id, without_learning
from sae_tracks.threads import ForEachSlice, in_threads, in_turn

ROWS = 1024  # bases of a slice: with fewer the matrix products slow down, with more the caches overflow
CHANNELS = 32  # of a slice: with fewer, planning the FFTs takes longer than running them
TAPS = 3  # of the short filter, as the kernels have it
_ONE_AT_A_TIME = threading.Lock()  # protects the work memory and torch's number of threads


class HyenaDNAReader:
    """HyenaDNA at one layer, with its next-base head or without, as a `GeneLM`. Only the blocks up to it run."""

    architecture, causal = "hyenadna", True

    def __init__(
        self,
        model: HyenaDNAForCausalLM | HyenaDNAModel,
        layer: int,
        model_id: str = "unnamed",
        revision: str | None = None,
    ) -> None:
        n = model.config.n_layer
        if not 1 <= layer <= n:
            raise SaeTracksError(f"no layer {layer} in {model_id}: it has layers 1 to {n} (the outputs of its blocks)")
        self.model = model.eval().requires_grad_(False)
        self.layer, self.model_id, self.revision = layer, model_id, revision
        self.hook_name = f"hyena.backbone.layers.{layer - 1}"
        self.d_model = model.config.d_model
        self.max_length = max(model.config.max_seq_len - SPECIAL_TOKENS, 1)
        self.checksum = weights_checksum(model)
        body = model.hyena if isinstance(model, HyenaDNAForCausalLM) else model
        self._read = Inference(body.backbone, layer)

    @property
    def causal_lm(self) -> HyenaDNAForCausalLM:
        """The whole model with its next-base head; an error if the checkpoint has none."""
        if not isinstance(self.model, HyenaDNAForCausalLM):
            raise SaeTracksError(f"{self.model_id} has no next-base head (lm_head), so it has no next-base loss")
        return self.model

    def untrained(self, kind: Kind, seed: int) -> "HyenaDNAReader":
        """See `OffersUntrained`."""
        return HyenaDNAReader(without_learning(self.model, kind, seed), self.layer, untrained_id(self, kind, seed))

    def token_starts(self, sequence: bytes) -> NDArray[np.bool_]:
        """See `GeneLM`."""
        return np.ones(len(sequence), dtype=bool)

    def activations(self, sequence: bytes) -> torch.Tensor:
        """See `GeneLM`."""
        return self.activations_of([sequence])[0]

    def activations_of(self, sequences: Sequence[bytes]) -> list[torch.Tensor]:
        """See `OffersBatches`."""
        for sequence in sequences:
            check_length(self, sequence)
        ids = [torch.from_numpy(base_tokens(sequence)).to(self.model.device) for sequence in sequences]
        return [rows.cpu() for rows in self._read(ids)]


class Inference:
    """The first blocks of a HyenaDNA. Callers in several threads wait for one another.

    The filters are transformed once for each length, so the parameters of the backbone must not change any more.
    """

    def __init__(self, backbone: HyenaBackbone, layers: int) -> None:
        self.backbone, self.blocks = backbone, backbone.blocks[:layers]
        self._spectra = lru_cache(maxsize=2)(lambda length: backbone.spectra(length, layers))
        self._passes = lru_cache(maxsize=2)(self._make_passes)  # full windows, and the last of a stretch
        self._space = lru_cache(maxsize=2)(self._make_space)
        self._mine = threading.local()  # the work memory of each thread that reads whole sequences

    @torch.inference_mode(False)  # tensors kept between calls must work outside of it too
    @torch.no_grad()
    def __call__(self, sequences: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the (L, d_model) float32 residual stream after the last block, from (L,) int64 ids on its device."""
        other = any(block.mixer.short_filter.kernel_size != (TAPS,) for block in self.blocks)
        if other or sequences[0].device.type != "cpu":
            return [self._as_it_is(ids) for ids in sequences]
        found = [torch.empty(0)] * len(sequences)

        def read_whole(numbers: slice) -> None:
            number = numbers.start
            found[number] = self._read(sequences[number], in_turn, self._own_space(len(sequences[number])))

        with _ONE_AT_A_TIME, in_threads() as each:
            if max(map(len, sequences)) <= ROWS:
                self._passes(len(sequences[0]))  # here, and not in all threads at once
                each(read_whole, len(sequences), 1)
            else:
                found = [self._read(ids, each, self._space(len(ids))) for ids in sequences]
        return found

    def _as_it_is(self, ids: torch.Tensor) -> torch.Tensor:
        stream = self.backbone.residuals(self.backbone.embeddings(ids[None]), self._spectra(len(ids)))
        return next(islice(stream, len(self.blocks), None))[0]

    def _read(self, ids: torch.Tensor, each: ForEachSlice, space: "Workspace") -> torch.Tensor:
        x = self.backbone.embeddings(ids)
        bias = torch.zeros(x.shape[1])
        for block in self._passes(len(ids)):
            bias = block(x, bias, each, space)
        return x.add_(bias)

    def _own_space(self, length: int) -> "Workspace":
        if not hasattr(self._mine, "space"):
            self._mine.space = lru_cache(maxsize=1)(self._make_space)
        return self._mine.space(length)

    def _make_space(self, length: int) -> "Workspace":
        d, inner = self.blocks[0].mlp.fc1.weight.shape[::-1]
        return Workspace(length, d, inner)

    def _make_passes(self, length: int) -> "list[BlockPass]":
        return [BlockPass(*pair) for pair in zip(self.blocks, self._spectra(length))]


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
    """One block over windows of one length, on the CPU."""

    def __init__(self, block: HyenaBlock, spectrum: torch.Tensor) -> None:
        from sae_tracks.lm import kernels

        self.kernels, self.block, self.spectrum = kernels, block, spectrum
        mixer, d = block.mixer, len(spectrum)
        names = "short_filter.weight", "in_proj.bias", "short_filter.bias"
        taps, add, bias = (mixer.get_parameter(name).data.numpy().reshape(3, d, -1) for name in names)
        self.filters = list(zip(taps, add[:, :, 0], bias[:, :, 0]))

    def __call__(self, x: torch.Tensor, bias: torch.Tensor, each: ForEachSlice, space: Workspace) -> torch.Tensor:
        """Add `bias` to x and run the block, in place, without the bias of its last layer. Return that bias."""
        each(partial(self._project, x, bias, space), len(x), ROWS)
        each(partial(self._filter, len(x), space), x.shape[1], CHANNELS)
        each(partial(self._transform, x, space), len(x), ROWS)
        return self.block.mlp.fc2.bias

    def _project(self, x: torch.Tensor, bias: torch.Tensor, space: Workspace, rows: slice) -> None:
        normed = self._add_norm(x[rows], bias, self.block.norm1, space)
        torch.mm(self.block.mixer.in_proj.weight, normed.T, out=space.projected.flatten(0, 1)[:, rows])

    def _filter(self, length: int, space: Workspace, channels: slice) -> None:
        """The gated long convolution of some channels. The result replaces the second projection."""
        gate, inner, v = (projection[channels].numpy() for projection in space.projected)
        (g_taps, g_add, g_bias), *others = ([a[channels] for a in one] for one in self.filters)
        (i_taps, i_add, i_bias), (v_taps, v_add, v_bias) = others
        padded = space.take("padded", len(v))
        self.kernels.filter_and_multiply(length, inner, v, i_taps, v_taps, i_add, v_add, i_bias, v_bias, padded.numpy())
        y = torch.fft.irfft(torch.fft.rfft(padded).mul_(self.spectrum[channels]), n=padded.shape[1], norm="forward")
        self.kernels.filter_and_gate(length, gate, y.numpy(), g_taps, g_add, g_bias, inner)

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
