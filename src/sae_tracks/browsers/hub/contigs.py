"""The contigs of a hub's genome, and what its files say of theirs."""

import struct
from collections.abc import Mapping
from pathlib import Path

from sae_tracks.annotations.alias import LENGTHS
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import check_end
from sae_tracks.tracks.bigbed import BIGBED

ASSEMBLIES = {"hg19": "GRCh37", "hg38": "GRCh38"}
FIELDS = struct.Struct("<HH")  # columns of a bigBed, and how many of them are BED's
FIELDS_OFFSET = 32


class Contigs:
    """The contigs of a hub's genome, as far as they are known.

    Parameters
    ----------
    genome : str
        Its name.
    lengths : mapping of str to int, optional
        Of its .2bit; without one they are known of hg19 and hg38, and else the files are held against one another.
    """

    def __init__(self, genome: str, lengths: Mapping[str, int] | None = None) -> None:
        self._genome, self._whole = genome, lengths is not None
        of_ucsc = {f"chr{name}": size for (name, size), it in LENGTHS.items() if it == ASSEMBLIES.get(genome)}
        self._known = {name: (size, genome) for name, size in (of_ucsc if lengths is None else lengths).items()}
        self._seen: dict[str, tuple[int, str]] = {}  # in the files so far

    def check(self, theirs: Mapping[str, int], file: str) -> None:
        """Refuse a file with a contig that the genome does not have, or has with another length.

        UCSC has more contigs of hg19 and hg38 than their chromosomes: one that begins with chr may be among them.
        """
        for contig, length in theirs.items():
            size, where = self._known.get(contig) or self._seen.setdefault(contig, (length, file))
            if self._whole and contig not in self._known:
                raise SaeTracksError(f"{file} is of another genome: {self._genome} has no contig {contig}")
            if size != length:
                raise SaeTracksError(
                    f"{file} is of another genome: {contig} has {length:,} bases, but {size:,} in {where}"
                )
        if self._known and not any(contig in self._known or contig.startswith("chr") for contig in theirs):
            names = f"{next(iter(theirs), 'none')}, not {next(iter(self._known))}"
            raise SaeTracksError(f"{file} has no chromosome of {self._genome}: its contigs are called {names}")


def bigbed_fields(path: Path) -> tuple[int, int]:
    """Columns of a bigBed, and how many of them are BED's own.

    Raises
    ------
    SaeTracksError
        The file is missing, or not a (little-endian) bigBed.
    """
    try:
        with path.open("rb") as file:
            head = file.read(FIELDS_OFFSET + FIELDS.size)
    except OSError as error:
        raise SaeTracksError(f"cannot read {path}: {error.strerror}") from error
    if len(head) < FIELDS_OFFSET + FIELDS.size or struct.unpack_from("<I", head)[0] != BIGBED:
        raise SaeTracksError(f"{path} is not a (little-endian) bigBed, or it is cut short")
    columns, plain = FIELDS.unpack_from(head, FIELDS_OFFSET)
    return columns, plain


def bigbed_lengths(path: Path) -> dict[str, int]:
    """Contigs and their lengths in bases, as a bigBed's header has them."""
    import pyBigWig

    bigbed_fields(path)  # pyBigWig does not survive every file that is not a bigBed
    check_end(path)
    try:
        with pyBigWig.open(str(path)) as file:
            return file.chroms()
    except RuntimeError as error:
        raise SaeTracksError(f"{path} cannot be read as bigBed: it is damaged") from error
