"""``sae-tracks demo``: the whole path on a small genome made on the spot."""

from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.inputs import use_threads
from sae_tracks.cli.options import SeedOption, ThreadsOption


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks demo -o demo/")(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for everything.")] = Path("demo"),
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """The whole path on a small genome with known truth, in two to four minutes on two cores; needs no network."""
    from sae_tracks.demo import run_demo

    use_threads(threads)
    run_demo(out, seed)
