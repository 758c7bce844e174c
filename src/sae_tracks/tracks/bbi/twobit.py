"""UCSC's .2bit: a genome in two bits per base, as an assembly hub needs it."""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from sae_tracks.dna import NUCLEOTIDES, codes, readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.intervals import runs_of_chunks
from sae_tracks.regions import GenomicRegion

SIGNATURE, VERSION = 0x1A412743, 0
MOST_BYTES = 2**32 - 1  # offsets have 32 bits
CODES = np.array(["TCAG".index(base) for base in NUCLEOTIDES] + [0], np.uint8)  # by `dna.codes`, N as T
CHUNK = 1 << 24  # bases read at once; a multiple of 4, so that every chunk but the last fills its bytes


class Sequences(Protocol):
    """Sequences by region, such as `Genome`."""

    @property
    def lengths(self) -> Mapping[str, int]:
        """Length of each contig, in bases."""
        ...

    def sequence(self, region: GenomicRegion) -> bytes:
        """The bases of a region in upper case."""
        ...


def write_two_bit(path: Path, sequences: Sequences) -> None:
    """Write a genome as .2bit, version 0.

    The format knows the letters A, C, G, T and N alone, so other IUPAC letters become N. Lower case (soft masking) is
    lost. Contigs without bases are left out. A file of more than 4 GB is an error, and so is a name of more than 255
    bytes.
    """
    contigs = [GenomicRegion(name, 0, length) for name, length in sequences.lengths.items() if length]
    long = [region.contig for region in contigs if len(region.contig.encode()) > 255]
    if long:
        raise SaeTracksError(f"contig name {long[0][:40]!r}... has more than 255 bytes, which .2bit cannot hold")
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<4I", SIGNATURE, VERSION, len(contigs), 0))
        places = []
        for region in contigs:
            name = region.contig.encode()
            file.write(struct.pack("<B", len(name)) + name)
            places.append(file.tell())
            file.write(struct.pack("<I", 0))
        for region, place in zip(contigs, places):
            offset = file.tell()
            if offset > MOST_BYTES:
                raise SaeTracksError(f"the genome does not fit into {path.name}: offsets of .2bit have 32 bits")
            file.seek(place)
            file.write(struct.pack("<I", offset))
            file.seek(offset)
            _write_sequence(file, sequences, region)


def _write_sequence(file: BinaryIO, sequences: Sequences, region: GenomicRegion) -> None:
    """Write a record: length, runs of N, no masks, and the bases, the first one in the highest bits."""
    blocks = runs_of_chunks(~readable_bases(chunk) for chunk in _chunks(sequences, region))
    file.write(struct.pack("<2I", len(region), len(blocks)))
    file.write(blocks[:, 0].astype("<u4").tobytes() + (blocks[:, 1] - blocks[:, 0]).astype("<u4").tobytes())
    file.write(struct.pack("<2I", 0, 0))
    for chunk in _chunks(sequences, region):
        bases = CODES[codes(chunk)]
        first, second, third, fourth = np.pad(bases, (0, -len(bases) % 4)).reshape(-1, 4).T
        file.write((first << 6 | second << 4 | third << 2 | fourth).tobytes())


def _chunks(sequences: Sequences, region: GenomicRegion) -> Iterator[bytes]:
    for start in range(region.start, region.end, CHUNK):
        yield sequences.sequence(GenomicRegion(region.contig, start, min(start + CHUNK, region.end)))


def two_bit_lengths(path: Path) -> dict[str, int]:
    """Contigs of a little-endian .2bit and their lengths in bases."""
    try:
        with path.open("rb") as file:
            signature, version, count, _ = struct.unpack("<4I", file.read(16))
            if (signature, version) != (SIGNATURE, VERSION):
                raise ValueError
            places = {}
            for _ in range(count):
                (size,) = file.read(1)
                name = file.read(size).decode()
                (places[name],) = struct.unpack("<I", file.read(4))
            lengths = {}
            for name, place in places.items():
                file.seek(place)
                (lengths[name],) = struct.unpack("<I", file.read(4))
            return lengths
    except (OSError, ValueError, struct.error) as error:
        raise SaeTracksError(f"{path.name} is not a (little-endian) .2bit, or it is cut short") from error
