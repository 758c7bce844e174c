"""UCSC's .2bit: a genome in two bits a base, as an assembly hub wants it."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.genome import CHUNK, Genome, readable_bases
from sae_tracks.regions import GenomicRegion

SIGNATURE, VERSION = 0x1A412743, 0
MOST_BYTES = 2**32 - 1  # offsets are 32 bit
CODES = np.zeros(256, np.uint8)
CODES[np.frombuffer(b"TCAG", np.uint8)] = range(4)
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
    blocks = _unknown_runs(genome, region)
    file.write(struct.pack("<2I", len(region), len(blocks)))
    file.write(blocks[:, 0].astype("<u4").tobytes() + (blocks[:, 1] - blocks[:, 0]).astype("<u4").tobytes())
    file.write(struct.pack("<2I", 0, 0))
    for chunk in _chunks(genome, region):
        codes = CODES[np.frombuffer(chunk, np.uint8)]
        first, second, third, fourth = np.pad(codes, (0, -len(codes) % 4)).reshape(-1, 4).T
        file.write((first << 6 | second << 4 | third << 2 | fourth).tobytes())


def _unknown_runs(genome: Genome, region: GenomicRegion) -> NDArray[np.int64]:
    """(k, 2) int64: starts and ends of the runs of letters that are not A, C, G or T."""
    edges, offset, before = [np.empty(0, np.int64)], 0, False
    for chunk in _chunks(genome, region):
        unknown = np.concatenate(([before], ~readable_bases(chunk)))
        edges.append(np.flatnonzero(unknown[1:] != unknown[:-1]) + offset)
        offset, before = offset + len(chunk), unknown[-1]
    if before:
        edges.append(np.array([offset]))
    return np.concatenate(edges).reshape(-1, 2)


def _chunks(genome: Genome, region: GenomicRegion) -> Iterator[bytes]:
    for start in range(region.start, region.end, CHUNK):
        yield genome.sequence(GenomicRegion(region.contig, start, min(start + CHUNK, region.end)))
