"""HyenaDNA read at one layer: the parameters of the differentiable `forward`, with less memory traffic.

On a CPU a block runs in three stages: projection by rows, long filters by channels, output projection and MLP by rows.
Each stage is cut into slices that one thread computes in its cache. Threads share no work within a slice, so the result
does not depend on their number, and a busy machine slows them by no more than its load. A sequence of one slice leaves
nothing to share: of several such sequences each thread takes whole ones. On other devices the blocks run as they are,
with the filters' transforms computed once.
"""

import threading
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.edits import HyenaEdits, Trace, filter_over
from sae_tracks.lm.hyenadna import HyenaBackbone, HyenaBlock, HyenaDNAForCausalLM, HyenaDNAModel, fft_length
from sae_tracks.lm.protocol import check_length, weights_checksum
from sae_tracks.lm.tokens import BASES, SPECIAL_TOKENS, base_tokens
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

    def begin(self, sequence: bytes) -> HyenaEdits:
        """See `OffersEdits`."""
        check_length(self, sequence)
        return self._read.begin(torch.from_numpy(base_tokens(sequence)).to(self.model.device))

    def next_base(self, activations: torch.Tensor) -> torch.Tensor:
        """Predict the next base from the activations of a window, as they are or changed.

        Parameters
        ----------
        activations : (n, d_model) or (b, n, d_model) float32
            In place of what `activations` returns, of one window or of b windows of one length.

        Returns
        -------
        (n, 4) or (b, n, 4) float32, on the CPU
            Log probabilities of A, C, G and T. Row i is the prediction at base i, of the base after it.

        Raises
        ------
        SaeTracksError
            The checkpoint has no next-base head.
        """
        return self.tail(activations)

    @cached_property
    def tail(self) -> "Tail":
        """The blocks after the layer, the final norm and the head; an error if the checkpoint has none."""
        return Tail(self.causal_lm, self.layer)


class Tail:
    """What follows a layer of a HyenaDNA: the other blocks, the final norm and the head.

    The filters are transformed once for each length, so the parameters must not change any more.
    """

    def __init__(self, model: HyenaDNAForCausalLM, layer: int) -> None:
        backbone = model.hyena.backbone
        self.device, self.blocks = model.device, backbone.blocks[layer:]
        self.norm, self.head = backbone.ln_f, model.lm_head
        filters = [block.mixer.filter_fn for block in self.blocks]
        self._spectra = lru_cache(maxsize=2)(lambda length: [one.spectrum(length) for one in filters])

    @torch.inference_mode(False)  # tensors kept between calls must work outside of it too
    @torch.no_grad()
    def __call__(self, activations: torch.Tensor) -> torch.Tensor:
        """See `HyenaDNAReader.next_base`."""
        logits = self.head(self.norm(self.stream(activations)))[..., list(BASES)]
        return logits.float().log_softmax(-1).cpu()

    @torch.inference_mode(False)
    @torch.no_grad()
    def stream(self, activations: torch.Tensor) -> torch.Tensor:
        """Return the stream before the final norm, of the shape of the activations."""
        many = activations.dim() == 3
        x: Any = activations.to(self.device) if many else activations[None].to(self.device)
        for block, spectrum in zip(self.blocks, self._spectra(x.shape[1]), strict=True):
            x = block(x, spectrum)
        return x if many else x[0]


class Inference:
    """The first blocks of a HyenaDNA. Callers in several threads wait for one another.

    The filters are transformed once for each length, so the parameters of the backbone must not change any more.
    """

    def __init__(self, backbone: HyenaBackbone, layers: int) -> None:
        self.backbone, self.blocks = backbone, backbone.blocks[:layers]
        self._spectra = lru_cache(maxsize=2)(lambda length: backbone.spectra(length, layers))
        self._filters = lru_cache(maxsize=2)(lambda bases: [filter_over(block, bases) for block in self.blocks])
        self._passes = lru_cache(maxsize=2)(self._make_passes)  # full windows, and the last of a stretch
        self._space = lru_cache(maxsize=2)(self._make_space)
        self._mine = threading.local()  # the work memory of each thread that reads whole sequences

    @torch.inference_mode(False)  # tensors kept between calls must work outside of it too
    @torch.no_grad()
    def __call__(self, sequences: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the (L, d_model) float32 residual stream after the last block, from (L,) int64 ids on its device."""
        if self._other(sequences[0]):
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

    @torch.inference_mode(False)
    @torch.no_grad()
    def begin(self, ids: torch.Tensor) -> HyenaEdits:
        """Read (L,) int64 ids, and keep what changed copies of them share with them."""
        traces = [Trace.empty(len(ids), block, ids.device) for block in self.blocks]
        if self._other(ids):
            rows = self._as_it_is(ids, traces)
        else:
            with _ONE_AT_A_TIME, in_threads() as each:
                rows = self._read(ids, each, self._space(len(ids)), traces)
        return HyenaEdits(self.backbone, self.blocks, traces, ids, rows, self._filters, _ONE_AT_A_TIME)

    def _other(self, ids: torch.Tensor) -> bool:
        """Whether the kernels cannot read these ids: they are not on the CPU, or a short filter has other taps."""
        other = any(block.mixer.short_filter.kernel_size != (TAPS,) for block in self.blocks)
        return other or ids.device.type != "cpu"

    def _as_it_is(self, ids: torch.Tensor, traces: Sequence[Trace] = ()) -> torch.Tensor:
        spectra = self._spectra(len(ids))
        stream = self.backbone.residuals(self.backbone.embeddings(ids[None]), spectra)
        states = (
            list(islice(stream, len(self.blocks) + 1)) if traces else [next(islice(stream, len(self.blocks), None))]
        )
        for state, block, spectrum, trace in zip(states, self.blocks, spectra, traces):
            trace.fill(block, state, spectrum)
        return states[-1][0]

    def _read(
        self, ids: torch.Tensor, each: ForEachSlice, space: "Workspace", traces: Sequence[Trace] = ()
    ) -> torch.Tensor:
        x = self.backbone.embeddings(ids)
        bias = torch.zeros(x.shape[1])
        for block, trace in zip_longest(self._passes(len(ids)), traces):
            bias = block(x, bias, each, space, trace)
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

    def __call__(
        self, x: torch.Tensor, bias: torch.Tensor, each: ForEachSlice, space: Workspace, trace: Trace | None = None
    ) -> torch.Tensor:
        """Add `bias` to x and run the block, in place, without the bias of its last layer. Return that bias."""
        each(partial(self._project, x, bias, space, trace), len(x), ROWS)
        each(partial(self._filter, len(x), space, trace), x.shape[1], CHANNELS)
        each(partial(self._transform, x, space), len(x), ROWS)
        return self.block.mlp.fc2.bias

    def _project(self, x: torch.Tensor, bias: torch.Tensor, space: Workspace, trace: Trace | None, rows: slice) -> None:
        normed, mixer = self._add_norm(x[rows], bias, self.block.norm1, space), self.block.mixer
        projected = torch.mm(mixer.in_proj.weight, normed.T, out=space.projected.flatten(0, 1)[:, rows])
        if trace is not None:
            torch.add(projected.T, mixer.in_proj.bias, out=trace.projected[rows])

    def _filter(self, length: int, space: Workspace, trace: Trace | None, channels: slice) -> None:
        """The gated long convolution of some channels. The result replaces the second projection."""
        gate, inner, v = (projection[channels].numpy() for projection in space.projected)
        (g_taps, g_add, g_bias), *others = ([a[channels] for a in one] for one in self.filters)
        (i_taps, i_add, i_bias), (v_taps, v_add, v_bias) = others
        padded = space.take("padded", len(v))
        self.kernels.filter_and_multiply(length, inner, v, i_taps, v_taps, i_add, v_add, i_bias, v_bias, padded.numpy())
        y = torch.fft.irfft(torch.fft.rfft(padded).mul_(self.spectrum[channels]), n=padded.shape[1], norm="forward")
        if trace is not None:
            trace.fed[:, channels], trace.convolved[:, channels] = padded[:, :length].T, y[:, :length].T
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
