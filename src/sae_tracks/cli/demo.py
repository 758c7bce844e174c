"""``sae-tracks demo``: the whole path on chromosomes that come with the package, or on a simulated genome."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from sae_tracks.cli.inputs import use_threads
from sae_tracks.cli.options import SeedOption, ThreadsOption, out_folder
from sae_tracks.cli.verb import verb


@verb("Example: sae-tracks demo -o demo/", panel="First steps")
def demo(
    out: Annotated[Path, out_folder("New folder for all files.")] = Path("demo"),
    genome: Annotated[
        Literal["yeast", "planted"],
        Option(help="yeast: two real chromosomes; planted: a simulated genome with known sites."),
    ] = "yeast",
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Run every step on real DNA. Takes about four minutes on two cores, and needs no network.

    An SAE is trained on a chromosome of yeast that comes with the package. Its features are tested against the genes of
    another.
    """
    from sae_tracks.demo import run_planted, run_yeast

    use_threads(threads)
    (run_yeast if genome == "yeast" else run_planted)(out, seed)
