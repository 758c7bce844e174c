"""``sae-tracks train`` and ``pretrain``: train a sparse autoencoder, or a small gene language model."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from typer import Argument, Option

from sae_tracks.cli.inputs import open_extraction, use_share_of_threads
from sae_tracks.cli.options import (
    DeviceOption,
    DryRunOption,
    GenomePath,
    HookOption,
    LayerOption,
    ReadingOptions,
    SeedOption,
    ThreadsOption,
    WindowsOption,
    out_folder,
)
from sae_tracks.cli.verb import Given, verb
from sae_tracks.errors import UsageError

if TYPE_CHECKING:
    from sae_tracks.train.settings import TrainSettings

OWNERS = {"k": ("topk", "batchtopk"), "l1": ("standard",), "l0_coefficient": ("jumprelu",)}  # option: architectures
OF_A_GENOME = ("layer", "hook", "n_windows", "memory", "region", "regions", "black_list", "read_strand", "window_size")
OF_A_GENOME += ("context", "min_context", "trust_remote_code")  # options that only `train --genome` uses
Preset = Literal["default", "paper"]
Size = Literal["nano", "tiny", "compact", "small-32k"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsOptions:
    """Options that replace a setting of the preset; the names are those of `TrainSettings`."""

    HEADING: ClassVar[str] = "Settings of the training"
    arch: Annotated[
        Literal["standard", "topk", "batchtopk", "jumprelu"] | None,
        Option(help="Architecture: how features follow from pre-activations (default: topk)."),
    ] = None
    k: Annotated[
        int | None,
        Option(min=1, help="Active features per row, for topk; their mean, for batchtopk (default: d_model / 8)."),
    ] = None
    l1: Annotated[float | None, Option(min=0, help="Weight of the L1 penalty, for standard.")] = None
    l0_coefficient: Annotated[float | None, Option(min=0, help="Weight of the L0 penalty, for jumprelu.")] = None
    loss: Annotated[
        Literal["l2norm", "l2sq", "nmse"] | None,
        Option(help="Reconstruction loss: mean norm, mean squared norm, or share of the variance unexplained."),
    ] = None
    lr: Annotated[float | None, Option(min=0, help="Learning rate after the warm-up.")] = None
    lr_warmup: Annotated[
        float | None, Option(min=0, max=1, help="Share of the steps in which the learning rate rises.")
    ] = None
    expansion: Annotated[int | None, Option(min=1, help="Number of features per input dimension.")] = None
    batch_size: Annotated[int | None, Option(min=1, help="Rows per step, over all processes.")] = None

    def settings(self, preset: Preset) -> "TrainSettings":
        """Return the settings of a preset with those that were given."""
        from sae_tracks.train.settings import PAPER, RECIPES

        start = PAPER if preset == "paper" else RECIPES[self.arch or "topk"]
        given = {name: value for name, value in asdict(self).items() if value is not None}
        settings = replace(start, **given)
        for name, archs in OWNERS.items():
            if name in given and settings.arch not in archs:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} is of --arch {' and '.join(archs)}; the architecture is {settings.arch}")
        return settings


@verb(
    "Example: sae-tracks train shuffled/ -o sae/ --k 32 --expansion 32",
    panel="Train an SAE",
    without=["model", "allow_mismatch"],
    resumes=True,
)
def train(
    data: Annotated[str, Argument(metavar="SHARDS|MODEL", help="Shuffled shards; with --genome a language model.")],
    out: Annotated[Path, out_folder("SAE directory to write.")],
    preset: Annotated[Preset, Option(help="Settings to start from. paper: those of arXiv 2507.07486.")] = "default",
    *,
    changes: SettingsOptions,
    d_sae: Annotated[int | None, Option(min=1, help="Number of features.")] = None,
    tokens: Annotated[
        int | None, Option(min=1, help="Number of rows to train on, in whole batches (default: every row once).")
    ] = None,
    genome: Annotated[
        Path | None, Option(help="FASTA: train on MODEL's activations along it, and store none of them.")
    ] = None,
    layer: LayerOption = None,
    hook: HookOption = None,
    n_windows: WindowsOption = None,
    reading: ReadingOptions,
    memory: Annotated[str, Option(help="Memory in which rows are mixed, with --genome.")] = "2G",
    seed: SeedOption = 0,
    dtype: Annotated[
        Literal["float32", "tf32", "float64"], Option(help="Precision; tf32: of matrix products, with float32 weights.")
    ] = "float32",
    tensorboard: Annotated[bool, Option("--tensorboard", help="Also write a log for TensorBoard.")] = False,
    dry_run: DryRunOption = False,
    given: Given,
) -> None:
    """Train a sparse autoencoder, measure its features, and write an SAE directory that SAELens opens.

    With --genome the activations of MODEL are used as they are read, and none are stored.

    On several GPUs or processes: torchrun --nproc-per-node 2 -m sae_tracks train ...
    """
    if d_sae and changes.expansion:
        raise UsageError("--d-sae and --expansion both say how many features: give one")
    given.refuse_if(not genome, "only train MODEL --genome FASTA reads a genome", *OF_A_GENOME)
    settings = changes.settings(preset)
    from sae_tracks import StreamedActivations, open_shards, plan_training, train_sae
    from sae_tracks.activations.shuffle import parse_size
    from sae_tracks.train.train import check_run, time_step

    use_share_of_threads(reading.threads)
    if genome:
        windows = open_extraction(data, genome, reading, layer=layer, hook=hook, sample=n_windows, seed=seed)
        rows = StreamedActivations(windows, seed=seed, memory=parse_size(memory))
        log.info("windows mixed at a time: %d", rows.group_windows)
    else:
        rows = open_shards(data)
    plan = plan_training(rows, settings, d_sae=d_sae, rows=tokens, seed=seed, device=reading.device, dtype=dtype)
    sizes = plan.d_sae, settings.arch, plan.steps, settings.batch_size, f"{rows.rows:,}"
    log.info("%d features (%s), %d steps of %d rows; there are %s", *sizes)
    if dry_run:
        check_run(plan, out, tensorboard=tensorboard)
        log.info("memory %.3g GiB, time %s", plan.memory / 2**30, time_step(plan).times(plan.steps))
        return
    with _bar("training", plan.steps) as advance:
        trained = train_sae(plan, out, advance, tensorboard=tensorboard)
    if trained:
        log.info("L0 %(l0).1f, FVU %(fvu).4f, dead %(dead).3f over %(rows)d rows", trained.metadata["maxima"])
        log.info("SAE in %s", out)


@verb(
    "Example: sae-tracks pretrain hg38.fa -o lm/ --size nano --held-out chr8.bed", panel="Models and data", resumes=True
)
def pretrain(
    genome: GenomePath,
    out: Annotated[Path, out_folder("Folder for the model.")],
    size: Annotated[
        Size,
        Option(
            help="Blocks x width, and window: nano 4 x 128, 2k; tiny 2 x 128, 1k; compact 4 x 128, 512, which learns a "
            "small genome fastest; small-32k 4 x 256, 32k."
        ),
    ] = "nano",
    steps: Annotated[int, Option(min=0, help="Optimizer steps; 0 saves an untrained model.")] = 4000,
    batch_size: Annotated[int, Option(min=1, help="Windows per step, over all processes.")] = 16,
    lr: Annotated[float, Option(min=0, help="Peak learning rate.")] = 3e-3,
    held_out: Annotated[Path | None, Option(help="BED file of regions to hold out, and to score at the end.")] = None,
    dtype: Annotated[
        Literal["float32", "bf16"],
        Option(help="bf16: matrix products in bfloat16, faster on GPUs and on CPUs with AMX, much slower on others."),
    ] = "float32",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    *,
    given: Given,
) -> None:
    """Train a small HyenaDNA by next-base prediction on both strands.

    On several GPUs or processes: torchrun --nproc-per-node 2 -m sae_tracks pretrain hg38.fa -o lm/
    """
    given.refuse_if(steps == 0, "--steps 0 trains nothing", "batch_size", "lr", "dtype")
    from sae_tracks import Genome
    from sae_tracks.annotations import read_regions
    from sae_tracks.pretrain import pretrain as library

    use_share_of_threads(threads)
    fasta = Genome(genome)
    settings = library.PretrainSettings(size=size, steps=steps, batch_size=batch_size, lr=lr, dtype=dtype, seed=seed)
    regions = read_regions(held_out, fasta) if held_out else []
    with _bar("pretraining", steps, library.LOG_EVERY) as advance:

        def on_step(step: int, loss: float) -> None:
            advance(f"loss {loss:.4f}", step)

        scores = library.pretrain(fasta, out, settings, held_out=regions, device=device, on_step=on_step)
    for line in scores.lines() if scores else []:
        log.info("%s", line)
    if scores and (warning := scores.warning()):
        log.warning("%s", warning)
    log.info("model in %s", out)


def _bar(name: str, steps: int, lines_every: int = 0) -> AbstractContextManager[Callable[..., None]]:
    """Return a progress bar, which only the first process draws."""
    from sae_tracks.progress import counter
    from sae_tracks.train.parallel import is_first

    return counter(name, steps, lines_every=lines_every) if is_first() else nullcontext(lambda words, step: None)
