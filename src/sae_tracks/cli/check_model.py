"""``sae-tracks check-model``: compare a model with published measurements."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.options import DeviceOption
from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from sae_tracks.evaluate.golden import Comparison

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        epilog="Example: sae-tracks check-model LongSafari/hyenadna-small-32k-seqlen-hf --genome hg38.fa",
    )(check_model)


def check_model(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="HyenaDNA: hub id or id@revision, folder, weights.ckpt or demo.")
    ],
    genome: Annotated[
        Path, typer.Option("--genome", help="FASTA of the assembly on which the losses were measured: hg38.")
    ],
    golden: Annotated[
        Path | None, typer.Option(help="JSON of expected losses (default: HyenaDNA small-32k on hg38).")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare the next-base losses of a HyenaDNA with known ones; exit status 1 if they differ."""
    from sae_tracks.evaluate import golden as library
    from sae_tracks.genome import Genome
    from sae_tracks.lm import HyenaDNAReader, load_lm

    expected, fasta = library.read_golden(golden), Genome(genome)
    lm = load_lm(model, 1, device=device)
    if not isinstance(lm, HyenaDNAReader):
        raise SaeTracksError(f"{model} is a {lm.architecture!r} model; losses are compared for HyenaDNA alone")
    compared = library.check_model(lm.causal_lm, fasta, expected)
    typer.echo(_table(compared))
    library.verdict(compared, fasta, expected)
    log.info("%s computes what %s does: %d regions within %g", model, expected.model, len(compared), library.TOLERANCE)


def _table(compared: "list[Comparison]") -> str:
    """A tab-separated table with one row per region, in nats per base."""
    rows = ["region\texpected\tfound\tdifference\tok"]
    for one in compared:
        ok = "yes" if one.ok else "no"
        rows.append(f"{one.region}\t{one.expected:.6f}\t{one.found:.6f}\t{one.difference:+.6f}\t{ok}")
    return "\n".join(rows)
