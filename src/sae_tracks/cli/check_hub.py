"""``sae-tracks check-hub``: would UCSC take a hub."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("check-hub", epilog="Example: sae-tracks check-hub tracks/hub.txt")(check_hub)


def check_hub(
    hub: Annotated[Path, typer.Argument(metavar="HUB", help="hub.txt, of this program or any other, or its folder.")],
) -> None:
    """Check a track hub by UCSC's rules, on this machine; exit 1 where UCSC would refuse it or a track.

    What lies at URLs is not looked at.
    """
    from sae_tracks.browsers.hub import check_hub as check

    findings = check(hub)
    errors = sum(finding.error for finding in findings)
    for finding in findings:
        typer.echo(finding)
    typer.echo(f"errors: {errors}, warnings: {len(findings) - errors}")
    raise typer.Exit(min(errors, 1))
