"""A few of the faults of ``kill.py``; its own form tries every verb hundreds of times."""

import subprocess
from pathlib import Path

VERBS = ("extract", "shuffle", "train-topk", "export-bigwig", "scan", "fetch")


def test_verbs_that_are_killed_stopped_or_out_of_space_lose_nothing(warm_python):
    command = [
        warm_python,
        str(Path(__file__).with_name("kill.py")),
        "--kills",
        "12",
        "--fault",
        "kill",
        "term",
        "full",
    ]
    done = subprocess.run([*command, "--verbs", *VERBS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "12 faults" in done.stdout and "wrong: 0" in done.stdout
