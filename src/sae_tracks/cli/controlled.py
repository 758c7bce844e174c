"""The options of the controls, and what they stand for."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from sae_tracks.controls.holder import Holder
    from sae_tracks.source import Source


class Controls(StrEnum):
    """How much is done to tell whether a match is real."""

    standard = "standard"
    untrained = "untrained"
    none = "none"


ControlsOption = Annotated[
    Controls,
    typer.Option("--controls", help="standard; untrained: models without training too (long); none: scores alone."),
]
MotifsOption = Annotated[
    str | None,
    typer.Option(
        "--motifs", metavar="FILE|RELEASE", help="Matrices of the motifs scored, for decoys: a file, or JASPAR2024."
    ),
]
DecoysOption = Annotated[int, typer.Option(min=1, help="Column-shuffled decoys a motif.")]
RepeatsOption = Annotated[
    str | None,
    typer.Option("--repeats", metavar="FILE|softmask|alu", help="Repeats: rmsk, .out, any BED, lower case, or Alu."),
]
TrainedOnOption = Annotated[
    Path | None,
    typer.Option("--trained-on", help="Activations that the SAE was trained on, for untrained models (it knows them)."),
]
SeedsOption = Annotated[
    list[str] | None, typer.Option("--seeds", metavar="SAE", help="SAE of another seed to compare; repeatable.")
]


def holder(
    source: "Source",
    sae: str,
    thresholds: list[float],
    scale: str,
    out: Path,
    *,
    controls: Controls,
    motifs: str | None,
    decoys: int,
    repeats: str | None,
    alias: str | None,
    seeds: list[str] | None,
    trained_on: Path | None,
    min_score: float | None,
) -> "Holder | None":
    """What holds the matches against all else, from the options of these names; None with --controls none."""
    from sae_tracks.controls.holder import Holder, Settings, activations_of

    if controls is Controls.none:
        if motifs or repeats or seeds or trained_on:
            raise SaeTracksError("--controls none: leave out --motifs, --repeats, --seeds and --trained-on")
        return None
    untrained = (trained_on or activations_of(sae)) if controls is Controls.untrained else None
    p = 1e-4 if min_score is None else 10 ** (-min_score / 100)  # UCSC's unit
    settings = Settings(motifs, decoys, repeats, alias, seeds or (), untrained, p)
    return Holder(source, settings, thresholds, scale, out)
