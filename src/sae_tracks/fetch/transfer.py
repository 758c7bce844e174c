"""Where every file comes from, and one transfer over HTTP that continues after a break."""

import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from sae_tracks import __version__
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import move, unwritable, write_json
from sae_tracks.json_file import read_json
from sae_tracks.progress import byte_counter

GZIP, FASTA = b"\x1f\x8b", b">"
# name -> the variable that points to a mirror, and the address
SITES = {
    "ucsc": ("SAE_TRACKS_UCSC", "https://hgdownload.soe.ucsc.edu"),
    "jaspar": ("SAE_TRACKS_JASPAR", "https://jaspar.elixir.no"),
    "jaspar-sites": ("SAE_TRACKS_JASPAR_SITES", "http://expdata.cmmt.ubc.ca/JASPAR"),
    "gencode": ("SAE_TRACKS_GENCODE", "https://ftp.ebi.ac.uk/pub/databases/gencode"),
    "ensembl": ("SAE_TRACKS_ENSEMBL", "https://ftp.ensembl.org/pub"),
    "ncbi": ("SAE_TRACKS_NCBI", "https://ftp.ncbi.nlm.nih.gov"),
    "sgd": ("SAE_TRACKS_SGD", "http://sgd-archive.yeastgenome.org"),
}
PFMS = "download/data/{release}/CORE/JASPAR{release}_CORE_vertebrates_non-redundant_pfms_jaspar.txt"
TRACKS = "downloads/UCSC_tracks/{release}/{assembly}/{matrix}.tsv.gz"
ASSEMBLIES = "https://hgdownload.soe.ucsc.edu/downloads.html lists the assemblies"
RELEASES = "https://jaspar.elixir.no/downloads/ lists the releases"
MATRIX_IDS = "is the matrix ID, with its version, of that release and of this genome's taxon?"
# kind -> site, path, first bytes, the list of checksums beside it, and the hint: the fields of `Remote`
FILES = {
    "assembly": ("ucsc", "goldenPath/{assembly}/bigZips/{assembly}.fa.gz", GZIP, "md5sum.txt", ASSEMBLIES),
    "chromosome": ("ucsc", "goldenPath/{assembly}/chromosomes/{chromosome}.fa.gz", GZIP, "md5sum.txt", ASSEMBLIES),
    "matrices": ("jaspar", PFMS, FASTA, None, RELEASES),
    "sites": ("jaspar-sites", TRACKS, GZIP, None, MATRIX_IDS),
}
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
CHUNK = 1 << 16  # bytes; a break loses at most this many
TRIES = 5
PAUSE = 2.0  # seconds before the second try; longer before each further one
TIMEOUT = (15, 60)  # seconds to connect, and between two packets
HEADERS = {"User-Agent": f"sae-tracks/{__version__}", "Accept-Encoding": "identity"}
BUSY = (429, 500, 502, 503, 504)
UNREACHABLE = (requests.ConnectionError, requests.Timeout)


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server."""

    site: str  # a key of `SITES`; the file's folder in the cache, whatever the mirror
    path: str  # on the site, without a leading slash
    starts: bytes  # the first bytes of the file; an error page begins with others
    sums: str | None  # name of the list of checksums (MD5 or BSD's `sum`) in the same folder
    hint: str  # what to check if the file is not there

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """The address, on the mirror if one is set."""
        variable, address = SITES[self.site]
        return f"{(os.environ.get(variable) or address).rstrip('/')}/{self.path}"

    @property
    def folder_url(self) -> str:
        return self.url.rpartition("/")[0]


def remote(kind: str, **words: str) -> Remote:
    """Return the file of a kind, a key of `FILES`; the words fill the braces of its path."""
    for what, word in words.items():
        if not _WORD.fullmatch(word):
            raise SaeTracksError(f"{what} {word!r}: a name has letters, digits, _ . and - only")
    site, path, starts, sums, hint = FILES[kind]
    return Remote(site, path.format(**words), starts, sums, hint)


class NotThere(SaeTracksError):
    """The server has no such file: it answers 404 or 410."""


class Unreachable(SaeTracksError):
    """No server answers."""


class Broken(Exception):
    """The transfer ended early, or the server asks to come again."""


@dataclass(frozen=True, slots=True)
class ResumingDownload:
    """A download into `part`, which keeps the bytes received so far if it breaks off, until `finish` names it.

    Beside `part` stands the version that the server stated (ETag or date), so that the beginning of one version is
    never continued with the rest of another (``If-Range``). A server that knows no ranges sends the whole file again.
    """

    part: Path

    def __call__(self, url: str) -> None:
        """Download `url`. A transfer may break off `TRIES` times."""
        for attempt in range(1, TRIES + 1):
            try:
                self._continue(url)
                break
            except (*UNREACHABLE, urllib3.exceptions.HTTPError, Broken) as error:
                have = self._bytes()
                if isinstance(error, UNREACHABLE) and not have:
                    raise _unreachable(url, error) from error
                if attempt == TRIES:
                    raise SaeTracksError(
                        f"{url} broke off {TRIES} times ({error}); {have:,} bytes are kept and the same command goes on"
                    ) from error
                time.sleep(PAUSE * attempt)
            except requests.RequestException as error:
                raise SaeTracksError(f"cannot fetch {url}: {error}") from error
            except OSError as error:
                raise unwritable(self.part, error) from error

    def finish(self, path: Path | None) -> None:
        """Give the downloaded file its final name; None: remove it."""
        if path:
            move(self.part, path)
        else:
            self.part.unlink()
        self._notes.unlink(missing_ok=True)

    @property
    def _notes(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _bytes(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _version(self, url: str) -> str | None:
        """The version of the file that `part` is the beginning of; None if it is not known."""
        with suppress(SaeTracksError):
            notes = read_json(self._notes, {"url": str, "version": (str, None)})
            return notes["version"] if notes["url"] == url else None
        return None

    def _continue(self, url: str) -> None:
        """Ask for the bytes that are missing and append them."""
        version = self._version(url)
        have = self._bytes() if version else 0
        ranges = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
        with requests.get(url, headers=HEADERS | ranges, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # the server has nothing past our bytes: they are all, or another file's
                if answer.headers.get("Content-Range") == f"bytes */{have}":
                    return
                self.part.unlink()
                raise Broken("the file on the server is another one than before")
            _refuse_failure(answer)
            start, total = _extent(answer, have)
            if not start:
                self.part.unlink(missing_ok=True)  # before the notes are those of a new version
            write_json(self._notes, {"url": url, "version": _stated_version(answer.headers)})
            self._refuse_full_disk(total - start)
            with self.part.open("ab") as file, byte_counter(urlsplit(url).path.rpartition("/")[2], total) as show:
                for chunk in answer.raw.stream(CHUNK, decode_content=False):
                    file.write(chunk)
                    show(file.tell())
        if total and self._bytes() != total:
            raise Broken(f"{self._bytes():,} of {total:,} bytes came")

    def _refuse_full_disk(self, needed: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if needed > free:
            raise SaeTracksError(
                f"{self.part.parent} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed: name another "
                "cache by --cache or SAE_TRACKS_CACHE"
            )


def get_text(url: str) -> str:
    """Return a small text file; `NotThere` if the server has none."""
    try:
        with requests.get(url, headers=HEADERS, timeout=TIMEOUT) as answer:
            _refuse_failure(answer)
            return answer.text
    except (*UNREACHABLE, Broken) as error:
        raise _unreachable(url, error) from error
    except requests.RequestException as error:
        raise SaeTracksError(f"cannot fetch {url}: {error}") from error


def _refuse_failure(answer: requests.Response) -> None:
    """Raise an error that names the status, unless it is success."""
    if answer.status_code in (404, 410):
        raise NotThere(f"{answer.url} is not there ({answer.status_code})")
    if answer.status_code in BUSY:
        raise Broken(f"{answer.status_code} {answer.reason}")
    if answer.status_code not in (200, 206):
        raise SaeTracksError(f"cannot fetch {answer.url}: the server says {answer.status_code} {answer.reason}")


def _unreachable(url: str, error: Exception) -> Unreachable:
    """Return an error with the reason that `requests` wraps many times, such as "Connection refused"."""
    system = re.search(r"\[Errno -?\d+\] ([^)'\"]+)", str(error))
    reason = system[1] if system else str(error).rpartition("Caused by ")[2]
    reason = "no answer in time" if isinstance(error, requests.Timeout) else reason
    return Unreachable(f"cannot reach {urlsplit(url).netloc} ({reason}) for {url}")


def _extent(answer: requests.Response, have: int) -> tuple[int, int]:
    """Return the offset of the bytes that come, and the whole file's length (0 if the server does not say it)."""
    if answer.status_code == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else 0
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if not match or int(match[1]) != have:
        raise SaeTracksError(f"cannot go on with {answer.url}: the server sends another range than asked for")
    return have, int(match[2])


def _stated_version(headers: Mapping[str, str]) -> str | None:
    """Return a strong ETag, else the date; ``If-Range`` takes no weak ETag."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")
