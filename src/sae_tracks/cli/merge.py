"""``sae-tracks merge-shards``: one result from the shards of a long run."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from sae_tracks.cli import effects, insert, motifs
from sae_tracks.cli.inputs import use_threads
from sae_tracks.cli.options import ThreadsOption
from sae_tracks.cli.verb import verb
from sae_tracks.names import counted

EXAMPLE = """The shards: sae-tracks motifs sae/ hg38.fa --shard $i/2 -o shards/$i    (i from 1 to 2)

Example: sae-tracks merge-shards shards/1 shards/2 -o motifs/"""
log = logging.getLogger(__name__)


@verb(EXAMPLE, panel="Explain features")
def merge_shards(
    shards: Annotated[
        list[Path],
        Argument(metavar="FOLDER...", help="All folders that --shard 1/n to n/n of one verb wrote, in any order."),
    ],
    out: Annotated[Path, Option("--out", "-o", help="What the verb itself would write: a folder; of effects a .tsv.")],
    threads: ThreadsOption = None,
) -> None:
    """Join the shards of motifs, effects, compare or insert, and write what one run would have written.

    No language model is read. motifs reads the genome and its other files again.
    """
    from sae_tracks import Insertion, SAEComparison
    from sae_tracks import merge_shards as merge
    from sae_tracks.insight.named import FeatureMotifs

    use_threads(threads)
    merged = merge(shards, out)
    match merged.result:
        case FeatureMotifs(table=table):
            motifs.show(table)
        case SAEComparison() as found:
            typer.echo("\n".join(found.lines()))
        case Insertion(table=table):
            insert.show(table)
        case table:
            effects.show(table)
    log.info("%s of %s merged in %s", counted(len(shards), "shard"), merged.verb, out)
