"""How much of a signal a ridge regression on all columns explains in held-out bins."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.arrays import ratio
from sae_tracks.bootstrap import FEW, draws_of, interval

if TYPE_CHECKING:
    from scipy.sparse import sparray

PENALTIES = 10.0 ** np.arange(-4, 3)  # per bin, of columns with a variance of 1
VALIDATED = 3  # every third block of the select half chooses the penalty
ROWS = 4096  # bins that are dense at once


class Ridge:
    """Ridge regressions of signals on the same columns in the same bins.

    Columns are centred and scaled to a variance of 1 on the bins of the fit. The penalty is chosen on every third block
    of the fitted half, by a fit on its other blocks; then all of the half is fitted. Memory: three matrices of
    F x F float64.

    Parameters
    ----------
    x : (k, F) array or sparse array
        Bins by columns.
    fitted : (k,) bool
        The bins to fit on; the others are predicted.
    block : (k,) int64
        Block of each bin.
    """

    def __init__(self, x: "NDArray | sparray", fitted: NDArray[np.bool_], block: NDArray[np.int64]) -> None:
        self._x, self._fitted, self._block = x, fitted, block
        order = np.unique(block[fitted], return_inverse=True)[1] % VALIDATED
        chooses = np.zeros(len(block), bool)
        chooses[np.flatnonzero(fitted)[order == VALIDATED - 1]] = True
        self._chooses, self._learns = chooses, fitted & ~chooses
        self._enough = bool(chooses.any() and self._learns.any() and (~fitted).any())
        if self._enough:
            self._grams = {name: self._gram(mask) for name, mask in (("part", self._learns), ("all", fitted))}

    def r2(self, y: NDArray[np.float64]) -> list[tuple[float, float, float]]:
        """The share of the variance that is explained in the bins that were not fitted.

        Parameters
        ----------
        y : (k, G) float64
            The signals; every bin has a value.

        Returns
        -------
        list of (float, float, float)
            For each signal R2, 1 - the squared error over that of the mean of these bins, with a 95 % interval over
            blocks. NaN if there are too few blocks or the signal is constant. Below 0, the mean would predict better.
        """
        nothing = (np.nan, np.nan, np.nan)
        if not self._enough:
            return [nothing] * y.shape[1]
        chooses, held = self._chooses, ~self._fitted
        errors = [((self._predict("part", p, y)[chooses] - y[chooses]) ** 2).sum(axis=0) for p in PENALTIES]
        best = PENALTIES[np.argmin(errors, axis=0)]
        found = [nothing] * y.shape[1]
        for penalty in np.unique(best):
            mine = np.flatnonzero((best == penalty) & (np.ptp(y[self._fitted], axis=0) > 0))
            for i, predicted in zip(mine.tolist(), self._predict("all", penalty, y[:, mine])[held].T):
                found[i] = _explained(y[held, i], predicted, self._block[held])
        return found

    def _gram(self, mask: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray]:
        """Mean and scale of the columns in some bins, and the products of the scaled columns, per bin."""
        kept = np.flatnonzero(mask)
        mean = np.asarray(self._x[kept].mean(axis=0), np.float64)  # pyright: ignore
        gram = np.zeros((len(mean), len(mean)))
        for first in range(0, len(kept), ROWS):
            part = self._x[kept[first : first + ROWS]]  # pyright: ignore[reportIndexIssue]
            dense = np.asarray(part if isinstance(part, np.ndarray) else part.toarray(), np.float32)
            dense = dense - mean.astype(np.float32)
            gram += dense.T @ dense
        gram /= len(kept)
        variance = np.diag(gram).copy()
        scale = np.sqrt(np.where(variance > 1e-10 * mean**2, variance, np.inf))  # a constant gets no weight
        gram /= scale
        gram /= scale[:, None]
        return mean, scale, gram

    def _predict(self, name: str, penalty: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k, G) the prediction for all bins."""
        from scipy.linalg import cho_factor, cho_solve

        mean, scale, gram = self._grams[name]
        known = np.flatnonzero(self._learns if name == "part" else self._fitted)
        level = y[known].mean(axis=0)
        cross = np.asarray(self._x[known].T @ (y[known] - level)) / len(known) / scale[:, None]  # pyright: ignore
        matrix = gram.copy()
        matrix[np.diag_indices(len(matrix))] += penalty
        weights = cho_solve(cho_factor(matrix, overwrite_a=True, check_finite=False), cross) / scale[:, None]
        return np.asarray(self._x @ weights) + (level - mean @ weights)


def _explained(y: NDArray[np.float64], predicted: NDArray[np.float64], block: NDArray) -> tuple[float, float, float]:
    """R2 and its interval over blocks."""
    place = np.unique(block, return_inverse=True)[1]
    parts = [np.bincount(place, values) for values in (np.ones(len(y)), y - y.mean(), (y - y.mean()) ** 2)]
    n, total, squares = parts
    error = np.bincount(place, (y - predicted) ** 2)

    def r2(times: NDArray[np.float64]) -> NDArray[np.float64]:
        away = times @ squares - (times @ total) ** 2 / np.maximum(times @ n, 1)
        return 1 - ratio(times @ error, away)

    found = float(r2(np.ones((1, len(n))))[0])
    return (found, *(interval(r2(draws_of(len(n), 0))) if len(n) >= FEW else (np.nan, np.nan)))
