"""``sae-tracks info``: what an SAE is, how good it is, and whether another training run finds the same features."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.options import SaePath

if TYPE_CHECKING:
    from sae_tracks.evaluate.compare import Stability

EPILOG = "Example: sae-tracks info sae/ --against sae-of-another-seed/"


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=EPILOG)(info)


def info(
    sae: SaePath,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="SAE", help="Compare features, matched one to one, with those of this SAE; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON record instead of text.")] = False,
) -> None:
    """Print the origin of an SAE, its sparsity and fidelity, and whether it is ready to interpret."""
    from sae_tracks.evaluate.info import report_lines, sae_record

    record, compared = sae_record(sae), _compare(sae, against or [])
    if as_json:
        pairs = [{"sae": name, **asdict(stability)} for name, stability in compared]
        return typer.echo(json.dumps(record | {"against": pairs}, indent=1))
    *lines, verdict = report_lines(record)
    comparisons = [f"against {name}: {stability.line()}" for name, stability in compared]
    typer.echo("\n".join([*lines, *comparisons, verdict]))


def _compare(sae: str, others: list[str]) -> "list[tuple[str, Stability]]":
    from sae_tracks.evaluate.compare import matched_cosine
    from sae_tracks.sae import load_sae

    ours = load_sae(sae) if others else None
    return [(name, matched_cosine(ours, load_sae(name))) for name in others] if ours else []
