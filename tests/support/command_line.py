"""The command line as a user calls it, in a process of its own."""

import subprocess
import sys

import click
import typer

from sae_tracks.cli.app import app


def run(*words, **how):
    return subprocess.run(
        [sys.executable, "-m", "sae_tracks", *words], capture_output=True, text=True, check=False, **how
    )


def commands():
    """Every verb with the words that call it."""

    def walk(command, words):
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            for name, sub in command.commands.items():
                yield from walk(sub, [*words, name])
        else:
            yield " ".join(words), command

    return dict(walk(typer.main.get_command(app), []))


COMMANDS = commands()
