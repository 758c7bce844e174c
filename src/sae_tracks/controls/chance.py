"""Does chance explain the match? Circular shifts of the labels, and decoy motifs with false discovery rates."""

import logging
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls.best import best, cells_of
from sae_tracks.controls.pairs import Reported
from sae_tracks.controls.sample import cover, numbers_of
from sae_tracks.errors import SaeTracksError
from sae_tracks.jit import FAST
from sae_tracks.motifs import decoy_annotation, decoys

if TYPE_CHECKING:
    from sae_tracks.controls.control import ControlData

SHIFTS = 200
LEAST = 1000  # bases that labels are shifted by, in either direction
log = logging.getLogger(__name__)


def shift_p(reported: Reported, seed: int, shifts: int = SHIFTS) -> NDArray[np.float64]:
    """(p,) float64: empirical p-value of each pair's F1 under circular shifts of its labels.

    The readable bases of the REPORT half form one circle of m bases. Labels are shifted on it by offsets drawn
    uniformly from 1,000 to m - 1,000, the same for all pairs: p = (1 + #{shifts whose F1 is not lower}) / (shifts + 1).
    A shift changes neither the number of labelled bases nor that of active ones, so true positives are compared.

    NaN if nothing is active or labelled, or if there are fewer than 2,000 bases.
    """
    m, pairs = len(reported), reported.pairs
    p = np.full(len(pairs), np.nan)
    if m < 2 * LEAST:
        return p
    offsets = np.random.default_rng(seed).integers(LEAST, m - LEAST, shifts, endpoint=True)
    mask = np.zeros(m, np.bool_)
    for i, concept in enumerate(pairs.concept):
        label, active = reported.labels[concept][0], reported.active(i)
        if len(label) or len(active):
            p[i] = (1 + _not_lower(label, active, mask, offsets)) / (shifts + 1)
    return p


def _not_lower(label, active, mask: NDArray[np.bool_], offsets: NDArray[np.int64]) -> int:
    """Count the shifts with no fewer true positives; the shorter list is looked up in the longer one."""
    long, short, offsets = (active, label, offsets) if len(label) < len(active) else (label, active, -offsets)
    mask[long] = True
    overlap = _overlap(short, mask, np.concatenate(([0], offsets % len(mask))))
    mask[long] = False
    return int((overlap[1:] >= overlap[0]).sum())


@njit(**FAST)
def _overlap(bases, mask, offsets):
    """(k,) int64: how many of the bases lie on the mask after each shift, by 0 <= offset < m."""
    m = len(mask)
    found = np.zeros(len(offsets), np.int64)
    for k in range(len(offsets)):
        turn = np.searchsorted(bases, m - offsets[k])  # from here on, past the end of the circle
        count = 0
        for i in range(turn):
            count += mask[bases[i] + offsets[k]]
        for i in range(turn, len(bases)):
            count += mask[bases[i] + offsets[k] - m]
        found[k] = count
    return found


def q_values(target: NDArray[np.float64], decoys: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest false discovery rate at which each target is among the discoveries.

    A target wins if it scores higher than all its decoys; a tie goes to the decoy. With W winners and L losers whose
    better score is at least t, the rate of the discoveries {winners at t or above} is ``(1 + L) / (k W)``.

    Parameters
    ----------
    target : (n,) float64
        Scores, higher is better; NaN if a target was not scored.
    decoys : (n, k) float64
        Scores of each target's own decoys; NaN counts as the lowest.

    Returns
    -------
    (n,) float64
        1 if a decoy won, NaN if the target was not scored.
    """
    rival = np.where(np.isnan(decoys), -np.inf, decoys).max(axis=1, initial=-np.inf)
    scored = ~np.isnan(target)
    won = scored & (target > rival)
    best = np.maximum(np.where(scored, target, -np.inf), rival)
    order = np.argsort(-best[scored], kind="stable")
    winners, losers = (np.cumsum(flag[scored][order]) for flag in (won, ~won))
    last = np.searchsorted(-best[scored][order], -best[scored][order], side="right") - 1  # ties share a rate
    rate = (1 + losers[last]) / (decoys.shape[1] * np.maximum(winners[last], 1))
    q = np.full(len(target), np.nan)
    q[np.flatnonzero(scored)[order]] = np.minimum(np.minimum.accumulate(rate[::-1])[::-1], 1)
    q[scored & ~won] = 1
    return q


def decoy_scores(data: "ControlData") -> pd.DataFrame:
    """Compare every motif with its decoys; the feature that fits best is chosen and measured alike for all of them.

    Decoys are scanned for in the bins of the sample, and each gets as many sites as its motif has there on that strand.
    Matrices that belong to no concept on + or - have no decoys, nor do those whose columns have too few orders.

    Returns
    -------
    DataFrame
        One row per concept: ``decoy_f1``, the best of its decoys, and ``decoy_q`` (`q_values`); NaN without decoys.
    """
    sample, sites, concepts, n = data.sample, data.sites, data.concepts, data.inputs.decoys
    cells, half = cells_of(sample.features, data.cutoffs, len(sample)), sample.half_of_base()
    counts = np.where(concepts["site_strand"].isin(["+", "-"]), np.diff(sites.indptr), 0)  # decoys are on a strand
    each = concepts[["concept", "site_strand"]].iloc[np.repeat(np.arange(len(concepts)), counts)]
    targets = each.set_axis(["Name", "Strand"], axis=1).reset_index(drop=True)
    made, named = {}, set(targets["Name"])
    for motif in data.inputs.motifs:
        if motif.matrix_id in named:
            try:
                made[motif.matrix_id] = decoys(motif, n, data.inputs.seed)
            except SaeTracksError as error:
                log.warning("%s: it is not tested against chance", error)
    score = np.full((len(concepts), n), np.nan)
    if made:
        assert data.genome is not None
        scanned = decoy_annotation(data.genome, made, targets, sample.bins)
        rows = scanned.annotation.sites
        name = cast(pd.Series, rows["Name"]).astype(str).str.rsplit("#", n=1, expand=True)  # motif#1, motif#2 ...
        column = numbers_of(concepts, name[0], rows["Strand"]) * n + name[1].to_numpy(np.int64) - 1
        score = best(cells, cover(sample, rows, column, len(concepts) * n), half).f1.reshape(-1, n)
        if short := sum(scanned.missing.values()):
            log.info("decoys: %d sites fewer than the motifs have, of %d decoys", short, len(scanned.missing))
    has = np.isin(concepts["concept"], [*made]) & (counts > 0)
    f1 = np.where(has, np.nan_to_num(best(cells, sites.labels, half).f1), np.nan)
    rivals = np.nan_to_num(score)  # 0 if no feature shares a base with it, for decoys as for motifs
    highest = np.where(has, rivals.max(axis=1), np.nan)
    return pd.DataFrame({"decoy_f1": highest, "decoy_q": q_values(f1, rivals)})
