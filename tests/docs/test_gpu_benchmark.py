"""The benchmark of a GPU, in its form for a CPU: every part runs, and what is compared agrees."""

import json
import sys

from conftest import benchmark_module


def test_every_part_runs_on_a_cpu(monkeypatch, capsys):
    gpu = benchmark_module("gpu")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--small"])
    try:
        gpu.main()
    except SystemExit as end:
        assert end.code == 0
    found = json.loads(capsys.readouterr().out)
    assert set(gpu.PARTS) < set(found) and found["device"] == "cpu"
    assert found["lm_parity"]["float32"] < 1e-5
    assert max(found["sae_parity"].values()) < 1e-5
    assert 50 < found["sae"]["l0"] < 80
    assert found["table"]["chr14_seconds"] > found["table"]["seconds"] > 0
    assert found["variants"]["variants"] >= 500
