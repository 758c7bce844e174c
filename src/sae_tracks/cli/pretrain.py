"""``sae-tracks pretrain``: train a small gene language model."""

import logging
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.inputs import use_share_of_threads
from sae_tracks.cli.options import DeviceOption, GenomePath, SeedOption, ThreadsOption

log = logging.getLogger(__name__)


class Size(StrEnum):
    """Named sizes of models."""

    nano = "nano"
    tiny = "tiny"
    small_32k = "small-32k"


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks pretrain hg38.fa -o lm/ --size nano --held-out chr8.bed")(pretrain)


def pretrain(
    genome: GenomePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    size: Annotated[
        Size, typer.Option(help="Blocks x width and window: nano 4x128, 2k; tiny 2x128, 1k; small-32k 4x256, 32k.")
    ] = Size.nano,
    steps: Annotated[int, typer.Option(min=0, help="Optimizer steps; 0 saves an untrained model.")] = 4000,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows per step, over all processes.")] = 16,
    lr: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 3e-3,
    held_out: Annotated[
        Path | None,
        typer.Option(
            help="BED file of regions to hold out: the model and Markov models are scored on them at the end."
        ),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Train a small HyenaDNA by next-base prediction on both strands; continues an interrupted run.

    On several GPUs or processes: torchrun --nproc-per-node 2 -m sae_tracks pretrain hg38.fa -o lm/
    """
    from sae_tracks.annotations import read_regions
    from sae_tracks.genome import Genome
    from sae_tracks.pretrain.pretrain import PretrainSettings
    from sae_tracks.pretrain.pretrain import pretrain as run
    from sae_tracks.progress import counter
    from sae_tracks.train.parallel import is_first

    use_share_of_threads(threads)
    fasta = Genome(genome)
    settings = PretrainSettings(size=size.value, steps=steps, batch_size=batch_size, lr=lr, seed=seed)
    regions = read_regions(held_out, fasta) if held_out else []
    with counter("pretraining", steps) if is_first() else nullcontext(lambda words, step: None) as advance:
        scores = run(
            fasta,
            out,
            settings,
            held_out=regions,
            device=device,
            on_step=lambda step, loss: advance(f"loss {loss:.3f}", step),
        )
    for line in scores.lines() if scores else []:
        log.info("%s", line)
    if scores and (warning := scores.warning()):
        log.warning("%s", warning)
    log.info("model in %s", out)
