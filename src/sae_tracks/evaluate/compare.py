"""Do two SAEs find the same features? Decoder rows paired by their cosine."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae.model import SAE

SHARED, SAME = 0.7, 0.9  # cosines: half (45 degrees) and four fifths (26 degrees) of the squared length in common


@dataclass(frozen=True, slots=True)
class Stability:
    """How alike two dictionaries are."""

    features: int  # of the first SAE, without its dead ones if they are known
    others: int  # of the second
    matched_cosine: float  # the largest mean cosine that a one-to-one matching reaches; min(features, others) pairs
    max_cosine: float  # mean over features of the largest cosine with any other, which may serve several: a bound
    shared: float  # share of the features whose partner in the matching has a cosine greater than `SHARED`
    same: float  # greater than `SAME`

    def line(self) -> str:
        return (
            f"matched cosine {self.matched_cosine:.3f} (nearest {self.max_cosine:.3f}); {self.shared:.1%} of "
            f"{self.features:,} features have a partner above {SHARED:g}, {self.same:.1%} above {SAME:g}, among "
            f"{self.others:,}"
        )


def matched_cosine(a: SAE, b: SAE) -> Stability:
    """Match the decoder rows of two SAEs of the same layer one to one.

    The matching is exact (`scipy.optimize.linear_sum_assignment`). Dictionaries of 8,192 features take about 1 GB, and
    2 s if they are much alike, 10 s if they are random; memory grows with the product of the sizes. Dead features keep
    the rows with which training began, so they are left out.
    """
    _check_same_place(a, b)
    ours, theirs = _directions(a, leave_out_dead=True), _directions(b, leave_out_dead=True)
    cosines = (ours @ theirs.T).numpy()
    highest = float(cosines.max(1).mean(dtype=np.float64))
    np.negative(cosines, out=cosines)
    rows, columns = linear_sum_assignment(cosines)
    matched = -cosines[rows, columns].astype(np.float64)
    shared, same = (float((matched > least).sum() / len(ours)) for least in (SHARED, SAME))
    return Stability(len(ours), len(theirs), float(matched.mean()), highest, shared, same)


def decoder_directions(a: SAE, b: SAE) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """(Fa, d_in) and (Fb, d_in) decoder rows of length 1; None if the SAEs are of different models or layers."""
    if _other_place(a, b):
        return None
    return _directions(a).numpy(), _directions(b).numpy()


def _directions(sae: SAE, *, leave_out_dead: bool = False) -> torch.Tensor:
    """(n, d_in) float32 unit rows; a row of zeros stays one."""
    rows = sae.W_dec.detach().cpu()
    if leave_out_dead and sae.stats is not None:
        dead = sae.stats["dead"].to_numpy(bool)
        if dead.all():
            raise SaeTracksError("all features are dead: there is nothing to compare")
        rows = rows[torch.from_numpy(~dead)]
    return torch.nn.functional.normalize(rows, dim=1)


def _check_same_place(a: SAE, b: SAE) -> None:
    """Refuse SAEs of different models or layers, as far as these are known."""
    if reason := _other_place(a, b):
        raise SaeTracksError(reason)


def _other_place(a: SAE, b: SAE) -> str | None:
    """Say why two SAEs are not of one model and layer, as far as these are known; None if they may be."""
    if a.d_in != b.d_in:
        return f"one SAE reads {a.d_in} dimensions, the other {b.d_in}: compare SAEs of one model and layer"
    one, other = a.metadata.get("lm", {}), b.metadata.get("lm", {})
    for key, name in {"weights_sha256": "model", "hook_name": "layer"}.items():
        if None not in (one.get(key), other.get(key)) and one[key] != other[key]:
            return f"the SAEs are of another {name} each ({one[key]:.40}, {other[key]:.40}): compare SAEs of one"
    return None
