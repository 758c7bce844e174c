"""``sae-tracks evaluate``: how well a language model predicts when it works through an SAE."""

import json
import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.inputs import parse_regions, use_threads
from sae_tracks.cli.options import (
    DeviceOption,
    GenomePath,
    MismatchOption,
    ModelOption,
    RegionOption,
    RegionsOption,
    SaePath,
    ThreadsOption,
)
from sae_tracks.errors import SaeTracksError

EPILOG = "Example: sae-tracks evaluate sae/ hg38.fa -r chr20:30,000,001-31,000,000"
log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=EPILOG)(evaluate)


def evaluate(
    sae: SaePath,
    genome: GenomePath,
    region: RegionOption = None,
    regions: RegionsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write (default: evaluation.json in the SAE directory).")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    allow_mismatch: MismatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON record instead of a table.")] = False,
) -> None:
    """Measure how much of its prediction a language model keeps through an SAE, and the SAE's L0 and FVU."""
    from sae_tracks.evaluate.recovered import (
        measure_recovered,
        next_base_reader,
        seen_text,
        trained_bases,
        write_evaluation,
    )
    from sae_tracks.genome import Genome
    from sae_tracks.sae import load_sae
    from sae_tracks.sae.directory import check_match
    from sae_tracks.source import sae_language_model

    target = _target(sae, out)
    use_threads(threads)
    fasta, loaded = Genome(genome), load_sae(sae)
    where = fasta.merged(parse_regions(fasta, region, regions))
    lm = next_base_reader(sae_language_model(loaded, model, device))
    check_match(loaded, lm, allow_mismatch=allow_mismatch)
    trained = trained_bases(loaded, Path(sae), fasta, where)
    measured = measure_recovered(lm, loaded, fasta, where)
    record = write_evaluation(target, measured, lm, loaded, fasta, where, trained)
    typer.echo(json.dumps(record, indent=1) if as_json else "\n".join([*measured.lines(), seen_text(trained)]))
    log.info("evaluation in %s", target)


def _target(sae: str, out: Path | None) -> Path:
    """The file to write; one that cannot be written is an error before anything is measured."""
    from sae_tracks.evaluate.info import EVALUATION

    if out is None and not Path(sae).is_dir():
        raise SaeTracksError(f"{sae} is not a local folder: name the file to write with -o")
    target = out or Path(sae) / EVALUATION
    if target.is_dir():
        raise SaeTracksError(f"cannot write {target}: it is a folder; name a file")
    if target.parent.is_dir() and not os.access(target.parent, os.W_OK):
        raise SaeTracksError(f"cannot write into {target.parent}: name another file with -o")
    return target
