"""``sae-tracks fetch``: models, genomes, annotations and JASPAR's data."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option, Typer

from sae_tracks.cli.options import out_file
from sae_tracks.cli.verb import app, verb

log = logging.getLogger(__name__)
HELP = """Download models, genomes, annotations, and motif matrices and sites of JASPAR.

Downloads are checked and cached.
OUT.provenance.json records the URL, the date, the checksum, and what it was compared with.
Models are kept in the Hugging Face cache ($HF_HOME).
Other downloads are kept in --cache, else in $SAE_TRACKS_CACHE, else in the system's cache.
Variables for mirrors: $SAE_TRACKS_UCSC, $SAE_TRACKS_JASPAR, $SAE_TRACKS_JASPAR_SITES, $SAE_TRACKS_GENCODE,
$SAE_TRACKS_ENSEMBL, $SAE_TRACKS_NCBI, $SAE_TRACKS_SGD, $HF_ENDPOINT."""
AssemblyName = Annotated[
    str, Argument(metavar="ASSEMBLY", help="UCSC's name of the assembly: hg38, hg19, mm10, ce11, ...")
]
CacheOption = Annotated[
    Path | None, Option("--cache", help="Cache folder (default: $SAE_TRACKS_CACHE, else the system's cache).")
]
OfflineOption = Annotated[bool, Option("--offline", help="Use only files that were downloaded before.")]
ForceOption = Annotated[bool, Option("--force", help="Replace OUT if its content differs.")]
ReleaseOption = Annotated[str, Option(help="JASPAR's release.")]
fetches = Typer(no_args_is_help=True, help=HELP)
app.add_typer(fetches, name="fetch", rich_help_panel="Models and data")


@verb("Example: sae-tracks fetch model LongSafari/hyenadna-small-32k-seqlen-hf", group=fetches, resumes=True)
def model(
    model: Annotated[str, Argument(metavar="MODEL", help="Hub id, or id@revision.")],
    offline: OfflineOption = False,
) -> None:
    """Fetch a language model into the Hugging Face cache, and print its folder.

    Only safetensors, the configuration and the tokenizer are downloaded: no pickle and no code. If no revision is
    given, HyenaDNA-small-32k is fetched at one fixed commit, and any other model at main.
    """
    from sae_tracks.fetch import fetch_model

    folder, name, commit = fetch_model(model, offline=offline)
    log.info("%s, commit %s; to use it: sae-tracks extract %s@%s GENOME -o act/", name, commit, name, commit)
    typer.echo(folder)


@verb("Example: sae-tracks fetch genome hg38 -r chr14 -o hg38.chr14.fa", group=fetches, resumes=True)
def genome(
    assembly: AssemblyName,
    out: Annotated[Path, out_file("FASTA to write: .fa is plain, .fa.gz is bgzip.")],
    region: Annotated[
        list[str] | None, Option("--region", "-r", help="Chromosome; repeatable (default: the whole assembly).")
    ] = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
) -> None:
    """Fetch a genome, or some of its chromosomes, from UCSC as an indexed FASTA. UCSC's MD5 sums are checked."""
    from sae_tracks.fetch import fetch_genome

    _report(out, fetch_genome(assembly, out, region or (), cache=cache, offline=offline, force=force))


@verb("Example: sae-tracks fetch annotation genes --assembly hg38 -o gencode.v47.gtf.gz", group=fetches, resumes=True)
def annotation(
    name: Annotated[str, Argument(metavar="NAME", help="genes, repeats, ccres, phylop, phastcons, clinvar or sgd.")],
    assembly: Annotated[str, Option(help="UCSC's name of the assembly: hg38, hg19, mm39, mm10, ce11, sacCer3.")],
    out: Annotated[Path, out_file("File to write. Gzip is unpacked unless it ends in .gz.")],
    cache: CacheOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
) -> None:
    """Fetch a public annotation of an assembly, as its server has it.

    genes: GENCODE 47 (hg38, hg19), M36 (mm39) or Ensembl 113 (ce11, sacCer3), GTF.
    repeats: UCSC's RepeatMasker table (hg38, hg19, mm39, ce11).
    ccres: ENCODE's cis-regulatory elements (hg38, mm10), bigBed.
    phylop, phastcons: UCSC's conservation (hg38, hg19, mm39, ce11; phastcons: sacCer3), bigWig.
    clinvar: NCBI's newest VCF of variants (hg38, hg19). sgd: SGD's table of features (sacCer3).
    """
    from sae_tracks.fetch import fetch_annotation

    _report(out, fetch_annotation(name, assembly, out, cache=cache, offline=offline, force=force))


@verb("Example: sae-tracks fetch jaspar-matrices -o JASPAR2024.pfm", group=fetches, resumes=True)
def jaspar_matrices(
    out: Annotated[Path, out_file("File of count matrices to write.")],
    release: ReleaseOption = "2024",
    cache: CacheOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
) -> None:
    """Fetch the count matrices (PFM) of JASPAR CORE, vertebrates, non-redundant, in JASPAR's format."""
    from sae_tracks.fetch import fetch_matrices

    _report(out, fetch_matrices(release, out, cache=cache, offline=offline, force=force))


@verb("Example: sae-tracks fetch jaspar-sites hg38 --matrix MA1596.1 -o MA1596.1.tsv.gz", group=fetches, resumes=True)
def jaspar_sites(
    assembly: AssemblyName,
    matrix: Annotated[str, Option(help="Matrix ID with its version, such as MA1596.1.")],
    out: Annotated[
        Path,
        out_file("TSV to write, .tsv.gz or .tsv. `metrics` names the concept after this file."),
    ],
    release: ReleaseOption = "2022",
    cache: CacheOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
) -> None:
    """Fetch the sites of one JASPAR matrix in a genome. They are predicted from the sequence, not measured binding."""
    from sae_tracks.fetch import fetch_sites

    _report(out, fetch_sites(assembly, matrix, release, out, cache=cache, offline=offline, force=force))


def _report(out: Path, kept: bool) -> None:
    log.info("%s %s", out, "is already there with the right content" if kept else "is written")
