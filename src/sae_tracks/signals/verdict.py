"""The tests of the best feature of a signal, one row per test; their verdicts follow as those of a match do.

This file imports no model, so the pages that show verdicts start quickly.
"""

from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.verdict import LOW_POWER, MOST_Q, Row, Test, outcomes

LEAST_BLOCKS, LEAST_BINS = 10, 200  # of the report half with a value
ENDS = ("bin_spearman_low", "bin_spearman_high", "select_bin_spearman")


def _lower(table: pd.DataFrame) -> pd.Series:
    """The weaker end of the correlation's interval, below 0 if it reaches to the other sign than that chosen."""
    chosen, low, high = (cast(pd.Series, table[name]) for name in ("select_bin_spearman", *ENDS[:2]))
    return low.where(chosen >= 0, -high)


def _few(table: pd.DataFrame) -> NDArray[np.bool_]:
    return ((table["blocks"] < LEAST_BLOCKS) | (table["bins"] < LEAST_BINS)).to_numpy()


def _by_chance(table: pd.DataFrame) -> NDArray[np.bool_]:
    return ((table["shift_q"] > MOST_Q) | (_lower(table) <= 0)).to_numpy()


def _reached(name: str, column: str, meaning: str, short: str, rival: str) -> Test:
    """A test that a feature fails if a rival's correlation reaches the interval of its own."""

    def fails(table: pd.DataFrame) -> NDArray[np.bool_]:
        return (table[column].abs() >= _lower(table)).to_numpy()

    def sentence(row: Row) -> str:
        which = f"{rival} ({row[column.removesuffix('_spearman')]})"
        return f"{which} has a correlation of {row[column]:.2f}; the feature's is {_own(row)}."

    return Test(name, (column,), fails, meaning, short, sentence, needs=ENDS)


def _own(row: Row) -> str:
    return f"{row['bin_spearman']:.2f} ({row['bin_spearman_low']:.2f} to {row['bin_spearman_high']:.2f})"


SIGNAL_TESTS = (
    Test(
        LOW_POWER,
        columns=("blocks",),
        also=("bins",),
        fails=_few,
        meaning=f"fewer than {LEAST_BLOCKS} blocks or {LEAST_BINS} bins have a value, which is too few to judge",
        short="the number of blocks",
        sentence=lambda row: (
            f"Only {row['bins']:,.0f} bins in {row['blocks']:,.0f} blocks of the report half have a value."
        ),
    ),
    Test(
        "chance",
        columns=("shift_q",),
        fails=_by_chance,
        meaning="the signal shifted along the genome correlates as well, or the interval reaches 0",
        short="shifts of the signal",
        sentence=lambda row: f"The correlation is {_own(row)}; of shifts of the signal, q = {row['shift_q']:.2g}.",
        needs=ENDS,
    ),
    _reached(
        "local-sequence",
        "sequence_spearman",
        meaning="a word of up to four letters, GC or CpG does as well",
        short="words of the bin",
        rival="The best count of the bin's letters",
    ),
    _reached(
        "dimension",
        "dimension_spearman",
        meaning="a single dimension of the language model does as well",
        short="single dimensions",
        rival="The best dimension of the language model",
    ),
)
SIGNAL_OUTCOMES = outcomes(SIGNAL_TESTS)
