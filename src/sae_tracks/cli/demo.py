"""``sae-tracks demo``: the whole path on a small genome that it makes."""

from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.inputs import use_threads
from sae_tracks.cli.options import SeedOption, ThreadsOption


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks demo -o demo/")(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for all files.")] = Path("demo"),
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Run the whole path on a small genome with known truth: two to four minutes on two cores, without a network."""
    from sae_tracks.demo import run_demo

    use_threads(threads)
    run_demo(out, seed)
