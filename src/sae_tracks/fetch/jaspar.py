"""JASPAR's count matrices, and the sites that a matrix has in a genome."""

import shutil
from pathlib import Path

from sae_tracks.fetch.cache import fetch_file
from sae_tracks.fetch.deliver import decompress, deliver
from sae_tracks.fetch.sources import remote


def fetch_matrices(
    release: str,
    out: Path,
    *,
    cache: Path | None = None,
    offline: bool = False,
    force: bool = False,
) -> bool:
    """Fetch the CORE vertebrates non-redundant count matrices, in JASPAR's format; see `fetch_genome`."""
    path, origin = fetch_file(remote("matrices", release=release), cache, offline=offline)
    return deliver(out, [origin], lambda temporary: shutil.copyfile(path, temporary), force=force)


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

    `out` is gzip where it ends in .gz, else plain. The columns are contig, start, end, TF, relative score x 1000,
    -log10(p) x 100 and strand; sites are where the matrix scores well, not where a factor was seen.
    """
    path, origin = fetch_file(
        remote("sites", release=release, assembly=assembly, matrix=matrix), cache, offline=offline
    )

    def write(temporary: Path) -> None:
        if out.suffix == ".gz":
            shutil.copyfile(path, temporary)
        else:
            with temporary.open("wb") as table:
                decompress(path, table)

    return deliver(out, [origin], write, force=force)
