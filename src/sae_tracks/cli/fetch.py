"""``sae-tracks fetch``: models, genomes and JASPAR's data."""

import logging
from pathlib import Path
from typing import Annotated

import typer

log = logging.getLogger(__name__)
HELP = """Download models, genomes and JASPAR's matrices and sites: checked, cached, resumed where a transfer broke off.

Beside each file OUT stands OUT.provenance.json: address, date, checksum, and what that was checked against.
The cache is --cache, else $SAE_TRACKS_CACHE, else the system's; models lie in the Hugging Face cache ($HF_HOME).
Mirrors: $SAE_TRACKS_UCSC, $SAE_TRACKS_JASPAR, $SAE_TRACKS_JASPAR_SITES, $HF_ENDPOINT."""
AssemblyName = Annotated[str, typer.Argument(metavar="ASSEMBLY", help="UCSC's name: hg38, hg19, mm10, ce11, ...")]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of downloads (default: $SAE_TRACKS_CACHE, else the system's).")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Use only what was downloaded before.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace OUT where it has other content.")]
ReleaseOption = Annotated[str, typer.Option(help="JASPAR's release.")]


def add_to(app: typer.Typer) -> None:
    """Register the verb and what it fetches."""
    fetches = typer.Typer(no_args_is_help=True, help=HELP)
    fetches.command("model", epilog="Example: sae-tracks fetch model LongSafari/hyenadna-small-32k-seqlen-hf")(model)
    fetches.command("genome", epilog="Example: sae-tracks fetch genome hg38 -r chr14 -o hg38.chr14.fa")(genome)
    fetches.command("jaspar-matrices", epilog="Example: sae-tracks fetch jaspar-matrices -o JASPAR2024.pfm")(matrices)
    fetches.command(
        "jaspar-sites", epilog="Example: sae-tracks fetch jaspar-sites hg38 --matrix MA1596.1 -o MA1596.1.tsv.gz"
    )(sites)
    app.add_typer(fetches, name="fetch")


def model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Hub id, or id@revision.")],
    offline: OfflineOption = False,
) -> None:
    """A language model, into the Hugging Face cache: safetensors and configuration, no pickle, no code.

    Without a revision: the commit pinned here for HyenaDNA-small-32k, else main. Prints the model's folder.
    """
    from sae_tracks.fetch import fetch_model

    folder, name, commit = fetch_model(model, offline=offline)
    log.info("%s, commit %s; to use it: sae-tracks extract %s@%s GENOME -o act/", name, commit, name, commit)
    typer.echo(folder)


def genome(
    assembly: AssemblyName,
    out: Annotated[Path, typer.Option("--out", "-o", help="FASTA to write: .fa is plain, .fa.gz is bgzip.")],
    region: Annotated[
        list[str] | None, typer.Option("--region", "-r", help="Chromosome; repeatable (default: the whole assembly).")
    ] = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
) -> None:
    """A genome from UCSC, or some of its chromosomes, as an indexed FASTA; checked against UCSC's MD5 sums."""
    from sae_tracks.fetch import fetch_genome

    _say(out, fetch_genome(assembly, out, region or (), cache=cache, offline=offline, force=force))


def matrices(
    out: Annotated[Path, typer.Option("--out", "-o", help="File of count matrices to write.")],
    release: ReleaseOption = "2024",
    cache: CacheOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
) -> None:
    """JASPAR's CORE vertebrates non-redundant count matrices (PFM), in JASPAR's own format."""
    from sae_tracks.fetch import fetch_matrices

    _say(out, fetch_matrices(release, out, cache=cache, offline=offline, force=force))


def sites(
    assembly: AssemblyName,
    matrix: Annotated[str, typer.Option(help="Matrix ID with its version, such as MA1596.1.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="TSV to write: .tsv.gz or .tsv; `metrics` calls it by the ID it begins with."),
    ],
    release: ReleaseOption = "2022",
    cache: CacheOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
) -> None:
    """The sites of one JASPAR matrix in a genome: where it scores well, not where a factor was seen to bind."""
    from sae_tracks.fetch import fetch_sites

    _say(out, fetch_sites(assembly, matrix, release, out, cache=cache, offline=offline, force=force))


def _say(out: Path, kept: bool) -> None:
    log.info("%s %s", out, "is there already, with the right content" if kept else "is written")
