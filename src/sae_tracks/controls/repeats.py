"""What is left of a match outside of repeats.

Copies of a repeat resemble each other over hundreds of bases, so a feature of one repeat fits any motif that its
consensus happens to hold, without knowing the motif.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.pairs import Counted, Reported
from sae_tracks.controls.sample import Columns

MIN_OUTSIDE = 10  # instances outside of repeats, for an F1 there


def in_repeats(reported: Reported, repeats: Columns, names: Sequence[str]) -> pd.DataFrame:
    """Where the true positives of each pair lie, and its F1 outside of repeats.

    Parameters
    ----------
    reported : Reported
    repeats : Columns
        (n x classes): the bases of the sample that repeats of each class cover, as `Sites.labels`.
    names : sequence of str
        Of the classes.

    Returns
    -------
    DataFrame
        A row a pair, all on the REPORT half:

        - ``repeat_class``: the class that holds most true positives, the first where several do; empty where none does.
        - ``repeat_class_share``, ``repeat_share``: the share of true positives in it, and in any class; NaN without a
          true positive.
        - ``instances_outside_repeats`` (int64): instances with a readable base and without a base in any repeat; of a
          concept without instances, such as A, C, G and T, its labelled bases outside.
        - ``f1_outside_repeats``: F1 counted on bases outside of every repeat; NaN where fewer than 10 instances lie
          outside, and the match cannot be told from one of the repeat.
        - ``outside_ratio``: that over the F1 on all bases; NaN where either is NaN or the latter 0.
    """
    everywhere = reported.in_all()
    tp, whole = everywhere.tp[:, 0], everywhere.f1()[:, 0]
    within = np.zeros((max(1, len(repeats)), len(tp)), np.int64)
    for c in range(len(repeats)):
        within[c] = _split(reported, _covered(reported, repeats, [c])).tp[:, 1]
    most = within.max(axis=0)
    classes = [names[c] if k else "" for c, k in zip(within.argmax(axis=0), most)]
    covered = _covered(reported, repeats, range(len(repeats)))
    split = _split(reported, covered)
    outside = _instances_outside(reported, covered, split)
    f1 = np.where(outside >= MIN_OUTSIDE, split.f1()[:, 0], np.nan)
    return pd.DataFrame(
        {
            "repeat_class": np.array(classes, object),
            "repeat_class_share": _ratio(most, tp),
            "repeat_share": _ratio(split.tp[:, 1], tp),
            "instances_outside_repeats": outside,
            "f1_outside_repeats": f1,
            "outside_ratio": _ratio(f1, whole),
        }
    )


def _covered(reported: Reported, repeats: Columns, classes: Iterable[int]) -> NDArray[np.bool_]:
    """(n,) bool: the bases of the sample in some of the classes."""
    covered = np.zeros(len(reported.sample), np.bool_)
    for c in classes:
        covered[repeats[c][0]] = True
    return covered


def _split(reported: Reported, covered: NDArray[np.bool_]) -> Counted:
    """Counts (p, 2), outside and inside."""
    return reported.count(covered[reported.base].astype(np.int64), 2)


def _instances_outside(reported: Reported, covered: NDArray[np.bool_], split: Counted) -> NDArray[np.int64]:
    before = np.concatenate(([0], np.cumsum(covered)))
    sites, found = reported.sites, np.empty(len(reported.pairs), np.int64)
    for i, concept in enumerate(reported.pairs.concept.tolist()):
        rows, of = reported.instances(concept), sites.of(concept)
        free = before[sites.end[rows]] == before[sites.start[rows]]
        found[i] = free.sum() if of.stop > of.start else split.labelled[i, 0]
    return found


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    """Quotient, NaN where the denominator is 0 or NaN."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
