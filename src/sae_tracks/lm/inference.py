"""HyenaDNA read at one layer: the parameters of the differentiable `forward`, with less memory traffic.

On a CPU the blocks run as `passes` has them. A sequence of one slice leaves nothing to share between threads: of
several such sequences each thread takes whole ones. On other devices the blocks run as they are, with the filters'
transforms computed once.
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
from sae_tracks.lm.edits import CopyPass, HyenaEdits, ReadCopies, copies_as_they_are
from sae_tracks.lm.hyenadna import HyenaBackbone, HyenaDNAForCausalLM, HyenaDNAModel
from sae_tracks.lm.passes import ROWS, TAPS, Trace, WindowPass, Workspace
from sae_tracks.lm.protocol import check_length, weights_checksum
from sae_tracks.lm.tokens import BASES, SPECIAL_TOKENS, base_tokens
from sae_tracks.lm.untrained import Kind, untrained_id, without_learning
from sae_tracks.threads import ForEachSlice, in_threads, in_turn

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
        self._copy_passes = lru_cache(maxsize=2)(self._make_copy_passes)
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
        passes = partial(self._copy_passes, self._other(ids))
        return HyenaEdits(self.backbone.embeddings, passes, traces, ids, rows, _ONE_AT_A_TIME)

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

    def _make_copy_passes(self, as_they_are: bool, bases: int) -> Sequence[ReadCopies]:
        if as_they_are:
            spectra = self.backbone.spectra(bases, len(self.blocks))
            return [partial(copies_as_they_are, *pair) for pair in zip(self.blocks, spectra)]
        return [CopyPass(block, bases, self._own_space) for block in self.blocks]

    def _make_passes(self, length: int) -> list[WindowPass]:
        return [WindowPass(*pair) for pair in zip(self.blocks, self._spectra(length))]
