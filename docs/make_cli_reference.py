"""Write docs/cli.md from the help texts; ``--check`` only says whether it is up to date."""

import os
import subprocess
import sys
from pathlib import Path

os.environ |= {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
PAGE = Path(__file__).parent / "cli.md"


def help_text(*words: str) -> str:
    """What ``sae-tracks WORDS --help`` prints, at a fixed width."""
    command = [sys.executable, "-m", "sae_tracks", *words, "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = text.replace("python -m sae_tracks", "sae-tracks")
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def page() -> str:
    """The whole page."""
    from typer.main import get_command

    from sae_tracks.cli.app import app

    parts = ["# Command line\n\nWritten by `make docs` from the help texts.\n"]
    parts.append(f"```text\n{help_text()}\n```\n")
    for name, command in get_command(app).commands.items():
        for words in [(name,), *((name, sub) for sub in getattr(command, "commands", {}))]:
            parts.append(f"## {' '.join(words)}\n\n```text\n{help_text(*words)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.is_file() and PAGE.read_text() == text else f"{PAGE.name} is out of date: run `make docs`")
    PAGE.write_text(text)
