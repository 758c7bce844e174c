"""``sae-tracks evaluate``, ``info``, ``check-seams`` and ``check-model``: how good an SAE and its model are."""

import json
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from sae_tracks.cli.inputs import open_source, parse_features, use_threads
from sae_tracks.cli.options import (
    DeviceOption,
    GenomePath,
    ReadingOptions,
    SaePath,
    ScaleOption,
    SomeFeaturesOption,
    ThresholdOption,
    out_folder,
)
from sae_tracks.cli.verb import Given, verb
from sae_tracks.errors import SaeTracksError
from sae_tracks.names import counted

if TYPE_CHECKING:
    import pandas as pd

    from sae_tracks.evaluate.golden import Comparison
    from sae_tracks.evaluate.outputs import RecoveredOutputs
    from sae_tracks.evaluate.recovered import Recovered
    from sae_tracks.genome import Genome
    from sae_tracks.lm import GeneLM
    from sae_tracks.regions import GenomicRegion
    from sae_tracks.sae import SAE

PANEL = "Judge an SAE"
WIDTHS = (11, 8, 8, 15, 7)  # of the columns of numbers of check-seams
log = logging.getLogger(__name__)


@verb(
    "Example: sae-tracks evaluate sae/ hg38.fa -r chr20:30,000,001-31,000,000",
    panel=PANEL,
    without=["black_list", "min_context"],
)
def evaluate(
    sae: SaePath,
    genome: GenomePath,
    *,
    reading: ReadingOptions,
    out: Annotated[
        Path | None, Option("--out", "-o", help="File to write (default: evaluation.json in the SAE directory).")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the JSON record instead of a table.")] = False,
    given: Given,
) -> None:
    """Measure how well a model predicts through an SAE, and the SAE's L0 and FVU.

    A HyenaDNA predicts the next base, on the + strand, and so do Markov models of the rest of the FASTA. Of a plug-in
    that offers outputs, these are compared.
    """
    from sae_tracks import Genome, load_sae
    from sae_tracks.evaluate import recovered
    from sae_tracks.sae.directory import check_match
    from sae_tracks.source import sae_language_model

    target = _target(sae, out)
    use_threads(reading.threads)
    fasta, loaded = Genome(genome), load_sae(sae)
    regions = fasta.merged(reading.regions_in(fasta))
    lm = sae_language_model(loaded, reading.model, reading.device, reading.trust_remote_code)
    check_match(loaded, lm, allow_mismatch=reading.allow_mismatch)
    measured = _measure(lm, loaded, fasta, regions, reading, given)
    trained = recovered.trained_bases(loaded, Path(sae), fasta, regions)
    record = recovered.write_evaluation(target, measured.record(), lm, loaded, fasta, regions, trained)
    lines = [*measured.lines(), recovered.seen_text(trained)]
    typer.echo(json.dumps(record, indent=1) if as_json else "\n".join(lines))
    log.info("evaluation in %s", target)


def _measure(
    lm: "GeneLM",
    sae: "SAE",
    genome: "Genome",
    regions: "list[GenomicRegion]",
    reading: ReadingOptions,
    given: Given,
) -> "Recovered | RecoveredOutputs":
    """Measure a model's own outputs if it offers them, else its next-base cross entropy."""
    from sae_tracks.evaluate import outputs, recovered
    from sae_tracks.lm.outputs import OffersOutputs
    from sae_tracks.lm.rest import next_base_reader
    from sae_tracks.reading import window_layout

    if isinstance(lm, OffersOutputs):
        layout = window_layout(lm, reading.window_size, reading.context)
        return outputs.measure_outputs(lm, sae, genome, regions, layout, reading.read_strands)
    reader = next_base_reader(lm)
    given.refuse_if(True, "the windows of the next-base loss are fixed", "read_strand", "window_size", "context")
    markov = recovered.best_markov(genome, regions)
    return replace(recovered.measure_recovered(reader, sae, genome, regions), markov=markov)


def _target(sae: str, out: Path | None) -> Path:
    """Return the file to write. One that cannot be written is an error before anything is measured."""
    from sae_tracks.evaluate.info import EVALUATION

    if out is None and not Path(sae).is_dir():
        raise SaeTracksError(f"{sae} is not a local folder: name the file to write with -o")
    target = out or Path(sae) / EVALUATION
    if target.is_dir():
        raise SaeTracksError(f"cannot write {target}: it is a folder; name a file")
    if target.parent.is_dir() and not os.access(target.parent, os.W_OK):
        raise SaeTracksError(f"cannot write into {target.parent}: name another file with -o")
    return target


@verb("Example: sae-tracks info sae/ --scores scores/ --against sae-of-another-seed/", panel=PANEL)
def info(
    sae: SaePath,
    against: Annotated[
        list[str] | None,
        Option(metavar="SAE", help="Another SAE, whose features are paired one to one with these; repeatable."),
    ] = None,
    scores: Annotated[
        Path | None, Option(help="What metrics wrote: adds how many concepts have each verdict, per 1,000 features.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print a JSON record instead of text.")] = False,
    multiqc: Annotated[
        Path | None,
        Option(
            metavar="PREFIX",
            help="Also write PREFIX.sae_mqc.json for MultiQC and, with --scores, PREFIX.verdicts_mqc.json.",
        ),
    ] = None,
) -> None:
    """Print how an SAE was made, what it was found to mean, and whether it and its language model are good enough."""
    from sae_tracks import load_sae
    from sae_tracks.evaluate.compare import matched_cosine
    from sae_tracks.evaluate.info import report_lines, sae_record

    record = sae_record(sae, scores)
    stabilities = {name: matched_cosine(load_sae(sae), load_sae(name)) for name in against or []}
    if multiqc:
        from sae_tracks.report.multiqc import write_multiqc

        written = write_multiqc(record, multiqc)
        log.info("for MultiQC: %s", " and ".join(map(str, written)))
    if as_json:
        pairs = [{"sae": name, **asdict(stability)} for name, stability in stabilities.items()]
        return typer.echo(json.dumps(record | {"against": pairs}, indent=1))
    *lines, faithful, beyond = report_lines(record)
    comparisons = [f"against {name}: {stability.line()}" for name, stability in stabilities.items()]
    typer.echo("\n".join([*lines, *comparisons, faithful, beyond]))


@verb(
    "Example: sae-tracks check-seams sae/ hg38.fa -r chr14:87,000,001-87,500,000 -o seams/",
    panel=PANEL,
    without=["min_context"],
)
def check_seams(
    sae: SaePath,
    genome: GenomePath,
    out: Annotated[Path, out_folder("Folder of seams.tsv, seams_by_feature.parquet and seams.png.")],
    features: SomeFeaturesOption = None,
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = "max",
    *,
    reading: ReadingOptions,
) -> None:
    """Measure how features change with the context of a base. Use it to choose --context."""
    from sae_tracks.evaluate.seams import measure_seams, write_seams
    from sae_tracks.files import make_folder, write_provenance
    from sae_tracks.report.figures import plot_seams, save_figure

    ids = parse_features(features) if features else None
    source = open_source(sae, genome, reading)
    make_folder(out)
    measured = measure_seams(source, ids, threshold, scale)
    table = write_seams(measured, out)
    save_figure(plot_seams(table), out / "seams.png")
    write_provenance(out, **source.provenance(), features=ids, threshold=threshold, scale=scale)
    typer.echo(_seams_table(table))
    for seams in measured:
        typer.echo(seams.advice(source.layout.context))
    log.info("seams of %s in %s", counted(len(measured[0].features), "feature"), out)


def _seams_table(table: "pd.DataFrame") -> str:
    """Format the rows of ``seams.tsv`` as text of 80 columns."""
    from sae_tracks.evaluate.seams import bin_text

    titles = ("difference", "Jaccard", "median", "worst feature", "rare")
    rows = [f"{'read':4}{'context':>15}{'bases':>12}" + "".join(f"{title:>{n}}" for title, n in zip(titles, WIDTHS))]
    for row in table.to_dict("records"):
        context = bin_text(row["context_from"], row["context_to"])
        worst = f"{row['worst']} {row['jaccard_min']:.3f}" if row["features"] else "-"
        shares = f"{row['jaccard']:.3f}", f"{row['jaccard_median']:.3f}"
        cells = f"{row['mean_difference']:.3g}", *shares, worst, f"{row['rare']:,}"
        columns = "".join(f"{cell:>{n}}" for cell, n in zip(cells, WIDTHS))
        rows.append(f"{row['read_strand']:4}{context:>15}{row['bases']:12,}{columns}")
    return "\n".join(rows)


@verb(
    "Example: sae-tracks check-model LongSafari/hyenadna-small-32k-seqlen-hf --genome hg38.fa", panel="Models and data"
)
def check_model(
    model: Annotated[
        str, Argument(metavar="MODEL", help="HyenaDNA: hub id or id@revision, folder, weights.ckpt or demo.")
    ],
    genome: Annotated[Path, Option("--genome", help="FASTA of the assembly on which the losses were measured: hg38.")],
    golden: Annotated[
        Path | None, Option(help="JSON of expected losses (default: those of HyenaDNA small-32k on hg38).")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare the next-base losses of a HyenaDNA with known ones. The exit status is 1 if they differ."""
    from sae_tracks import Genome, load_lm
    from sae_tracks.evaluate import golden as library
    from sae_tracks.lm import HyenaDNAReader

    expected, fasta = library.read_golden(golden), Genome(genome)
    lm = load_lm(model, 1, device=device)
    if not isinstance(lm, HyenaDNAReader):
        raise SaeTracksError(f"{model} is a {lm.architecture!r} model; losses are compared for HyenaDNA only")
    compared = library.check_model(lm.causal_lm, fasta, expected)
    typer.echo(_losses_table(compared))
    library.verdict(compared, fasta, expected)
    regions = counted(len(compared), "region")
    log.info("%s computes what %s does: %s within %g", model, expected.model, regions, library.TOLERANCE)


def _losses_table(compared: "list[Comparison]") -> str:
    """Return a tab-separated table with one row per region, in nats per base."""
    rows = ["region\texpected\tfound\tdifference\tok"]
    for one in compared:
        ok = "yes" if one.ok else "no"
        rows.append(f"{one.region}\t{one.expected:.6f}\t{one.found:.6f}\t{one.difference:+.6f}\t{ok}")
    return "\n".join(rows)
