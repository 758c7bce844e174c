"""Work that is split over threads: an error in one slice ends the others."""

import time

import pytest
import torch

from sae_tracks.threads import in_threads


def test_after_an_error_no_slice_is_begun_and_none_is_at_work():
    begun, at_work, torch_threads = [], set(), torch.get_num_threads()

    def stage(part):
        begun.append(part.start)
        at_work.add(part.start)
        if part.start == 3:
            at_work.remove(part.start)
            raise ValueError("of the fourth slice")
        time.sleep(0.01)
        at_work.remove(part.start)

    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="of the fourth slice"), in_threads() as each:
            each(stage, 1000, 1)
        assert not at_work
        assert len(begun) <= 6  # two threads: the fourth slice, those before it, and one that the other had begun
        assert torch.get_num_threads() == 2
        count = len(begun)
        time.sleep(0.05)
        assert len(begun) == count
    finally:
        torch.set_num_threads(torch_threads)
