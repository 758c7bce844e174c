"""``sae-tracks demo``: the whole path on a small genome that it makes."""

from pathlib import Path
from typing import Annotated

from typer import Option

from sae_tracks.cli.inputs import use_threads
from sae_tracks.cli.options import SeedOption, ThreadsOption
from sae_tracks.cli.verb import verb


@verb("Example: sae-tracks demo -o demo/", panel="First steps")
def demo(
    out: Annotated[Path, Option("--out", "-o", help="New folder for all files.")] = Path("demo"),
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Run every step on a small genome that it makes. Takes two to four minutes on two cores, and needs no network."""
    from sae_tracks.demo import run_demo

    use_threads(threads)
    run_demo(out, seed)
