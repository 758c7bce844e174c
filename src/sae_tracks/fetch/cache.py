"""The cache: a file that was downloaded once is checked and used again.

A file lies under ``CACHE/SITE/PATH``. Beside it ``NAME.json`` says where it came from, its SHA-256 and what that was
checked against. If the server states no checksum, the first download is trusted, and later uses must equal it.
"""

import difflib
import filecmp
import gzip
import hashlib
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pooch

from sae_tracks.errors import SaeTracksError
from sae_tracks.fetch.transfer import NotThere, Remote, ResumingDownload, Unreachable, get_text
from sae_tracks.files import (
    CHUNK,
    atomic,
    lock_of,
    locked,
    make_folder,
    sha256,
    write_json,
    write_provenance,
)
from sae_tracks.json_file import read_json
from sae_tracks.names import counted
from sae_tracks.progress import byte_counter

CACHE = "SAE_TRACKS_CACHE"
MD5, BSD = "MD5", "BSD sum"
TRUSTED = "nothing stated by the server: the first download is trusted"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a cached file came from; `checked` says what its SHA-256 was checked against."""

    url: str
    sha256: str
    checked: str
    retrieved: str


ORIGIN = dict.fromkeys(Origin.__slots__, str)


class Stated(NamedTuple):
    """A checksum that a server states."""

    kind: str  # `MD5` or `BSD`
    value: str


def cache_folder(cache: Path | None = None) -> Path:
    """Return `cache`, else ``$SAE_TRACKS_CACHE``, else the system's folder for caches."""
    return Path(cache or os.environ.get(CACHE) or pooch.os_cache("sae-tracks")).expanduser()


def fetch_file(remote: Remote, cache: Path | None = None, *, offline: bool = False) -> tuple[Path, Origin]:
    """Return the file in the cache and its origin; download it if it is not there yet.

    A file that somebody put there by hand is taken. Unless `offline`, it is checked against the server's checksum.
    """
    path = cache_folder(cache) / remote.site / remote.path
    if origin := _recorded_origin(path):
        return path, origin
    missing = SaeTracksError(f"{path} is not there: run without --offline, or put {remote.url} there by hand")
    if offline and not path.is_file():
        raise missing
    try:
        make_folder(path.parent)
        lock_of(path).touch()
    except (SaeTracksError, OSError) as error:
        folder = cache_folder(cache)
        raise SaeTracksError(f"cannot write the cache {folder}: name another by --cache or {CACHE}") from error
    with locked(path):  # another process may have downloaded it meanwhile
        if origin := _recorded_origin(path):
            return path, origin
        if path.is_file() and _record(path).is_file():
            log.warning("%s is damaged and is removed from the cache", path)
            path.unlink()
            _record(path).unlink()
            if offline:
                raise missing
        return path, _download(remote, path, offline)


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _recorded_origin(path: Path) -> Origin | None:
    """Return the origin of a file that is as it was recorded."""
    if not (path.is_file() and _record(path).is_file()):
        return None
    with suppress(SaeTracksError, FileNotFoundError):  # another process may remove it
        record = read_json(_record(path), ORIGIN)
        origin = Origin(**{name: record[name] for name in ORIGIN})
        if sha256(path) == origin.sha256:
            return origin
    return None


def _download(remote: Remote, path: Path, offline: bool) -> Origin:
    """Download, check and record a file."""
    sums, stated = {}, None
    try:
        sums = {} if offline else _stated_sums(remote)
        stated = sums.get(remote.name)
        _retrieve(remote, path, stated)
    except Unreachable as error:
        raise Unreachable(f"{error}; download it elsewhere, put it at {path}, and run with --offline") from error
    except NotThere as error:
        raise NotThere(f"{error}; {_what_is_there(remote, sums)}") from error
    _check_start(remote, path)
    checked = f"{stated.kind} {stated.value} of {remote.folder_url}/{remote.sums}" if stated else TRUSTED
    origin = Origin(remote.url, sha256(path), checked, datetime.now(UTC).date().isoformat())
    write_json(_record(path), asdict(origin))
    return origin


def _retrieve(remote: Remote, path: Path, stated: Stated | None) -> None:
    """Download a file and compare its checksum; one that is there already and right is taken."""
    if path.is_file() and _fits(path, stated):
        return
    download = ResumingDownload(path.with_name(f"{path.name}.part"))
    download(remote.url)
    if not _fits(download.part, stated):
        download.finish(None)
        wrong = f"its {stated.kind} is not {stated.value}" if stated else ""
        raise SaeTracksError(f"{remote.url} came damaged: {wrong}; nothing is kept, fetch it again")
    download.finish(path)


def _fits(path: Path, stated: Stated | None) -> bool:
    """Whether a file has the checksum that its server states, if it states one."""
    if stated is None:
        return True
    if stated.kind == BSD:
        return bsd_sum(path) == int(stated.value)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == stated.value


def _check_start(remote: Remote, path: Path) -> None:
    """Refuse and remove a file of other first bytes, such as an error page."""
    with path.open("rb") as file:
        head = file.read(len(remote.starts))
    if head != remote.starts:
        path.unlink()
        raise SaeTracksError(
            f"{remote.url} begins with {head!r}, not with {remote.starts!r}: an error page? Nothing is kept"
        )


def bsd_sum(path: Path) -> int:
    """The 16-bit checksum that BSD's ``sum`` prints first."""
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            for byte in chunk:
                total = ((total >> 1) + ((total & 1) << 15) + byte) & 0xFFFF
    return total


def _stated_sums(remote: Remote) -> dict[str, Stated]:
    """Return the checksum of each file in the remote's folder; empty if the server lists none."""
    if remote.sums is None:
        return {}
    try:
        text = get_text(f"{remote.folder_url}/{remote.sums}")
    except NotThere:
        return {}
    found = re.findall(r"(?m)^([0-9a-f]{32})\s+\*?(?:\./)?(\S+)", text)
    if remote.sums == f"{remote.name}.md5":  # of this file alone, under another name at NCBI
        found = [(md5, remote.name) for md5, _ in found]
    lines = re.findall(r"(?m)^(\d+)\s+\d+\s+(\S+)$", text)
    return {name: Stated(MD5, md5) for md5, name in found} | {name: Stated(BSD, value) for value, name in lines}


def _what_is_there(remote: Remote, sums: Mapping[str, object]) -> str:
    """Return names in the server's list that resemble the missing one; without a list, what to check."""
    if not sums:
        return remote.hint
    names = difflib.get_close_matches(remote.name, sums, 3, 0.5) or sorted(sums)[:3]
    return f"that folder has {', '.join(names)} ... ({counted(len(sums), 'file')})"


class _Same(Exception):
    """The file has the content already and stays, because a newer one would make its index look old."""


def deliver(
    out: Path, origins: Sequence[Origin], write: Callable[[Path], object], *, force: bool, beside: Sequence[Path] = ()
) -> bool:
    """Write a file made of downloads and ``NAME.provenance.json`` beside it; return whether it was there already.

    A file with other content is an error unless `force`. Files `beside` it, such as an index, are removed before it is
    replaced. ``write(path)`` writes the content.
    """
    provenance = out.with_name(f"{out.name}.provenance.json")
    if _is_made_of(out, origins, provenance):
        return True
    same = True
    with suppress(_Same), atomic(out) as temporary:
        write(temporary)
        if out.exists() and filecmp.cmp(temporary, out, shallow=False):
            raise _Same
        if out.exists() and not force:
            raise SaeTracksError(f"{out} is there with other content; --force replaces it, or name another file")
        for path in beside:
            path.unlink(missing_ok=True)
        same = False
    facts = {"sources": [asdict(origin) for origin in origins], "sha256": sha256(out)}
    write_provenance(out.parent, file_name=provenance.name, **facts)
    return same


def _is_made_of(out: Path, origins: Sequence[Origin], provenance: Path) -> bool:
    """Whether `out` is unchanged since it was made of these downloads, by its provenance."""
    if not out.is_file():
        return False
    with suppress(SaeTracksError):
        record = read_json(provenance, {"sources": [{"sha256": str}], "sha256": str})
        sources = [source["sha256"] for source in record["sources"]]
        return sources == [origin.sha256 for origin in origins] and record["sha256"] == sha256(out)
    return False


def decompress(path: Path, write: Callable[[bytes], object], starts: bytes = b"") -> None:
    """Pass the text of a gzip file to `write`, chunk by chunk; it must begin with the letter `starts`, if given."""
    try:
        with path.open("rb") as raw, gzip.open(raw) as text, byte_counter(path.name, path.stat().st_size) as show:
            if not (head := text.peek(1)[:1]).startswith(starts):
                raise SaeTracksError(f"{path}: its text begins with {head!r}, not with {starts!r}: remove it")
            while chunk := text.read(CHUNK):
                write(chunk)
                show(raw.tell())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SaeTracksError(f"{path} is damaged gzip ({error}): remove it and fetch it again") from error


def unpack(path: Path, out: Path, *, plain: bool) -> None:
    """Copy a file, or the text of a gzip file if `plain`."""
    if plain:
        with out.open("wb") as text:
            decompress(path, text.write)
    else:
        shutil.copyfile(path, out)
