"""Whether a motif is matched better than its own column-shuffled copies."""

import logging
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.best import Cells, best
from sae_tracks.controls.fdr import q_values
from sae_tracks.controls.sample import Sample, Sites, cover, numbers_of
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.motifs import Motif, decoy_annotation, decoys

log = logging.getLogger(__name__)


def decoy_scores(
    sample: Sample,
    sites: Sites,
    concepts: pd.DataFrame,
    genome: Genome,
    cells: Cells,
    half: NDArray[np.int8],
    motifs: Iterable[Motif],
    n: int,
    seed: int,
) -> pd.DataFrame:
    """Compare every motif with its decoys: each with the feature that fits it best, chosen and measured alike.

    Parameters
    ----------
    sample, sites
        Sites of decoys are scanned for in the bins of the sample, as many as the motif has there on that strand.
    concepts : DataFrame
        ``concept`` and ``site_strand`` by number.
    genome : Genome
        Of the sample.
    cells, half
        The features, and the halves; see `best`.
    motifs : iterable of Motif
        Those that are no concept on + or - are passed over, as are those whose columns have too few orders.
    n, seed : int
        Decoys a motif, and what they are drawn with.

    Returns
    -------
    DataFrame
        A row a concept: ``decoy_f1``, the best of its decoys, and ``decoy_q`` (`q_values`); NaN without decoys.
    """
    counts = np.where(concepts["site_strand"].isin(["+", "-"]), np.diff(sites.indptr), 0)  # decoys are on a strand
    there = concepts[["concept", "site_strand"]].iloc[np.repeat(np.arange(len(concepts)), counts)]
    targets = there.set_axis(["Name", "Strand"], axis=1).reset_index(drop=True)
    made = _decoys_of([motif for motif in motifs if motif.matrix_id in set(targets["Name"])], n, seed)
    score = np.full((len(concepts), n), np.nan)
    if made:
        found = decoy_annotation(genome, made, targets, sample.bins)
        name, number = _targets(found.annotation.sites["Name"].astype(str))
        concept = numbers_of(concepts, name, found.annotation.sites["Strand"].astype(str))
        labels = cover(sample, found.annotation.sites, concept * n + number, len(concepts) * n)
        score = best(cells, labels, half).f1.reshape(-1, n)
        short = sum(found.missing.values())
        if short:
            log.info("decoys: %d sites fewer than the motifs have, of %d decoys", short, len(found.missing))
    has = np.isin(concepts["concept"], [*made]) & (counts > 0)
    f1 = np.where(has, np.nan_to_num(best(cells, sites.labels, half).f1), np.nan)
    rivals = np.nan_to_num(score)  # 0 where no feature has a base in common with it, of decoys as of motifs
    highest = np.where(has, rivals.max(axis=1), np.nan)
    return pd.DataFrame({"decoy_f1": highest, "decoy_q": q_values(f1, rivals)})


def _decoys_of(motifs: Iterable[Motif], n: int, seed: int) -> dict[str, list[Motif]]:
    """The decoys of each motif that has enough orders of its columns, by its matrix ID."""
    made = {}
    for motif in motifs:
        try:
            made[motif.matrix_id] = decoys(motif, n, seed)
        except SaeTracksError as error:
            log.warning("%s: it is not tested against chance", error)
    return made


def _targets(decoy: pd.Series) -> tuple[pd.Series, NDArray[np.int64]]:
    """The motif of a decoy, and which of its decoys it is, from 0."""
    parts = decoy.str.rsplit("#", n=1, expand=True)
    return parts[0], parts[1].to_numpy(np.int64) - 1
