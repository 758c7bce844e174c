"""From the cache to the file that was asked for, with the record of where it came from."""

import filecmp
import gzip
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from sae_tracks.errors import SaeTracksError
from sae_tracks.fetch.cache import Origin
from sae_tracks.files import CHUNK, atomic, read_json, sha256, write_provenance
from sae_tracks.progress import byte_counter


class _Same(Exception):
    """The file has the content already: it stays, for a newer one would make its index look old."""


def deliver(
    out: Path, origins: Sequence[Origin], write: Callable[[Path], None], *, force: bool, beside: Sequence[Path] = ()
) -> bool:
    """Write a file made of downloads, and ``NAME.provenance.json`` beside it.

    Parameters
    ----------
    out : Path
        The file. One with the right content is kept.
    origins : sequence of Origin
        What it is made of.
    write : callable
        Writes the content to the path it is given.
    force : bool
        Replace a file of other content.
    beside : sequence of Path
        Files that belong to `out`, such as an index: removed before `out` is replaced.

    Returns
    -------
    bool
        True where the file was there already.

    Raises
    ------
    SaeTracksError
        `out` is there with other content and `force` is False.
    """
    if _made_of(out, origins):
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
    write_provenance(out.parent, file_name=_provenance(out).name, **facts)
    return same


def _provenance(out: Path) -> Path:
    return out.with_name(f"{out.name}.provenance.json")


def _made_of(out: Path, origins: Sequence[Origin]) -> bool:
    """Whether `out` is, by its provenance, the unchanged file that these origins give."""
    if not out.is_file():
        return False
    with suppress(SaeTracksError, KeyError, TypeError):
        record = read_json(_provenance(out))
        sources = [source["sha256"] for source in record["sources"]]
        return sources == [origin.sha256 for origin in origins] and record["sha256"] == sha256(out)
    return False


def decompress(path: Path, to: BinaryIO, starts: bytes = b"") -> None:
    """Append a gzip file's text, which must begin with the letter `starts` where one is given, to an open file."""
    try:
        with path.open("rb") as raw, gzip.open(raw) as text, byte_counter(path.name, path.stat().st_size) as show:
            if not (head := text.peek(1)[:1]).startswith(starts):
                raise SaeTracksError(f"{path}: its text begins with {head!r}, not with {starts!r}: remove it")
            while chunk := text.read(CHUNK):
                to.write(chunk)
                show(raw.tell())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SaeTracksError(f"{path} is damaged gzip ({error}): remove it and fetch it again") from error
