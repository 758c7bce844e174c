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
    """How like two dictionaries are."""

    features: int
    """Of the first SAE, without its dead ones if they are known."""
    others: int
    """Of the second."""
    matched_cosine: float
    """Mean cosine of the pairs of a one-to-one matching with the largest such mean; ``min(features, others)`` pairs."""
    max_cosine: float
    """Mean over the features of the largest cosine with any of the others, which may serve several: an upper bound."""
    shared: float
    """Share of the features with a partner in the matching whose cosine is greater than `SHARED`."""
    same: float
    """Than `SAME`."""

    def line(self) -> str:
        """For people."""
        return (
            f"matched cosine {self.matched_cosine:.3f} (nearest {self.max_cosine:.3f}); {self.shared:.1%} of "
            f"{self.features:,} features have a partner above {SHARED:g}, {self.same:.1%} above {SAME:g}, among "
            f"{self.others:,}"
        )


def matched_cosine(a: SAE, b: SAE, *, leave_out_dead: bool = True) -> Stability:
    """Match the decoder rows of two SAEs one to one.

    The matching is exact (`scipy.optimize.linear_sum_assignment`). Dictionaries of 8,192 features take about 1 GB, and
    2 s if they are much alike, 10 s if they are random; memory grows with the product of the sizes.

    Parameters
    ----------
    a, b : SAE
        On the same layer of the same model.
    leave_out_dead : bool
        Leave out features that the statistics call dead: their rows are where training began.

    Raises
    ------
    SaeTracksError
        The widths, models or layers differ, or all features of one are dead.
    """
    _check_same_place(a, b)
    ours, theirs = _directions(a, leave_out_dead), _directions(b, leave_out_dead)
    cosines = (ours @ theirs.T).numpy()
    highest = float(cosines.max(1).mean(dtype=np.float64))
    np.negative(cosines, out=cosines)
    rows, columns = linear_sum_assignment(cosines)
    matched = -cosines[rows, columns].astype(np.float64)
    shared, same = (float((matched > least).sum() / len(ours)) for least in (SHARED, SAME))
    return Stability(len(ours), len(theirs), float(matched.mean()), highest, shared, same)


def _directions(sae: SAE, leave_out_dead: bool) -> torch.Tensor:
    """(n, d_in) float32 unit rows; a row of zeros stays one."""
    rows = sae.W_dec.detach().cpu()
    if leave_out_dead and sae.stats is not None:
        rows = rows[torch.from_numpy(_alive(sae.stats["dead"].to_numpy(bool)))]
    return torch.nn.functional.normalize(rows, dim=1)


def _alive(dead: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if dead.all():
        raise SaeTracksError("all features are dead: there is nothing to compare")
    return ~dead


def _check_same_place(a: SAE, b: SAE) -> None:
    """Refuse SAEs whose directions live in different spaces, as far as that is known."""
    if a.d_in != b.d_in:
        raise SaeTracksError(
            f"one SAE reads {a.d_in} channels, the other {b.d_in}: compare SAEs of one model and layer"
        )
    one, other = a.metadata.get("lm", {}), b.metadata.get("lm", {})
    for key, name in {"weights_sha256": "model", "hook_name": "layer"}.items():
        if None not in (one.get(key), other.get(key)) and one[key] != other[key]:
            raise SaeTracksError(
                f"the SAEs are of another {name} each ({one[key]:.40}, {other[key]:.40}): compare SAEs of one"
            )
