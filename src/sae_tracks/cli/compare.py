"""``sae-tracks compare``: the features of two SAEs, matched by their activations."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from sae_tracks.cli.inputs import open_source
from sae_tracks.cli.options import SAE_HELP, GenomePath, InsightShardOption, ReadingOptions, out_folder
from sae_tracks.cli.verb import verb
from sae_tracks.names import counted

if TYPE_CHECKING:
    from sae_tracks.source import Source

EXAMPLE = """Meanings: sae-tracks compare sae-1/ sae-2/ hg38.fa -r chr14 --from-a scores-1/ --from-b scores-2/ -o out/

Example: sae-tracks compare sae-1/ sae-2/ hg38.fa -r chr14 -o compared/"""
SCORES = "What `sae-tracks metrics` wrote for {}: adds what the features mean, and whether that carries over."
KNOWN = ("weights_sha256", "hook_name")  # what identifies the place that an SAE reads
log = logging.getLogger(__name__)


@verb(EXAMPLE, panel="Explain features")
def compare(
    a: Annotated[str, Argument(metavar="A", help=f"{SAE_HELP}.")],
    b: Annotated[str, Argument(metavar="B", help="Another: of another seed, layer or model.")],
    genome: GenomePath,
    out: Annotated[Path, out_folder("Folder of compare.parquet and compare.tsv.")],
    from_a: Annotated[Path | None, Option("--from-a", metavar="SCORES", help=SCORES.format("A"))] = None,
    from_b: Annotated[Path | None, Option("--from-b", metavar="SCORES", help=SCORES.format("B"))] = None,
    *,
    reading: ReadingOptions,
    shard: InsightShardOption = None,
) -> None:
    """Match the features of two SAEs by their activations on the same bases. Say which replicate."""
    from sae_tracks import compare_saes
    from sae_tracks.insight.compare import CompareRun
    from sae_tracks.insight.shards import run_shard
    from sae_tracks.regions import parse_shard

    part = parse_shard(shard)
    source = open_source(a, genome, reading)
    other = _beside(source, b, reading)
    if shard:
        run_shard(CompareRun(source, other, from_a, from_b), out, part)
        return
    found = compare_saes(source, other, out, from_a=from_a, from_b=from_b)
    typer.echo("\n".join(found.lines()))
    log.info("%s in %s", counted(len(found.table), "feature"), out)


def _beside(source: "Source", b: str, reading: ReadingOptions) -> "Source":
    """Open the other SAE on the same bases. A model that both were trained on is loaded once."""
    from sae_tracks import load_sae
    from sae_tracks.source import sae_language_model

    sae = load_sae(b)
    ours, theirs = ({key: one.metadata.get("lm", {}).get(key) for key in KNOWN} for one in (source.sae, sae))
    same = reading.model or (ours == theirs and None not in ours.values())
    lm = source.lm if same else sae_language_model(sae, None, reading.device, reading.trust_remote_code)
    return replace(source, sae=sae, lm=lm)
