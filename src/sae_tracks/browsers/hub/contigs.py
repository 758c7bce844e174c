"""The contigs of a hub's genome, and what its files say of theirs."""

from collections.abc import Mapping

from sae_tracks.annotations.alias import LENGTHS
from sae_tracks.errors import SaeTracksError

ASSEMBLIES = {"hg19": "GRCh37", "hg38": "GRCh38"}


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
