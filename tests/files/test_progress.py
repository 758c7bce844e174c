"""Progress bars: nothing is drawn, and no thread stays, if nobody watches."""

import logging
import threading

import pytest

from sae_tracks.progress import byte_counter, counter, track


@pytest.mark.parametrize("use", [lambda: list(track(range(3), "a", 3)), lambda: next(track(range(3), "a", 3))])
def test_a_bar_leaves_no_thread_and_no_text(use, capsys):
    before = threading.active_count()
    use()
    with counter("steps", 2) as advance, byte_counter("bytes", 0) as done:
        advance("state")
        advance(step=2)
        done(5)
        assert threading.active_count() == before
    assert threading.active_count() == before
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_is_drawn_and_its_thread_ends(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes stderr for a terminal
    before = set(threading.enumerate())
    assert list(track(range(3), "reading", 3)) == [0, 1, 2]
    for thread in set(threading.enumerate()) - before:  # it was told to end
        thread.join()
    assert "reading" in capsys.readouterr().err


def test_without_a_terminal_a_long_run_logs_every_so_many_steps_and_the_last(caplog):
    caplog.set_level(logging.INFO)
    with counter("training", 2_005, lines_every=1000) as advance:
        for step in range(998, 2_006):
            advance(f"loss {step}", step)
    assert caplog.messages == [
        f"training {at} of 2,005: loss {n}" for at, n in [("1,000", 1000), ("2,000", 2000), ("2,005", 2005)]
    ]
