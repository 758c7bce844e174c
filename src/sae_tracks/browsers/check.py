"""Checks a track hub by UCSC's rules: the hub, its genomes, its tracks and their files."""

import re
from pathlib import Path
from urllib.parse import unquote

from sae_tracks.browsers.family import check_family, inherited
from sae_tracks.browsers.sites import Contigs
from sae_tracks.browsers.stanzas import (
    BIGBED_TYPES,
    HUB,
    INDEXED_TYPES,
    Book,
    Finding,
    Report,
    Stanza,
    check_labels,
    check_values,
    read_stanzas,
)
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import parse_region
from sae_tracks.tracks.bbi.read import BIGBED, contig_lengths, read_header
from sae_tracks.tracks.bbi.twobit import two_bit_lengths

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
SERVED = ("http", "https", "ftp")
PAGE_ENDING = ".html"
HEAD = ("shortLabel", "longLabel", "email")
OWN_GENOME = ("organism", "defaultPos")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
EXAMPLE_MAIL = re.compile(r"@example\.(com|net|org)$")


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


def check_hub(path: Path) -> list[Finding]:
    """Check a hub that lies in a folder by UCSC's rules, without a network: what is at URLs is not looked at.

    Parameters
    ----------
    path : Path
        hub.txt, or the folder in which it lies.

    Returns
    -------
    list of Finding
        By file and line. UCSC takes the hub where none is an error.

    Raises
    ------
    SaeTracksError
        There is no hub.txt, or it is no text.
    """
    path = path / HUB if path.is_dir() else path
    book = Book()
    report = book.on(path)
    stanzas = read_stanzas(path, report)
    if not stanzas or stanzas[0].kind != "hub":
        raise SaeTracksError(f"{path} is no hub: its first setting is not 'hub NAME'")
    one_file = _check_head(stanzas[0], path, report)
    if one_file:
        _check_one_file(stanzas[1:], path, report)
    elif stanzas[0].get("genomesFile"):
        _check_genomes_file(stanzas[0], path, book)
    return sorted(set(book.findings), key=lambda finding: (finding.path != path, finding))


def _check_head(head: Stanza, path: Path, report: Report) -> bool:
    """Check the stanza of the hub; returns whether everything is in one file."""
    for name in HEAD:
        if not head.get(name):
            report(head.at(name), f"the hub has no {name!r}, which UCSC requires")
    if re.search(r"\s", head.name):
        report(head.line, f"the hub's name {head.name!r} holds a space: take letters, digits and underscores")
    check_labels(head, report)
    email = head.get("email")
    if email and not EMAIL.fullmatch(email):
        report(head.at("email"), f"{email!r} is no mail address")
    elif EXAMPLE_MAIL.search(email):
        report(head.at("email"), f"{email} reaches nobody: name whom the hub's users may ask", error=False)
    one_file = head.get("useOneFile") == "on"
    if head.get("useOneFile") and not one_file:
        report(head.at("useOneFile"), f"useOneFile is {head.get('useOneFile')!r}: it is 'on', or left out")
    if one_file and head.get("genomesFile"):
        report(head.at("genomesFile"), "both useOneFile and genomesFile: leave out one")
    if not one_file and not head.get("genomesFile"):
        report(head.line, "the hub has neither 'useOneFile on' nor 'genomesFile FILE'")
    if head.get("descriptionUrl"):
        check_page(head, "descriptionUrl", path.parent, report)
    else:
        report(head.line, "the hub has no descriptionUrl, a page that says what it is", error=False)
    return one_file


def _check_one_file(stanzas: list[Stanza], path: Path, report: Report) -> None:
    genomes = [stanza for stanza in stanzas if stanza.kind == "genome"]
    if len(genomes) != 1:
        line = genomes[1].line if genomes else 0
        report(line, f"{len(genomes)} stanzas 'genome NAME': with useOneFile there is exactly one")
    if genomes and stanzas[0] is not genomes[0]:
        report(genomes[0].line, "the genome's stanza comes after others: it stands right behind the hub's")
    contigs = _check_genome(genomes[0], path, report) if genomes else None
    _check_tracks([stanza for stanza in stanzas if stanza.kind != "genome"], contigs, path, report)


def _check_genomes_file(head: Stanza, path: Path, book: Book) -> None:
    """Follow a hub over its genomesFile to the trackDb of each genome."""
    at = head.at("genomesFile")
    file = local(head.get("genomesFile"), path.parent, at, "genomesFile", book.on(path))
    if file is None:
        return
    report = book.on(file)
    seen: set[str] = set()
    for genome in read_stanzas(file, report):
        if genome.kind != "genome":
            report(genome.line, f"a stanza begins with 'genome NAME', not {next(iter(genome.settings))!r}")
            continue
        if genome.name in seen:
            report(genome.line, f"genome {genome.name} has a stanza already")
        seen.add(genome.name)
        contigs = _check_genome(genome, file, report)
        if not genome.get("trackDb"):
            report(genome.line, f"genome {genome.name} has no 'trackDb FILE'")
        elif tracks := local(genome.get("trackDb"), file.parent, genome.at("trackDb"), "trackDb", report):
            _check_tracks(read_stanzas(tracks, book.on(tracks)), contigs, tracks, book.on(tracks))
    if not seen:
        report(0, "no stanza 'genome NAME'")


def _check_genome(genome: Stanza, path: Path, report: Report) -> Contigs:
    """Check the stanza of a genome; returns its contigs, which are known where the hub brings it along."""
    if not re.fullmatch(r"[A-Za-z][\w.-]*", genome.name, re.ASCII):
        report(genome.line, f"{genome.name!r} is no name of a genome: take letters, digits and underscores")
    if not genome.get("twoBitPath"):
        return Contigs(genome.name)
    for name in OWN_GENOME:
        if not genome.get(name):
            report(genome.line, f"genome {genome.name} has a twoBitPath and so needs {name!r}")
    if genome.get("orderKey") and not genome.get("orderKey").isdecimal():
        report(genome.at("orderKey"), f"orderKey {genome.get('orderKey')!r} is no whole number")
    if genome.get("htmlPath"):
        check_page(genome, "htmlPath", path.parent, report)
    else:
        report(genome.line, f"genome {genome.name} has no htmlPath, a page that says what it is", error=False)
    if genome.get("groups"):
        local(genome.get("groups"), path.parent, genome.at("groups"), "groups", report)
    return Contigs(genome.name, _own_lengths(genome, path, report))


def _own_lengths(genome: Stanza, path: Path, report: Report) -> dict[str, int] | None:
    """The contigs of a genome's .2bit, which its default position must fit; None if it is elsewhere or unreadable."""
    line = genome.at("twoBitPath")
    file = local(genome.get("twoBitPath"), path.parent, line, "twoBitPath", report)
    try:
        lengths = two_bit_lengths(file) if file else None
    except SaeTracksError as error:
        report(line, str(error))
        return None
    try:
        if lengths and genome.get("defaultPos"):
            parse_region(genome.get("defaultPos").replace("..", "-"), lengths)
    except SaeTracksError as error:
        report(genome.at("defaultPos"), f"defaultPos: {error}")
    return lengths


def _check_tracks(stanzas: list[Stanza], contigs: Contigs | None, path: Path, report: Report) -> None:
    """Check the tracks of one genome."""
    tracks: dict[str, Stanza] = {}
    for stanza in stanzas:
        first = next(iter(stanza.settings))
        if first == "include":
            report(stanza.line, "included files are not looked at: check them by putting them in", error=False)
        elif first != "track":
            report(stanza.line, f"a stanza begins with 'track NAME', not {first!r}: a blank line before it is too many")
        elif stanza.name in tracks:
            report(stanza.line, f"track {stanza.name} is there already, in line {tracks[stanza.name].line}")
        else:
            tracks[stanza.name] = stanza
    if not tracks:
        report(0, "the hub has no track")
    children = check_family(tracks, report)
    for name, stanza in tracks.items():
        settings = inherited(stanza, tracks)
        check_values(stanza, settings, is_parent=bool(children[name]), report=report)
        if not settings.get("html"):
            report(stanza.line, f"track {name} has no page: set html, here or in its parent", error=False)
        elif "html" in stanza.settings:
            check_page(stanza, "html", path.parent, report)
        if not children[name]:
            check_data(stanza, settings.get("type"), contigs or Contigs(""), path.parent, report)
