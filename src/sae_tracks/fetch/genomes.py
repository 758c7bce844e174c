"""Genomes from UCSC as indexed FASTA; JASPAR's count matrices, and their sites in a genome."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pysam

from sae_tracks.errors import SaeTracksError
from sae_tracks.fetch.cache import decompress, deliver, fetch_file, unpack
from sae_tracks.fetch.transfer import FASTA, remote
from sae_tracks.files import atomic

PLAIN, BGZIP = (".fa", ".fasta", ".fna"), (".gz", ".bgz")


def fetch_genome(
    assembly: str,
    out: Path,
    chromosomes: Sequence[str] = (),
    *,
    cache: Path | None = None,
    offline: bool = False,
    force: bool = False,
) -> bool:
    """Fetch an assembly, or some of its chromosomes, and index it; return whether the file was there already.

    UCSC's gzip does not allow random access, so a plain FASTA or bgzip is made of it. The index is ``.fai``, and
    ``.gzi`` beside bgzip.

    Parameters
    ----------
    assembly : str
        UCSC's name, such as ``hg38``.
    out : Path
        FASTA to write: plain (.fa, .fasta, .fna) or bgzip (.gz, .bgz) by its ending.
    chromosomes : sequence of str
        UCSC's names, such as ``chr14``, in the order of the FASTA; default: the whole assembly.
    cache, offline
        See `sae_tracks.fetch.cache.fetch_file`.
    force : bool
        Replace a file with other content, which is an error otherwise.
    """
    if out.suffix not in PLAIN + BGZIP:
        raise SaeTracksError(f"{out}: the ending says the format: .fa for plain FASTA, .fa.gz for bgzip")
    if len(set(chromosomes)) < len(chromosomes):
        raise SaeTracksError("a chromosome is named twice")
    remotes = [remote("chromosome", assembly=assembly, chromosome=name) for name in chromosomes]
    files = [fetch_file(each, cache, offline=offline) for each in remotes or [remote("assembly", assembly=assembly)]]
    indices = [out.with_name(out.name + ending) for ending in (".fai", ".gzi")[: 1 + (out.suffix in BGZIP)]]

    def write(temporary: Path) -> None:
        with pysam.BGZFile(str(temporary), "wb", None) if out.suffix in BGZIP else temporary.open("wb") as fasta:
            for path, _ in files:
                decompress(path, fasta.write, FASTA)

    kept = deliver(out, [origin for _, origin in files], write, force=force, beside=indices)
    if not all(index.exists() for index in indices):
        _index(out, indices)
    return kept


def _index(fasta: Path, indices: Sequence[Path]) -> None:
    with ExitStack() as stack:
        paths = [str(stack.enter_context(atomic(index))) for index in indices]
        options = [word for pair in zip(("--fai-idx", "--gzi-idx"), paths) for word in pair]
        try:
            pysam.faidx(str(fasta), *options)
        except pysam.SamtoolsError as error:
            raise SaeTracksError(f"cannot index {fasta}; `samtools faidx {fasta.name}` says why") from error


def fetch_matrices(
    release: str, out: Path, *, cache: Path | None = None, offline: bool = False, force: bool = False
) -> bool:
    """Fetch the CORE vertebrates non-redundant count matrices, in JASPAR's format; see `fetch_genome`."""
    path, origin = fetch_file(remote("matrices", release=release), cache, offline=offline)
    return deliver(out, [origin], lambda temporary: unpack(path, temporary, plain=False), force=force)


def fetch_sites(
    assembly: str,
    matrix: str,
    release: str,
    out: Path,
    *,
    cache: Path | None = None,
    offline: bool = False,
    force: bool = False,
) -> bool:
    """Fetch the sites of one matrix in a genome, as JASPAR's TSV; see `fetch_genome`.

    `out` is gzip if it ends in .gz, else plain. The columns are contig, start, end, TF, relative score x 1000,
    -log10(p) x 100 and strand. A site says that the matrix scores well, not that a factor was seen there.
    """
    sites = remote("sites", release=release, assembly=assembly, matrix=matrix)
    path, origin = fetch_file(sites, cache, offline=offline)
    plain = out.suffix != ".gz"
    return deliver(out, [origin], lambda temporary: unpack(path, temporary, plain=plain), force=force)
