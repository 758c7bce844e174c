"""The options of the controls, and what they stand for."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.errors import UsageError

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


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of these names."""

    controls: Controls
    motifs: str | None
    decoys: int
    repeats: str | None
    seeds: list[str] | None
    trained_on: Path | None

    def refuse(self, why: str) -> None:
        """Nothing is held against anything: what asks for it is an error, not passed over."""
        asked = {
            "--controls untrained": self.controls is Controls.untrained,
            "--motifs": self.motifs,
            "--repeats": self.repeats,
            "--seeds": self.seeds,
            "--trained-on": self.trained_on,
        }
        given = [name for name, value in asked.items() if value]
        if given:
            raise UsageError(f"{why}, so no controls are run: leave out {', '.join(given)}")


def holder(
    wanted: Wanted,
    source: "Source",
    sae: str,
    thresholds: list[float],
    scale: str,
    out: Path,
    *,
    alias: str | None,
    min_score: float | None,
) -> "Holder":
    """What holds the matches against all else, from the options of these names."""
    from sae_tracks.controls.holder import Holder, Settings, activations_of

    untrained = None
    if wanted.controls is Controls.untrained:
        untrained = wanted.trained_on or activations_of(sae)
    elif wanted.trained_on:
        raise UsageError("--trained-on is for models without training: add --controls untrained, or leave it out")
    p = 1e-4 if min_score is None else 10 ** (-min_score / 100)  # UCSC's unit
    settings = Settings(wanted.motifs, wanted.decoys, wanted.repeats, alias, wanted.seeds or (), untrained, p)
    return Holder(source, settings, thresholds, scale, out)
