"""Does chance explain the match of a motif? Motifs compete with decoys for the best average precision."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.arrays import adjusted
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.genome import Genome
from sae_tracks.metrics import Halves
from sae_tracks.motifs import Competitors
from sae_tracks.regions import GenomicRegion

FEW = 9  # motifs and strands: up to these, one alone can be found by p-values of 199 draws, because 9 / 200 < 0.05
MOST, LEAST = 199, 5  # decoys of a motif; one with fewer is not judged
MATRICES = 4000  # motifs and decoys on a strand, about, if there are more than a few motifs


def decoys_for(pairs: int) -> int:
    """How many decoys each motif gets, if nobody says: many if there are few pairs of a motif and a strand."""
    return MOST if pairs <= FEW else min(max(MATRICES // max(pairs, 1), LEAST), MOST)


class CompetitorLabels:
    """The sites of motifs and of their decoys in the select half, as the labels of a `Counter`.

    Rows of `concepts` are A, C, G, T, then each matrix on + and on -. Sites are scanned for where they are needed.
    """

    def __init__(self, genome: Genome, competitors: Competitors, halves: Halves) -> None:
        self.genome, self.competitors, self.halves = genome, competitors, halves
        names = [motif.matrix_id for motif in competitors.motifs for _ in "+-"]
        concept, strand = [*NUCLEOTIDES, *names], ["+"] * len(NUCLEOTIDES) + ["+", "-"] * len(competitors.motifs)
        self.concepts = pd.DataFrame({"concept": concept, "site_strand": strand, "tf": ""}, dtype=object)
        self._widest = max((motif.width for motif in competitors.motifs), default=1)

    def overlapping(self, region: GenomicRegion) -> pd.DataFrame:
        """The sites of the select half that have a base in a region; see `Labels.overlapping`."""
        reach = GenomicRegion(region.contig, max(region.start - self._widest + 1, 0), region.end)
        if any(half == 0 for _, half in self.halves.tiles(reach)):
            motif, start, end, strand, competes = self.competitors.sites(self.genome, reach)
            kept = np.flatnonzero(competes & (end > region.start) & (self.halves.of(region.contig, start) == 0))
        else:
            motif = start = end = strand = kept = np.empty(0, np.int64)
        order = kept[np.argsort(start[kept], kind="stable")]
        concept = len(NUCLEOTIDES) + 2 * motif[order].astype(np.int64) + (strand[order] < 0)
        columns = {"Start": start[order], "End": end[order], "concept": concept}
        return pd.DataFrame({"Chromosome": region.contig, **columns, "copies": 1})


def q_values(target: NDArray[np.float64], decoys: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest false discovery rate at which each target is among the discoveries.

    A target wins if it scores higher than all its decoys; a tie goes to the decoy. With W winners and L losers whose
    better score is at least t, the rate of the discoveries {winners at t or above} is ``(1 + L) / (k W)`` (Emery,
    Hasam, Noble and Keich 2020, max method). If targets have different numbers k_i of decoys, a loser counts 1 / k_i
    and the 1 is 1 over the smallest of them.

    Parameters
    ----------
    target : (n,) float64
        Scores, higher is better; NaN if a target was not scored.
    decoys : (n, k) float64
        Scores of each target's own decoys; NaN if it has fewer.

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
    own = np.maximum((~np.isnan(decoys)).sum(axis=1), 1)[scored]
    winners, losers = np.cumsum(won[scored][order]), np.cumsum((~won[scored] / own)[order])
    last = np.searchsorted(-best[scored][order], -best[scored][order], side="right") - 1  # ties share a rate
    rate = (1 / own.min(initial=decoys.shape[1]) + losers[last]) / np.maximum(winners[last], 1)
    q = np.full(len(target), np.nan)
    q[np.flatnonzero(scored)[order]] = np.minimum(np.minimum.accumulate(rate[::-1])[::-1], 1)
    q[scored & ~won] = 1
    return q


def draws_q(target: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) float64: p = (1 + draws that are not lower) / (1 + draws), adjusted by Benjamini and Hochberg.

    ``draws`` is (n, k), NaN where a target has fewer; NaN if a target was not scored or has no draw.
    """
    drawn = (~np.isnan(draws)).sum(axis=1)
    better = (np.nan_to_num(draws, nan=-np.inf) >= target[:, None]).sum(axis=1)
    p = np.where(np.isnan(target) | (drawn == 0), np.nan, (1 + better) / (1 + drawn))
    return adjusted(p)


def competition(average: NDArray[np.float64], few: bool) -> pd.DataFrame:
    """The outcome of a competition.

    Parameters
    ----------
    average : (n, 1 + k) float64
        Average precision of the best feature of each target and of its decoys; NaN if a target is no test, and from the
        first decoy on that it does not have.
    few : bool
        q from draws, else from winners.

    Returns
    -------
    DataFrame
        ``decoys`` (number), ``decoy_ap`` (the best one's), ``decoy_q``, ``least_q`` (what the best match would have)
        and ``decoy_win``: whether the target scores higher than all decoys. NaN or None without enough decoys.
    """
    target, draws = average[:, 0], average[:, 1:]
    decoys = (~np.isnan(draws)).sum(axis=1).astype(np.float64)
    ran = (decoys > 0) & ~np.isnan(target)
    if few:
        q, least = draws_q(target, draws), 1 / (1 + decoys)
    else:
        ran &= decoys >= min(draws.shape[1], LEAST)  # the smallest number bounds what can be found
        k = decoys[ran].min(initial=MOST)
        q = np.where(ran, q_values(np.where(ran, target, np.nan), draws), np.nan)
        least = np.full(len(target), 1 / (k * max(ran.sum(), 1)))
    best = np.nan_to_num(draws, nan=-1).max(axis=1, initial=-1)
    win = np.array([bool(w) if r else None for w, r in zip(target > best, ran)], object)
    return pd.DataFrame(
        {
            "decoys": np.where(np.isnan(target), np.nan, decoys),
            "decoy_ap": np.where(ran, best, np.nan),
            "decoy_q": q,
            "least_q": np.where(ran, least, np.nan),
            "decoy_win": win,
        }
    )
