"""A language model with an SAE inside it: features are set to zero or to a value, and the rest of the model goes on.

The error of the SAE is kept by default, ``x' = x + decode(f') - decode(f)``, so that only what was asked for changes.
The decoder is linear: this is ``x`` plus the change of each edited feature along its decoder row.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import GeneLM
from sae_tracks.lm.protocol import checked_rows
from sae_tracks.lm.rest import next_base_reader, rest_of
from sae_tracks.lm.spans import PROBE
from sae_tracks.lm.tokens import BASES
from sae_tracks.sae import SAE
from sae_tracks.sae.directory import check_match
from sae_tracks.sae.encoder import SparseEncoder

MOST_PROBED = 4096  # bases of pseudo-random DNA at which the scale of the final norm is taken
log = logging.getLogger(__name__)


def spliced(lm: GeneLM, sae: SAE, *, keep_error: bool = True, allow_mismatch: bool = False) -> "Spliced":
    """Put an SAE into its language model, to ablate and to steer features.

    The model itself is not changed. With ``with``, the edits end with the block.

    Parameters
    ----------
    lm : GeneLM
        A HyenaDNA read at a layer, with its next-base head, or a plug-in that offers outputs.
    sae : SAE
        Trained on this model and layer.
    keep_error : bool
        Add what the SAE does not reconstruct, so that without edits nothing changes. If False, the rest of the model
        reads the SAE's decoding alone: ``decode(f)`` without edits, and ``b_dec`` at every base if all features are
        ablated.
    allow_mismatch : bool
        Accept an SAE that was trained on another model or layer.

    Returns
    -------
    Spliced
        The model, without edits.

    Raises
    ------
    SaeTracksError
        The SAE is of another model or layer, or it is not known what the model predicts.

    Examples
    --------
    >>> with spliced(lm, sae) as model:
    ...     model.ablate([357, 12])
    ...     log_probabilities = model.next_base(b"ACGTACGT")
    """
    check_match(sae, lm, allow_mismatch=allow_mismatch)
    return Spliced(lm, sae, keep_error)


class Spliced:
    """A language model with an SAE inside it; made by `spliced`.

    Edits hold at every base that the model reads, N included. They add up; a later edit of a feature replaces an
    earlier one. Features are encoded from the activations of the model as it is. So other features keep their values,
    even those of a ``topk`` that were not among the k.
    """

    def __init__(self, lm: GeneLM, sae: SAE, keep_error: bool = True) -> None:
        self.lm, self.sae, self.keep_error = lm, sae, keep_error
        self.edits: dict[int, float] = {}
        self._rest, self._encoders = rest_of(lm), {}

    def __enter__(self) -> "Spliced":
        return self

    def __exit__(self, *error: object) -> None:
        self.restore()

    def ablate(self, features: Iterable[int]) -> "Spliced":
        """Set features to zero; returns this model.

        Parameters
        ----------
        features : iterable of int
            Feature ids; ``range(sae.d_sae)`` ablates all. An id outside the dictionary is an error.
        """
        return self.steer(dict.fromkeys(self.sae.check_features(features).tolist(), 0.0), scale="raw")

    def steer(self, values: Mapping[int, float], *, scale: Literal["max", "raw"] = "max") -> "Spliced":
        """Set features to a value at every base; returns this model.

        Parameters
        ----------
        values : mapping of int to float
            Feature id to value. It replaces the activation: nothing is added or multiplied.
        scale : "max" or "raw"
            Unit of the values: the feature's maximum in ``feature_stats.parquet``, or activations.

        Raises
        ------
        SaeTracksError
            A feature is not in the SAE, a value is not finite, or a maximum is asked for that is not known or 0.
        """
        for feature in self.sae.check_features(values).tolist():
            self.edits[feature] = self._raw(feature, float(values[feature]), scale)
        return self

    def restore(self) -> "Spliced":
        """Undo all edits; returns this model."""
        self.edits.clear()
        return self

    def activations(self, sequence: bytes) -> torch.Tensor:
        """Return what the rest of the model reads, after the edits.

        Parameters
        ----------
        sequence : bytes
            n upper-case letters, as for `GeneLM.activations`.

        Returns
        -------
        (n, d_model) float32
            Rows without a change have the bits of `GeneLM.activations` if the error is kept.
        """
        x, _ = checked_rows(self.lm, sequence)
        return self._change(x) if self.keep_error else self._decoded(x)

    def next_base(self, sequence: bytes) -> torch.Tensor:
        """Predict the next base after each base.

        Without edits, and with the error kept, the bits are those of `HyenaDNAReader.next_base` of the model's own
        activations.

        Parameters
        ----------
        sequence : bytes
            n upper-case letters, as for `GeneLM.activations`.

        Returns
        -------
        (n, 4) float32
            Log probabilities of A, C, G and T. Row i is the prediction at base i, of the base after it.

        Raises
        ------
        SaeTracksError
            The model is not a HyenaDNA with a next-base head.
        """
        if not self._rest.next_base:
            raise SaeTracksError(f"{self.lm.model_id} predicts {', '.join(self._rest.names)}, no next base: outputs()")
        return self._predict(sequence)

    def outputs(self, sequence: bytes) -> torch.Tensor:
        """Return the outputs of a plug-in's model for each base.

        Parameters
        ----------
        sequence : bytes
            n upper-case letters, as for `GeneLM.activations`.

        Returns
        -------
        (n, k) float32
            Log probabilities of the k classes of `OffersOutputs.output_names`.

        Raises
        ------
        SaeTracksError
            The model offers no outputs.
        """
        if self._rest.next_base:
            raise SaeTracksError(f"{self.lm.model_id} predicts the next base and has no other outputs: next_base()")
        return self._predict(sequence)

    def _predict(self, sequence: bytes) -> torch.Tensor:
        return self._rest(sequence, self.activations(sequence)[None])[0]

    def _raw(self, feature: int, value: float, scale: str) -> float:
        """A value in activations."""
        if not np.isfinite(value):
            raise SaeTracksError(f"feature {feature} cannot be set to {value}: give a finite number")
        if scale == "raw":
            return value
        maximum = float(self.sae.maxima()[feature])
        if maximum <= 0:
            raise SaeTracksError(f"feature {feature} is dead, so it has no maximum: give an activation and scale='raw'")
        return value * maximum

    def _change(self, x: torch.Tensor) -> torch.Tensor:
        """Add to (n, d_in) activations the change of each edited feature along its decoder row."""
        if not self.edits:
            return x
        active = by_feature(*self._encoder(tuple(sorted(self.edits))).encode(x))
        x = x.clone()
        for feature, value in self.edits.items():
            rows, values = active.get(feature, NO_ROWS)
            if value == 0:
                remove(x, rows, values, self.sae.W_dec[feature])
                continue
            change = torch.full((len(x),), value)
            change[torch.from_numpy(rows)] -= torch.from_numpy(values)
            x += change[:, None] * self.sae.W_dec[feature]
        return x

    def _decoded(self, x: torch.Tensor) -> torch.Tensor:
        """Decode the features of (n, d_in) activations after the edits, without the SAE's error."""
        indptr, feature, value = self._encoder(None).encode(x)
        kept = ~np.isin(feature, list(self.edits))
        indptr = np.concatenate(([0], np.cumsum(kept)))[indptr]
        decoded = self.sae.decode_sparse(indptr, feature[kept], value[kept])
        for edited, setting in self.edits.items():
            if setting != 0:
                decoded += setting * self.sae.W_dec[edited]
        return decoded

    def _encoder(self, features: tuple[int, ...] | None) -> SparseEncoder:
        if features not in self._encoders:
            self._encoders = {features: SparseEncoder.of(self.sae, features)}  # the last one is kept
        return self._encoders[features]


Active = tuple[NDArray[np.int64], NDArray[np.float32]]
NO_ROWS: Active = np.empty(0, np.int64), np.empty(0, np.float32)


def by_feature(indptr: NDArray[np.int64], feature: NDArray[np.int32], value: NDArray[np.float32]) -> dict[int, Active]:
    """What `SparseEncoder.encode` returns, by feature: the rows at which it is active, ascending, and its values."""
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.argsort(feature, kind="stable")
    ids, first = np.unique(feature[order], return_index=True)
    parts = zip(ids.tolist(), np.split(row[order], first[1:]), np.split(value[order], first[1:]))
    return {one: (rows, values) for one, rows, values in parts}


def remove(x: torch.Tensor, rows: NDArray[np.int64], values: NDArray[np.float32], direction: torch.Tensor) -> None:
    """Ablate a feature in (n, d_in) activations, in place: its values at (m,) rows, along its (d_in,) decoder row."""
    x[torch.from_numpy(rows)] -= torch.from_numpy(values)[:, None] * direction


@torch.no_grad()
def logit_attribution(lm: GeneLM, sae: SAE, feature: int, *, sequence: bytes | None = None) -> NDArray[np.float32]:
    """Change of the next-base logits by a feature along the direct path: its decoder row through norm and head.

    The final norm is made linear: it takes away the mean of the row, multiplies by the mean of 1 / standard deviation
    of the stream before the norm, over the bases of a sequence, and by the norm's weights. Blocks between the SAE's
    layer and the norm are passed over, so before the last layer this is the direct path only, as the log then says.

    Parameters
    ----------
    lm : GeneLM
        A HyenaDNA with its next-base head.
    sae : SAE
        Trained on this model and layer.
    feature : int
        Feature id.
    sequence : bytes, optional
        DNA at which the scale of the norm is taken. Default: fixed pseudo-random DNA. Another sequence multiplies all
        four numbers by one factor.

    Returns
    -------
    (4,) float32
        Logits of A, C, G and T for an activation of 1, less their mean, because the softmax ignores it.

    Raises
    ------
    SaeTracksError
        The model has no known next-base head, or the feature is not in the SAE.
    """
    reader = next_base_reader(lm)
    check_match(sae, lm)
    sae.check_features([feature])
    tail, layers = reader.tail, reader.model.config.n_layer
    if reader.layer < layers:
        log.info("layer %d of %d: direct path only, without the blocks behind it", reader.layer, layers)
    sequence = PROBE[: min(lm.max_length, MOST_PROBED)].encode() if sequence is None else sequence
    stream, norm = tail.stream(reader.activations(sequence)).cpu(), tail.norm
    scale = (stream.var(1, correction=0) + norm.eps).rsqrt().mean()
    row = sae.W_dec[feature]
    logits = tail.head((scale * (row - row.mean()) * norm.weight.cpu()).to(tail.device)).cpu()[list(BASES)]
    return (logits - logits.mean()).numpy()
