"""Words for numbers of things."""

import numpy as np
import pytest

from sae_tracks.names import counted


@pytest.mark.parametrize(
    ("n", "words", "text"),
    [
        (1, ("file",), "1 file"),
        (0, ("file",), "0 files"),
        (np.int64(1_000), ("file",), "1,000 files"),
        (1, ("match has", "matches have"), "1 match has"),
        (2, ("match has", "matches have"), "2 matches have"),
    ],
)
def test_one_thing_is_not_several(n, words, text):
    assert counted(n, *words) == text
