"""Where everything comes from: the one table of addresses."""

import os
import re
from dataclasses import dataclass

from sae_tracks.errors import SaeTracksError

GZIP, FASTA = b"\x1f\x8b", b">"
# name -> the variable that points to a mirror, and the address
SITES = {
    "ucsc": ("SAE_TRACKS_UCSC", "https://hgdownload.soe.ucsc.edu"),
    "jaspar": ("SAE_TRACKS_JASPAR", "https://jaspar.elixir.no"),
    "jaspar-sites": ("SAE_TRACKS_JASPAR_SITES", "http://expdata.cmmt.ubc.ca/JASPAR"),
}
# kind -> site, path, first bytes, the list of MD5 sums beside it, and what to check where it is not there
FILES = {
    "assembly": (
        "ucsc",
        "goldenPath/{assembly}/bigZips/{assembly}.fa.gz",
        GZIP,
        "md5sum.txt",
        "https://hgdownload.soe.ucsc.edu/downloads.html lists the assemblies",
    ),
    "chromosome": (
        "ucsc",
        "goldenPath/{assembly}/chromosomes/{chromosome}.fa.gz",
        GZIP,
        "md5sum.txt",
        "https://hgdownload.soe.ucsc.edu/downloads.html lists the assemblies",
    ),
    "matrices": (
        "jaspar",
        "download/data/{release}/CORE/JASPAR{release}_CORE_vertebrates_non-redundant_pfms_jaspar.txt",
        FASTA,
        None,
        "https://jaspar.elixir.no/downloads/ lists the releases",
    ),
    "sites": (
        "jaspar-sites",
        "downloads/UCSC_tracks/{release}/{assembly}/{matrix}.tsv.gz",
        GZIP,
        None,
        "is the matrix ID, with its version, of that release and of this genome's taxon?",
    ),
}
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server.

    Attributes
    ----------
    site : str
        A key of `SITES`; the file's folder in the cache, whatever the mirror.
    path : str
        Path on the site, without a leading slash.
    starts : bytes
        What the file begins with; an error page does not.
    sums : str or None
        Name of the list of MD5 sums in the same folder.
    hint : str
        What to check where the file is not there.
    """

    site: str
    path: str
    starts: bytes
    sums: str | None
    hint: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """The address, on the mirror where one is set."""
        variable, address = SITES[self.site]
        return f"{(os.environ.get(variable) or address).rstrip('/')}/{self.path}"

    @property
    def folder_url(self) -> str:
        return self.url.rpartition("/")[0]


def remote(kind: str, **words: str) -> Remote:
    """The file of a kind, a key of `FILES`, with the words that its path asks for."""
    for what, word in words.items():
        if not _WORD.fullmatch(word):
            raise SaeTracksError(f"{what} {word!r}: a name has letters, digits, _ . and - only")
    site, path, starts, sums, hint = FILES[kind]
    return Remote(site, path.format(**words), starts, sums, hint)
