"""Genomes without sequence and annotation files for the tests of the readers."""

import gzip
import os
from pathlib import Path

import pysam

from sae_tracks.genome import Genome


def stated_genome(folder: Path, name: str = "g.fa", **lengths: int) -> Genome:
    """A genome of contigs as long as stated, one line each, whose bases are holes in a sparse file."""
    path, index = folder / name, []
    with path.open("wb") as file:
        for contig, n in lengths.items():
            file.write(f">{contig}\n".encode())
            index.append(f"{contig}\t{n}\t{file.tell()}\t{n}\t{n + 1}\n")
            file.seek(n, os.SEEK_CUR)
            file.write(b"\n")
    Path(f"{path}.fai").write_text("".join(index))
    return Genome(path)


def write(folder: Path, name: str, *lines: str) -> Path:
    """A text file, gzip where its name says so."""
    path = folder / name
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def write_tabix(folder: Path, name: str, *lines: str, preset: str = "bed", csi: bool = False) -> Path:
    """A bgzip file with its index."""
    path = folder / name
    with pysam.BGZFile(str(path), "wb") as file:
        file.write("".join(line + "\n" for line in lines).encode())
    pysam.tabix_index(str(path), preset=preset, csi=csi, force=True)
    return path


def rows(annotation, *columns: str) -> list[tuple]:
    """The sites as tuples, of the columns named or all but the score."""
    sites = annotation.sites
    return list(sites[[*columns] or [c for c in sites if c != "Score"]].itertuples(index=False, name=None))
