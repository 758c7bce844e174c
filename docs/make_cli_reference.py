"""Write docs/cli.md from the help texts; ``--check`` only says whether it is up to date."""

import io
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

os.environ |= {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}  # read when typer is imported, and later

from sae_tracks.cli.app import command

PAGE = Path(__file__).parent / "cli.md"


def help_text(*words: str) -> str:
    """What ``sae-tracks WORDS --help`` prints, at a fixed width."""
    with redirect_stdout(io.StringIO()) as printed:
        command([*words, "--help"], prog_name="sae-tracks", standalone_mode=False)
    text = printed.getvalue()
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def page() -> str:
    """The whole page."""
    parts = ["# Command line\n\nWritten by `make docs` from the help texts.\n"]
    parts.append(f"```text\n{help_text()}\n```\n")
    for name, verb in command.commands.items():
        for words in [(name,), *((name, sub) for sub in getattr(verb, "commands", {}))]:
            parts.append(f"## {' '.join(words)}\n\n```text\n{help_text(*words)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.is_file() and PAGE.read_text() == text else f"{PAGE.name} is out of date: run `make docs`")
    PAGE.write_text(text)
