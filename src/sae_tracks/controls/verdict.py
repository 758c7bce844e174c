"""What is said of a match: the first test that it fails, or that it is supported.

The tests and their order are written down in docs/methods.md; every number that they look at is a column of the table.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.bed import MATRIX_ID

LEAST_INSTANCES = 50
MOST_Q = 0.05
LEAST_OUTSIDE = 0.5  # of F1, where repeats are left out
MOST_INSIDE = 0.5  # of the true positives, where that cannot be measured
INSTANCES = ("instances", "sample_instances")
NOT_TESTED, SUPPORTED = "not-tested", "supported"


class Test(NamedTuple):
    """One way for a match to be less than it seems.

    Attributes
    ----------
    name : str
        The verdict where it fails.
    columns : tuple of str
        What it looks at; it has run on a row where one of them has a value.
    fails : callable
        (n,) bool from the table.
    """

    name: str
    columns: tuple[str, ...]
    fails: Callable[[pd.DataFrame], NDArray[np.bool_]]


def _repeat(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Where too little lies outside of repeats for an F1, it is where the true positives lie that tells."""
    lower = table["f1_outside_repeats"] < LEAST_OUTSIDE * table["sample_f1"]
    inside = table["f1_outside_repeats"].isna() & (table["repeat_share"] >= MOST_INSIDE)
    return (lower | inside).to_numpy()


def _reached_by(*columns: str) -> Callable[[pd.DataFrame], NDArray[np.bool_]]:
    """Whether one of some other explanations scores within the interval of the match, or above."""
    return lambda table: (table[list(columns)].max(axis=1) >= table["f1_low"]).to_numpy()


TESTS = (
    Test("low-power", INSTANCES, lambda table: (table[list(INSTANCES)].min(axis=1) < LEAST_INSTANCES).to_numpy()),
    Test("chance", ("chance",), lambda table: (table["chance"] > MOST_Q).to_numpy()),
    Test("repeat", ("repeat_share",), _repeat),
    Test("sequence", ("kmer_f1", "probe_f1"), _reached_by("kmer_f1", "probe_f1")),
    Test("untrained", ("untrained_f1", "permuted_f1"), _reached_by("untrained_f1", "permuted_f1")),
    Test("neuron", ("neuron_f1",), _reached_by("neuron_f1")),
)


def is_motif(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether concepts are sites of a matrix: they have a TF's name, or one of JASPAR's matrix IDs.

    A shift takes such sites away from the sequence that made them, which they all survive: it tells nothing of them.
    """
    named = [bool(tf) or bool(MATRIX_ID.match(name)) for tf, name in zip(table["tf"], table["concept"])]
    return np.array(named, bool)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict of every row, and which tests it has not been through.

    Parameters
    ----------
    table : DataFrame
        One row a reported pair: ``concept``, ``tf``, and the columns that the tests look at; missing or NaN: not
        measured.

    Returns
    -------
    DataFrame
        ``verdict``: the first test that fails; else ``not-tested`` where one has not been run, else ``supported``.
        ``untested``: the names of the tests not run, joined by commas.
    """
    columns = {name for test in TESTS for name in test.columns} | {"f1_outside_repeats", "sample_f1", "f1_low"}
    motif = is_motif(table)
    table = table.reindex(columns=sorted(columns | {"decoy_q", "shift_p"})).astype(float)
    table["chance"] = table["decoy_q"].fillna(table["shift_p"].mask(motif))
    verdict = np.full(len(table), "", object)
    untested = np.full(len(table), "", object)
    for test in TESTS:
        ran = table[list(test.columns)].notna().any(axis=1).to_numpy()
        verdict[(verdict == "") & ran & test.fails(table)] = test.name
        untested[~ran] = [f"{before},{test.name}".lstrip(",") for before in untested[~ran]]
    verdict[verdict == ""] = np.where(untested[verdict == ""] == "", SUPPORTED, NOT_TESTED)
    return pd.DataFrame({"verdict": verdict, "untested": untested}, index=table.index)
