"""``sae-tracks train``: train a sparse autoencoder on shuffled activations."""

import logging
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.inputs import use_share_of_threads
from sae_tracks.cli.options import DeviceOption, DryRunOption, SeedOption, ThreadsOption, with_options
from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
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


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks train shuffled/ -o sae/ --k 32 --expansion 32")(with_options()(train))


def train(
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder of shuffled activation shards.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="SAE directory to write.")],
    preset: Annotated[Preset, typer.Option(help="Settings to start from; paper: arXiv 2507.07486.")] = Preset.default,
    *,
    changes: SettingsOptions,
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

    It continues an interrupted run. On several GPUs or processes: torchrun --nproc-per-node 2 -m sae_tracks train ...
    """
    if d_sae and changes.expansion:
        raise SaeTracksError("--d-sae and --expansion both say how many features: give one")
    settings = changes.settings(preset)
    from sae_tracks.activations.shards import open_shards
    from sae_tracks.progress import counter
    from sae_tracks.train.parallel import is_first
    from sae_tracks.train.plan import plan_training
    from sae_tracks.train.train import time_step, train_sae

    use_share_of_threads(threads)
    data = open_shards(shards)
    plan = plan_training(data, settings, d_sae=d_sae, rows=tokens, seed=seed, device=device, dtype=dtype.value)
    sizes = plan.d_sae, settings.arch, plan.steps, settings.batch_size, f"{data.rows:,}"
    log.info("%d features (%s), %d steps of %d rows; there are %s", *sizes)
    if dry_run:
        log.info("memory %.3g GiB, about %.0f s", plan.memory / 2**30, plan.steps * time_step(plan))
        return
    with counter("training", plan.steps) if is_first() else nullcontext(lambda words, step: None) as advance:
        trained = train_sae(plan, out, advance, tensorboard=tensorboard)
    if trained:
        log.info("L0 %(l0).1f, FVU %(fvu).4f, dead %(dead).3f over %(rows)d rows", trained.metadata["maxima"])
        log.info("SAE in %s", out)
