"""``sae-tracks describe``: one line per feature in plain words."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from sae_tracks.cli.inputs import parse_features
from sae_tracks.cli.options import SaePath, SomeFeaturesOption, out_folder
from sae_tracks.cli.verb import verb
from sae_tracks.names import counted

SHOWN = 20
log = logging.getLogger(__name__)


@verb(
    """One feature: sae-tracks describe sae/ scores/ motifs/ -f 357

Example: sae-tracks describe sae/ scores/ motifs/ insertion/ -o scores/""",
    panel="Explain features",
)
def describe(
    sae: SaePath,
    folders: Annotated[
        list[Path], Argument(metavar="FOLDER...", help="What metrics, motifs, insert, effects and compare wrote.")
    ],
    out: Annotated[
        Path | None, out_folder("Folder of describe.tsv and describe.json (default: none is written).")
    ] = None,
    features: SomeFeaturesOption = None,
) -> None:
    """Say in one line per feature what is known of it, from the tables of other verbs alone.

    A feature has a name only if a test gives it one. Hub, sessions and page show names that lie beside the scores.
    """
    from sae_tracks import describe_features, load_sae
    from sae_tracks.insight.describe import find_tables, write_description
    from sae_tracks.names import DESCRIBED, NO_NAME

    loaded = load_sae(sae)
    table = describe_features(loaded, folders)
    named = table["name"] != NO_NAME
    if out:
        sources = {name: str(path) for name, path in find_tables(folders).items()}
        write_description(table, out, **loaded.facts, tables=sources)
        log.info("%s in %s", counted(len(table), "feature"), out / DESCRIBED)
    if features:
        shown = loaded.check_features(parse_features(features)).tolist()
    else:
        shown = named.to_numpy().nonzero()[0][:SHOWN].tolist()
    for number in shown:
        typer.echo(f"{table['feature'].iloc[number]} {table['line'].iloc[number]}")
    log.info("%d of %d features have a name", named.to_numpy().sum(), len(table))
