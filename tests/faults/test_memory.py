"""Too little memory is one line, whichever library says so."""

import pytest
from command_line import run
from toy import random_sae

from sae_tracks.evaluate import info
from sae_tracks.sae import save_sae

TORCH = "[enforce fail at alloc_cpu.cpp:124]\nDefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError(TORCH), RuntimeError("CUDA out of memory"), OSError(12, "Cannot allocate memory")],
)
def test_too_little_memory_is_one_line(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    save_sae(random_sae(4, 6), tmp_path / "sae")
    monkeypatch.setattr(info, "load_sae", fail)
    ended = run("info", tmp_path / "sae")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: not enough memory (") and ended.stderr.count("\n") == 1
    assert "take fewer threads (-p) or smaller regions" in ended.stderr


def test_another_error_keeps_its_traceback(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a defect")

    save_sae(random_sae(4, 6), tmp_path / "sae")
    monkeypatch.setattr(info, "load_sae", fail)
    assert "RuntimeError: a defect" in run("info", tmp_path / "sae").stderr
