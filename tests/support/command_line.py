"""The command line as a user calls it, in a process of its own."""

import subprocess
import sys


def run(*words, **how):
    return subprocess.run(
        [sys.executable, "-m", "sae_tracks", *words], capture_output=True, text=True, check=False, **how
    )
