"""The files that a hub points to: whether they are there, and of the hub's genome."""

import re
from pathlib import Path
from urllib.parse import unquote

from sae_tracks.browsers.hub.contigs import Contigs
from sae_tracks.browsers.hub.stanzas import Report, Stanza
from sae_tracks.browsers.hub.values import BIGBED_TYPES, INDEXED_TYPES
from sae_tracks.errors import SaeTracksError
from sae_tracks.tracks.bbi.read import BIGBED, contig_lengths, read_header

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
SERVED = ("http", "https", "ftp")
PAGE_ENDING = ".html"


def local(url: str, base: Path, line: int, setting: str, report: Report) -> Path | None:
    """The file that a setting names, relative to the file that it stands in; None where it is at a URL or missing."""
    scheme = SCHEME.match(url)
    if scheme and scheme[1].lower() in SERVED:
        return None
    if scheme or url.startswith(("/", "~/", "\\")):
        report(
            line, f"{setting} {url} is a path of this machine, which UCSC cannot reach: make it relative or https://"
        )
        return None
    if re.search(r"\s", url):
        report(line, f"{setting} {url!r} holds a blank: write it as %20")
        return None
    path = base / unquote(url)
    if not path.is_file():
        report(line, f"{setting} {url}: no such file in {base}")
        return None
    if not path.resolve().is_relative_to(base.resolve()):
        report(line, f"{setting} {url} leads out of the hub's folder: serve it at the same place", error=False)
    return path


def check_page(stanza: Stanza, setting: str, base: Path, report: Report) -> None:
    """Check that a page is there; UCSC adds ``.html`` where it is left out."""
    url = stanza.get(setting)
    if setting == "html" and not url.endswith(PAGE_ENDING):
        url += PAGE_ENDING
    local(url, base, stanza.at(setting), setting, report)


def check_data(track: Stanza, kind: str, contigs: Contigs, base: Path, report: Report) -> None:
    """Check the file of a track.

    Parameters
    ----------
    track : Stanza
    kind : str
        Its type line, perhaps inherited.
    contigs : Contigs
    base : Path
        Folder of the file that the stanza stands in.
    report : callable
    """
    url, line = track.get("bigDataUrl"), track.at("bigDataUrl")
    word = kind.split()[0] if kind else ""
    if not url:
        report(track.line, f"track {track.name} has no bigDataUrl")
        return
    path = local(url, base, line, "bigDataUrl", report)
    if path is None:
        return
    try:
        if word == "bigWig":
            contigs.check(contig_lengths(path), url)
        elif word in BIGBED_TYPES:
            lengths, columns = contig_lengths(path, BIGBED), read_header(path, BIGBED).columns
            _check_columns(kind, columns, track.at("type"), url, report)
            contigs.check(lengths, url)
    except SaeTracksError as error:
        report(line, str(error))
    if ending := ".crai" if word == "bam" and url.endswith(".cram") else INDEXED_TYPES.get(word):
        line = track.at("bigDataIndex") if track.get("bigDataIndex") else line
        local(track.get("bigDataIndex") or url + ending, base, line, "index", report)


def _check_columns(kind: str, columns: int, line: int, url: str, report: Report) -> None:
    """Check the number of columns that a type line ``bigBed 6 +`` gives."""
    words = kind.split()
    if words[0] != "bigBed" or len(words) == 1 or not words[1].isdecimal():
        return
    stated = int(words[1])
    if columns < stated or (columns > stated and not words[2:]):
        right = f"bigBed {stated} +" if columns > stated else f"bigBed {columns}"
        report(line, f"type {kind!r}, but {url} has {columns} columns: write {right}")
