"""Whether a model of another package does what it declares: a short sequence is read before all else."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.protocol import MEMBERS, GeneLM, checked_rows
from sae_tracks.lm.spans import PROBE

PROBE_BASES = 512
SAME = 1e-3  # of the largest activation: more than the rounding of a model that reads from left to right


def check_plugin(name: str, lm: object) -> GeneLM:
    """Return what a plug-in gave as a `GeneLM`, or refuse one that is none or does not do what it declares."""
    if missing := [member for member in MEMBERS if not hasattr(lm, member)]:
        raise SaeTracksError(f"the model plug-in {name!r} gives no GeneLM: it lacks {', '.join(missing)}")
    lm = cast(GeneLM, lm)
    for member in ("d_model", "max_length"):
        value = getattr(lm, member)
        if not isinstance(value, int) or value < 1:
            raise SaeTracksError(f"the model plug-in {name!r}: {member} is {value!r}; it must be a whole number from 1")
    if not isinstance(lm.causal, bool):
        raise SaeTracksError(f"the model plug-in {name!r}: causal is {lm.causal!r}; it must be True or False")
    if lm.causal and _sees_ahead(lm):
        raise SaeTracksError(
            f"the model plug-in {name!r} says that {lm.model_id} is causal, but its activations change with the bases "
            "behind them: causal must be False"
        )
    return lm


def _sees_ahead(lm: GeneLM) -> bool:
    """Whether the activations of the first half of a sequence change with its second half."""
    text = PROBE[: min(PROBE_BASES, lm.max_length)].encode()
    half = len(text) // 2
    rows, starts = checked_rows(lm, text)
    others, other_starts = checked_rows(lm, text[:half] + complement(text[half:]))
    same = _common_bases(starts, other_starts, half)
    return same > 0 and bool((rows[:same] - others[:same]).abs().max() > SAME * rows.abs().max())


def _common_bases(starts: NDArray[np.bool_], others: NDArray[np.bool_], half: int) -> int:
    """The number of bases in whole tokens that end by the middle and are the same in both sequences."""
    differ = np.flatnonzero(starts != others)
    ends = np.flatnonzero(starts[: min([half, *differ]) + 1])
    return int(ends.max(initial=0))
