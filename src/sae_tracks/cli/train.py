"""``sae-tracks train``: train a sparse autoencoder on shuffled activations, or straight from a language model."""

import logging
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.inputs import parse_black_list, parse_regions, use_share_of_threads
from sae_tracks.cli.options import (
    BlackListOption,
    DeviceOption,
    DryRunOption,
    HookOption,
    LayerOption,
    RegionsOption,
    SeedOption,
    ThreadsOption,
    TrustRemoteCodeOption,
    with_options,
)
from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from sae_tracks.activations.shards import TrainingRows
    from sae_tracks.train.settings import TrainSettings

OWNERS = {"k": ("topk", "batchtopk"), "l1": ("standard",), "l0_coefficient": ("jumprelu",)}  # option: architectures
log = logging.getLogger(__name__)


class Preset(StrEnum):
    """Named settings."""

    default = "default"
    paper = "paper"


class Arch(StrEnum):
    """How features follow from pre-activations."""

    standard = "standard"
    topk = "topk"
    batchtopk = "batchtopk"
    jumprelu = "jumprelu"


class Dtype(StrEnum):
    """Precision of the weights; tf32 is float32 with matrix products in tf32."""

    float32 = "float32"
    tf32 = "tf32"
    float64 = "float64"


class LossName(StrEnum):
    """Reconstruction losses: mean norm, mean squared norm, fraction of variance unexplained."""

    l2norm = "l2norm"
    l2sq = "l2sq"
    nmse = "nmse"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsOptions:
    """Options that replace a setting of the preset; the names are those of `TrainSettings`."""

    arch: Annotated[Arch | None, typer.Option(help="How features follow from pre-activations (default: topk).")] = None
    k: Annotated[
        int | None,
        typer.Option(min=1, help="Active features per row: of topk, and of batchtopk on average (default: d/8)."),
    ] = None
    l1: Annotated[float | None, typer.Option(min=0, help="Weight of the L1 penalty of standard.")] = None
    l0_coefficient: Annotated[float | None, typer.Option(min=0, help="Weight of the L0 penalty of jumprelu.")] = None
    loss: Annotated[LossName | None, typer.Option(help="Reconstruction loss.")] = None
    lr: Annotated[float | None, typer.Option(min=0, help="Learning rate after the warm-up.")] = None
    lr_warmup: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the steps in which the learning rate rises.")
    ] = None
    expansion: Annotated[int | None, typer.Option(min=1, help="Number of features per input channel.")] = None
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per step, over all processes.")] = None

    def settings(self, preset: Preset) -> "TrainSettings":
        """The settings of a preset with those that were given; one of another architecture is an error."""
        from sae_tracks.train.settings import PAPER, RECIPES

        start = PAPER if preset == Preset.paper else RECIPES[self.arch or "topk"]
        given = {name: value for name, value in asdict(self).items() if value is not None}
        texts = {name: value.value for name, value in given.items() if isinstance(value, StrEnum)}
        settings = replace(start, **given | texts)
        for name, archs in OWNERS.items():
            if name in given and settings.arch not in archs:
                option = f"--{name.replace('_', '-')}"
                raise SaeTracksError(
                    f"{option} is of --arch {' and '.join(archs)}; the architecture is {settings.arch}"
                )
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Options that say what to read when a language model is trained on directly."""

    genome: Annotated[
        Path | None, typer.Option(help="FASTA file: train on MODEL's activations on it and store none of them.")
    ] = None
    layer: LayerOption = None
    hook: HookOption = None
    n_windows: Annotated[
        int | None,
        typer.Option("--n-windows", "-n", min=1, help="Number of windows to sample, with --genome (default: all)."),
    ] = None
    regions: RegionsOption = None
    black_list: BlackListOption = None
    buffer: Annotated[str | None, typer.Option(help="Memory to mix rows in, with --genome (default: 2G).")] = None
    trust_remote_code: TrustRemoteCodeOption = False

    def rows(self, data: str, seed: int, device: str) -> "TrainingRows":
        """The rows of a folder of shards or, with --genome, of a language model."""
        from sae_tracks.activations.extract import plan_extraction
        from sae_tracks.activations.shards import open_shards
        from sae_tracks.activations.shuffle import parse_size
        from sae_tracks.activations.stream import StreamedActivations
        from sae_tracks.genome import Genome
        from sae_tracks.lm import load_lm
        from sae_tracks.lm.protocol import place

        if self.genome is None:
            if any(value not in (None, False) for value in asdict(self).values()):
                raise SaeTracksError("--layer, --hook, -n, --regions, -bl, --buffer, --trust-remote-code need --genome")
            return open_shards(Path(data))
        lm = load_lm(data, self.layer, hook=self.hook, device=device, trust_remote_code=self.trust_remote_code)
        genome = Genome(self.genome)
        regions, black_list = parse_regions(genome, None, self.regions), parse_black_list(genome, self.black_list)
        windows = plan_extraction(lm, genome, regions, sample=self.n_windows, seed=seed, black_list=black_list)
        rows = StreamedActivations(windows, seed=seed, memory=parse_size(self.buffer or "2G"))
        log.info("%s, %s; %d windows are mixed at a time", data, place(lm), rows.group_windows)
        return rows


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks train shuffled/ -o sae/ --k 32 --expansion 32")(with_options()(train))


def train(
    data: Annotated[
        str,
        typer.Argument(
            metavar="SHARDS|MODEL",
            help="Folder of shuffled activation shards, or with --genome the language model to read.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="SAE directory to write.")],
    preset: Annotated[Preset, typer.Option(help="Settings to start from; paper: arXiv 2507.07486.")] = Preset.default,
    *,
    changes: SettingsOptions,
    reading: StreamOptions,
    d_sae: Annotated[int | None, typer.Option(min=1, help="Number of features.")] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Number of rows to train on, in whole batches (default: every row once).")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: Annotated[Dtype, typer.Option(help="Precision of the weights and products.")] = Dtype.float32,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write a log for TensorBoard.")] = False,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Train a sparse autoencoder, measure its features, and write an SAE directory that SAELens opens.

    With --genome the activations of MODEL are trained on as they are read, and none are stored.

    It continues an interrupted run. On several GPUs or processes: torchrun --nproc-per-node 2 -m sae_tracks train ...
    """
    if d_sae and changes.expansion:
        raise SaeTracksError("--d-sae and --expansion both say how many features: give one")
    settings = changes.settings(preset)
    from sae_tracks.progress import counter
    from sae_tracks.train.parallel import is_first
    from sae_tracks.train.plan import plan_training
    from sae_tracks.train.train import time_step, train_sae

    use_share_of_threads(threads)
    rows = reading.rows(data, seed, device)
    plan = plan_training(rows, settings, d_sae=d_sae, rows=tokens, seed=seed, device=device, dtype=dtype.value)
    sizes = plan.d_sae, settings.arch, plan.steps, settings.batch_size, f"{rows.rows:,}"
    log.info("%d features (%s), %d steps of %d rows; there are %s", *sizes)
    if dry_run:
        log.info("memory %.3g GiB, about %.0f s", plan.memory / 2**30, plan.steps * time_step(plan))
        return
    with counter("training", plan.steps) if is_first() else nullcontext(lambda words, step: None) as advance:
        trained = train_sae(plan, out, advance, tensorboard=tensorboard)
    if trained:
        log.info("L0 %(l0).1f, FVU %(fvu).4f, dead %(dead).3f over %(rows)d rows", trained.metadata["maxima"])
        log.info("SAE in %s", out)
