"""All that is measured of reported pairs, in one table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sae_tracks.controls.chance import shift_p
from sae_tracks.controls.fit import f1_intervals, lags, rankings
from sae_tracks.controls.pairs import Pairs, Reported
from sae_tracks.controls.sample import Columns, Sample, Sites
from sae_tracks.controls.specificity import in_repeats, motif_clusters, selectivity


def examine(
    sample: Sample,
    sites: Sites,
    pairs: Pairs,
    concepts: pd.DataFrame,
    *,
    repeats: Columns | None,
    repeat_names: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Measure pairs on the REPORT half of a sample.

    Parameters
    ----------
    sample : Sample
    sites : Sites
        Of the same bases; the labels of A, C, G and T filled in.
    pairs : Pairs
    concepts : DataFrame
        ``concept`` of every concept, in the order of their numbers: the site strands of one name are one motif.
    repeats : Columns or None
        (n x classes): the bases of the sample in repeats of each class; None where nothing is known of them.
    repeat_names : sequence of str
        Of the classes.
    seed : int
        For the draws of the bootstrap and the offsets of the shift; the same seed gives the same table.

    Returns
    -------
    DataFrame
        A row a pair, in their order: ``sample_f1``, ``f1_low``, ``f1_high``, ``bins`` (`f1_intervals`);
        ``average_precision``, ``site_average_precision``, ``spearman`` (`rankings`); ``lag`` (`lags`); ``shift_p``
        (`shift_p`); ``repeat_class``, ``repeat_class_share``, ``repeat_share``, ``instances_outside_repeats``,
        ``f1_outside_repeats``, ``outside_ratio`` (`in_repeats`; without repeats empty and NaN); ``margin``,
        ``next_concept`` (`selectivity`).
    """
    reported = Reported(sample, sites, pairs)
    columns = [
        f1_intervals(reported, seed),
        rankings(reported),
        pd.DataFrame({"lag": lags(reported), "shift_p": shift_p(reported, seed)}),
        _repeats(reported, repeats, repeat_names),
        selectivity(reported, motif_clusters(sites, concepts)),
    ]
    return pd.concat(columns, axis=1)


def _repeats(reported: Reported, repeats: Columns | None, names: Sequence[str]) -> pd.DataFrame:
    if repeats is not None:
        return in_repeats(reported, repeats, names)
    nothing = Columns(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    unknown = in_repeats(reported, nothing, ())
    return unknown.assign(**{name: np.nan for name in unknown if name != "repeat_class"})
