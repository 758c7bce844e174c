"""Time of training straight from a language model, and of extract, shuffle and train, for the same rows.

Both are run in turn, each in its own process: ``python benchmarks/stream.py GENOME.fa WINDOWS [PAIRS]``.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(genome: str, windows: str, pairs: str = "3") -> None:
    """Print the seconds of each run."""
    read, settings = ("-n", windows, "--seed", "1"), ("--expansion", "8", "--device", "cpu")
    with tempfile.TemporaryDirectory() as name:
        for pair in range(int(pairs)):
            out = Path(name) / str(pair)
            direct = seconds(["train", "demo", "--genome", genome, *read, "-o", out / "direct", *settings])
            stored = seconds(
                ["extract", "demo", genome, *read, "-o", out / "act", "--device", "cpu"],
                ["shuffle", out / "act", "-o", out / "mixed", "--seed", "1"],
                ["train", out / "mixed", "-o", out / "stored", "--seed", "1", *settings],
            )
            print(f"direct {direct:.1f} s, stored {stored:.1f} s, ratio {direct / stored:.2f}", flush=True)


def seconds(*commands: list) -> float:
    """Return the wall time of commands, run one after the other."""
    started = time.perf_counter()
    for words in commands:
        subprocess.run([sys.executable, "-m", "sae_tracks", *map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*sys.argv[1:])
