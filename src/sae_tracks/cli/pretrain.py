"""``sae-tracks pretrain``: train a small gene language model."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import GenomePath, SeedOption, ThreadsOption, use_threads

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks pretrain hg38.fa -o lm/ --size nano --held-out chr8.bed")(pretrain)


def pretrain(
    genome: GenomePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    size: Annotated[str, typer.Option(help="nano (0.9 M parameters), tiny or small-32k.")] = "nano",
    steps: Annotated[int, typer.Option(min=0, help="Optimizer steps; 0 saves an untrained model.")] = 4000,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows a step.")] = 16,
    lr: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 3e-3,
    held_out: Annotated[Path | None, typer.Option(help="BED file: never trained on, its loss is reported.")] = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Train a small HyenaDNA by next-base prediction on both strands; goes on where it was interrupted."""
    from sae_tracks.annotations import read_regions
    from sae_tracks.errors import SaeTracksError
    from sae_tracks.genome import Genome
    from sae_tracks.progress import counter
    from sae_tracks.training.lm import SIZES, PretrainSettings
    from sae_tracks.training.lm import pretrain as run

    if size not in SIZES:
        raise SaeTracksError(f"--size {size}: it is one of {', '.join(SIZES)}")
    use_threads(threads)
    fasta = Genome(genome)
    settings = PretrainSettings(size=size, steps=steps, batch_size=batch_size, lr=lr, seed=seed)
    regions = read_regions(held_out, fasta) if held_out else []
    with counter("pretraining", steps) as advance:
        loss = run(fasta, out, settings, held_out=regions, on_step=lambda step, loss: advance(f"loss {loss:.3f}"))
    log.info("model in %s%s", out, "" if loss is None else f"; held-out loss {loss:.4f} nats a base")
