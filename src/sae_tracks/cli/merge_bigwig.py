"""``sae-tracks merge-bigwig``: the bigWigs of shards."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import ThreadsOption, use_threads

EPILOG = """The parts: sae-tracks export-bigwig sae/ hg38.fa -f 357 --shard $i/2 -o parts/$i    (for i from 1 to 2)

Example: sae-tracks merge-bigwig parts/1 parts/2 -o tracks/"""
log = logging.getLogger(__name__)

Parts = Annotated[
    list[Path], typer.Argument(metavar="FOLDER...", help="What export-bigwig --shard i/n wrote, every part.")
]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("merge-bigwig", epilog=EPILOG)(merge_bigwig)


def merge_bigwig(
    parts: Parts,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bigWigs.")],
    threads: ThreadsOption = None,
) -> None:
    """Write the bigWigs of all shards: the bytes of one run over all of them."""
    from sae_tracks.tracks import merge_bigwigs

    paths = merge_bigwigs(parts, out, threads=use_threads(threads))
    log.info("%d bigWigs in %s", len(paths), out)
