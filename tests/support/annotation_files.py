"""Genomes without sequence and annotation files for the tests of the readers."""

import gzip
from pathlib import Path

import pysam

from sae_tracks.genome import Genome


def stated_genome(folder: Path, name: str = "g.fa", **lengths: int) -> Genome:
    """A genome of contigs as long as stated, of which only the index is there."""
    path = folder / name
    path.write_text("".join(f">{contig}\nN\n" for contig in lengths))
    Path(f"{path}.fai").write_text("".join(f"{contig}\t{n}\t7\t60\t61\n" for contig, n in lengths.items()))
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
