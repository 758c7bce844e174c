"""The measurement of the best features and of their rivals on all of the report half."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.arrays import adjusted
from sae_tracks.controls.beyond import BeyondWord
from sae_tracks.controls.compete import Competition, compete
from sae_tracks.controls.fit import Fit, InRepeats
from sae_tracks.controls.gather import COMPETITORS, FEATURES, Gathered
from sae_tracks.controls.matched import RegionControl
from sae_tracks.controls.pairs import ByBase
from sae_tracks.controls.rivals import Probed, Rivals
from sae_tracks.controls.verdict import LEAST_INSTANCES
from sae_tracks.controls.view import Measured, Part, Tiles, pairs_of
from sae_tracks.metrics import Evaluation
from sae_tracks.motifs import Competitors
from sae_tracks.progress import track
from sae_tracks.regions import ReadStrand


@dataclass(frozen=True)
class ControlInputs:
    """What the measurement needs besides what was gathered."""

    evaluation: Evaluation
    causal: bool
    competitors: Competitors | None = None
    few: bool = False  # motifs: q from draws, not from a target-decoy competition
    repeats: Annotation | None = None  # by class
    seed: int = 0


def run_controls(best: pd.DataFrame, gathered: Gathered, inputs: ControlInputs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the best feature of every concept and its rivals on the report half.

    Parameters
    ----------
    best : DataFrame
        From `best_features`: one row per concept and site strand, at least one.

    Returns
    -------
    measured : DataFrame
        The columns of docs/formats.md but the verdict's, by the index of the table.
    offsets : DataFrame
        See `ByBase.offsets`.
    """
    found = []
    for strand in gathered.counts[FEATURES].read_strands:
        rows = cast(pd.DataFrame, best[best["read_strand"] == strand])
        if len(rows) or inputs.competitors is not None:  # decoys may have their best feature on any strand
            found.append(_measure(rows, gathered, inputs, cast(ReadStrand, strand)))
    measured = pd.concat([table for table, *_ in found if len(table)]).loc[best.index]
    larger = measured[["regions_p", "shift_p"]].max(axis=1).where(measured["regions_p"].notna())
    tested = (measured["regions"] >= LEAST_INSTANCES) & (best["instances"] >= LEAST_INSTANCES)
    measured["regions_q"] = adjusted(larger.where(tested).to_numpy(np.float64))
    if inputs.competitors is not None:
        averages = [average for *_, average in found if average is not None]
        measured = measured.join(compete(best, inputs.competitors, averages, few=inputs.few))
    return measured, pd.concat([profiles for table, profiles, _ in found if len(table)], ignore_index=True)


def _measure(
    rows: pd.DataFrame, gathered: Gathered, inputs: ControlInputs, read_strand: ReadStrand
) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[np.float64] | None]:
    """Of one read strand: the rows, if there are any, their profiles, and the APs of motifs and decoys."""
    evaluation, causal = inputs.evaluation, inputs.causal
    tiles = Tiles(evaluation, gathered, inputs.repeats, read_strand, causal)
    pairs = pairs_of(rows, gathered, evaluation, tiles, inputs.seed)
    by_base, fit, rivals = ByBase(pairs), Fit(pairs), Rivals(pairs, gathered)
    tables: list[Measured] = [by_base, fit, rivals, Probed(pairs, evaluation, causal=causal)]
    tables += [RegionControl(fit, tiles), BeyondWord(pairs, rivals.words, tiles)]
    if inputs.repeats is not None:
        tables.append(InRepeats(fit, list(tiles.repeats)))
    parts: list[Part] = [*tables] if len(rows) else []
    competition = None
    if inputs.competitors is not None:
        counts = gathered.counts[COMPETITORS]
        competition = Competition(pairs, counts, evaluation.genome, inputs.competitors, causal=causal)
        parts.append(competition)
    for view in track(tiles.views(_wanted(parts)), "measuring matches", len(tiles)):
        for part in parts:
            part.add(view)
    average = None if competition is None else competition.average_precision
    if not len(rows):
        return rows, rows, average
    table = pd.concat([part.table() for part in tables], axis=1).set_index(rows.index)
    return table, by_base.offsets(), average


def _wanted(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """The columns of each dictionary that some part looks at, ascending."""
    found: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for name, columns in part.wanted().items():
            found.setdefault(name, []).append(columns[columns >= 0])
    return {name: np.unique(np.concatenate(columns)).astype(np.int64) for name, columns in found.items()}
