"""UCSC's .2bit: a genome in two bits a base, as an assembly hub wants it."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sae_tracks.dna import NUCLEOTIDES, codes, readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.genome import CHUNK, Genome
from sae_tracks.intervals import runs_of_chunks
from sae_tracks.regions import GenomicRegion

SIGNATURE, VERSION = 0x1A412743, 0
MOST_BYTES = 2**32 - 1  # offsets are 32 bit
CODES = np.array(["TCAG".index(base) for base in NUCLEOTIDES] + [0], np.uint8)  # by `dna.codes`, N as T
assert CHUNK % 4 == 0  # so that every chunk but the last fills its bytes


def write_two_bit(path: Path, genome: Genome) -> None:
    """Write a genome as .2bit, version 0.

    The format knows no letters but A, C, G, T and N: other IUPAC letters become N. Lower case (soft masking) is lost.
    Contigs without bases are left out.

    Raises
    ------
    SaeTracksError
        The file would pass 4 GB, or a name is longer than 255 bytes.
    """
    long = [region.contig for region in genome.whole if len(region.contig.encode()) > 255]
    if long:
        raise SaeTracksError(f"contig name {long[0][:40]!r}... has more than 255 bytes, which .2bit cannot hold")
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<4I", SIGNATURE, VERSION, len(genome.whole), 0))
        places = []
        for region in genome.whole:
            name = region.contig.encode()
            file.write(struct.pack("<B", len(name)) + name)
            places.append(file.tell())
            file.write(struct.pack("<I", 0))
        for region, place in zip(genome.whole, places):
            offset = file.tell()
            if offset > MOST_BYTES:
                raise SaeTracksError(f"{genome.path.name} does not fit into a .2bit file, whose offsets are 32 bit")
            file.seek(place)
            file.write(struct.pack("<I", offset))
            file.seek(offset)
            _write_sequence(file, genome, region)


def _write_sequence(file: BinaryIO, genome: Genome, region: GenomicRegion) -> None:
    """One record: length, runs of N, no masks, and the bases, the first in the highest bits."""
    blocks = runs_of_chunks(~readable_bases(chunk) for chunk in _chunks(genome, region))
    file.write(struct.pack("<2I", len(region), len(blocks)))
    file.write(blocks[:, 0].astype("<u4").tobytes() + (blocks[:, 1] - blocks[:, 0]).astype("<u4").tobytes())
    file.write(struct.pack("<2I", 0, 0))
    for chunk in _chunks(genome, region):
        bases = CODES[codes(chunk)]
        first, second, third, fourth = np.pad(bases, (0, -len(bases) % 4)).reshape(-1, 4).T
        file.write((first << 6 | second << 4 | third << 2 | fourth).tobytes())


def _chunks(genome: Genome, region: GenomicRegion) -> Iterator[bytes]:
    for start in range(region.start, region.end, CHUNK):
        yield genome.sequence(GenomicRegion(region.contig, start, min(start + CHUNK, region.end)))
