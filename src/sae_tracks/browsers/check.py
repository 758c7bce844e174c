"""Checks a track hub by UCSC's rules: the hub, its genomes, its tracks and their files."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from sae_tracks.bbi import BIGBED, contig_lengths, read_header
from sae_tracks.browsers.sites import Contigs
from sae_tracks.browsers.stanzas import HUB, LONG, SHORT, Finding, Stanza, read_stanzas
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import parse_region
from sae_tracks.tracks.bbi.twobit import two_bit_lengths

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
SERVED = ("http", "https", "ftp")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
EXAMPLE_MAIL = re.compile(r"@example\.(com|net|org)$")
LABELS = {"shortLabel": SHORT, "longLabel": LONG}
NOT_INHERITED = ("track", "parent", "compositeTrack", "container", "superTrack", "view", "bigDataUrl")
BIGBED_TYPES = {
    *("bigBed", "bigGenePred", "bigPsl", "bigChain", "bigMaf", "bigNarrowPeak", "bigBarChart", "bigInteract"),
    *("bigLolly", "bigDbSnp", "bigRmsk", "bigMethyl"),
}
TYPES = BIGBED_TYPES | {"bigWig", "bam", "vcfTabix", "vcfPhasedTrio", "longTabix", "hic", "halSnake", "pslSnake"}


def check_hub(path: Path) -> list[Finding]:
    """Check a hub in a folder by UCSC's rules, without a network; what lies at URLs is not checked.

    Parameters
    ----------
    path : Path
        hub.txt or its folder.

    Returns
    -------
    list of Finding
        By file and line. UCSC takes the hub if none is an error.

    Raises
    ------
    SaeTracksError
        There is no hub.txt, or it is not the text of a hub.
    """
    path = path / HUB if path.is_dir() else path
    findings: list[Finding] = []
    stanzas = read_stanzas(path, findings)
    if not stanzas or stanzas[0].kind != "hub":
        raise SaeTracksError(f"{path} is no hub: its first setting is not 'hub NAME'")
    head, *others = stanzas
    _check_head(head)
    if head.get("useOneFile") == "on":
        _check_one_file(head, others)
    elif head.get("genomesFile"):
        _check_genomes_file(head)
    return sorted(set(findings), key=lambda finding: (finding.path != path, finding))


def _check_head(head: Stanza) -> None:
    for name in (*LABELS, "email"):
        if not head.get(name):
            head.error(f"the hub has no {name!r}, which UCSC requires", name)
    if re.search(r"\s", head.name):
        head.error(f"the hub's name {head.name!r} holds a space: take letters, digits and underscores")
    _check_labels(head)
    email, one_file = head.get("email"), head.get("useOneFile")
    if email and not EMAIL.fullmatch(email):
        head.error(f"{email!r} is no mail address", "email")
    elif EXAMPLE_MAIL.search(email):
        head.warn(f"{email} reaches nobody: give an address for questions on the hub", "email")
    if one_file not in ("", "on"):
        head.error(f"useOneFile is {one_file!r}: it is 'on', or left out", "useOneFile")
    if one_file == "on" and head.get("genomesFile"):
        head.error("both useOneFile and genomesFile: leave out one", "genomesFile")
    if one_file != "on" and not head.get("genomesFile"):
        head.error("the hub has neither 'useOneFile on' nor 'genomesFile FILE'")
    _check_page(head, "descriptionUrl", "the hub")


def _check_one_file(head: Stanza, stanzas: list[Stanza]) -> None:
    genomes = [stanza for stanza in stanzas if stanza.kind == "genome"]
    if len(genomes) != 1:
        place = genomes[1] if genomes else head
        place.error(f"{len(genomes)} stanzas 'genome NAME': with useOneFile there is exactly one")
    if genomes and stanzas[0] is not genomes[0]:
        genomes[0].error("the genome's stanza comes after others: it stands right after the hub's")
    contigs = _check_genome(genomes[0]) if genomes else Contigs("")
    _check_tracks([stanza for stanza in stanzas if stanza.kind != "genome"], head, contigs)


def _check_genomes_file(head: Stanza) -> None:
    """Follow a hub through its genomesFile to the trackDb of each genome."""
    file = _local(head, "genomesFile")
    if file is None:
        return
    names: set[str] = set()
    for genome in read_stanzas(file, head.findings):
        if genome.kind != "genome":
            genome.error(f"a stanza begins with 'genome NAME', not {genome.kind!r}")
            continue
        if genome.name in names:
            genome.error(f"genome {genome.name} has a stanza already")
        names.add(genome.name)
        contigs = _check_genome(genome)
        if not genome.get("trackDb"):
            genome.error(f"genome {genome.name} has no 'trackDb FILE'")
        elif track_db := _local(genome, "trackDb"):
            _check_tracks(read_stanzas(track_db, head.findings), genome, contigs)
    if not names:
        head.error(f"no stanza 'genome NAME' in {file}", "genomesFile")


def _check_genome(genome: Stanza) -> Contigs:
    """Check the stanza of a genome; return its contigs, which are known if the hub has its .2bit."""
    if not re.fullmatch(r"[A-Za-z][\w.-]*", genome.name, re.ASCII):
        genome.error(f"{genome.name!r} is no name of a genome: take letters, digits and underscores")
    if not genome.get("twoBitPath"):
        return Contigs(genome.name)
    for name in ("organism", "defaultPos"):
        if not genome.get(name):
            genome.error(f"genome {genome.name} has a twoBitPath and so needs {name!r}")
    _check_page(genome, "htmlPath", f"genome {genome.name}")
    if genome.get("groups"):
        _local(genome, "groups")
    return Contigs(genome.name, _two_bit_lengths(genome))


def _two_bit_lengths(genome: Stanza) -> dict[str, int] | None:
    """Return the contigs of a genome's .2bit, which its default position must fit; None if it cannot be read here."""
    file, setting = _local(genome, "twoBitPath"), "twoBitPath"
    lengths = None
    try:
        lengths = two_bit_lengths(file) if file else None
        setting = "defaultPos"
        if lengths and genome.get(setting):
            parse_region(genome.get(setting).replace("..", "-"), lengths)
    except SaeTracksError as error:
        genome.error(f"{setting}: {error}", setting)
    return lengths


def _check_tracks(stanzas: list[Stanza], owner: Stanza, contigs: Contigs) -> None:
    """Check the tracks of one genome; `owner` is the stanza at which a lack of tracks is reported.

    A track is checked with what it inherits. Children that inherit one mistake add equal findings, which count once.
    """
    tracks = _by_name(stanzas)
    if not tracks:
        owner.error("the hub has no track")
    parents = _check_parents(tracks)
    for name, stanza in tracks.items():
        track = _with_inherited(stanza, tracks)
        _check_values(track)
        _check_page(track, "html", f"track {name}")
        groups = _defined_subgroups(track)
        if name not in parents:
            _check_subgroups(track, groups)
            _check_type(track)
            _check_data(track, contigs)


def _by_name(stanzas: list[Stanza]) -> dict[str, Stanza]:
    tracks: dict[str, Stanza] = {}
    for stanza in stanzas:
        if stanza.kind == "include":
            stanza.warn("included files are not checked: put their text here to check it")
        elif stanza.kind != "track":
            stanza.error(f"a stanza begins with 'track NAME', not {stanza.kind!r}: a blank line before it is too many")
        elif stanza.name in tracks:
            stanza.error(f"track {stanza.name} is there already, in line {tracks[stanza.name].line}")
        else:
            tracks[stanza.name] = stanza
    return tracks


def _parent_of(track: Stanza) -> str:
    """The name of a track's parent; a child may also name its superTrack by that setting."""
    above = track.get("parent") or ("" if _is_super(track) else track.get("superTrack"))
    return above.partition(" ")[0]


def _is_super(track: Stanza) -> bool:
    return track.get("superTrack").split()[:1] == ["on"]


def _ancestors(track: Stanza, tracks: Mapping[str, Stanza]) -> Iterator[Stanza]:
    """Yield the parent, its parent, and so on, until one is missing or comes again."""
    seen = {track.name}
    while (name := _parent_of(track)) in tracks and name not in seen:
        seen.add(name)
        track = tracks[name]
        yield track


def _with_inherited(track: Stanza, tracks: Mapping[str, Stanza]) -> Stanza:
    """Return a track with its own settings and those of its parents that it lacks."""
    settings = dict(track.settings)
    for ancestor in _ancestors(track, tracks):
        inherited = {name: value for name, value in ancestor.settings.items() if name not in NOT_INHERITED}
        settings = settings | {name: value for name, value in inherited.items() if name not in settings}
    return Stanza(track.path, track.line, track.findings, settings)


def _check_parents(tracks: Mapping[str, Stanza]) -> set[str]:
    """Check which track belongs to which; return the names of those that have children."""
    parents: set[str] = set()
    for track in tracks.values():
        name = _parent_of(track)
        if track.get("parent").split()[1:] not in ([], ["on"], ["off"]):
            track.error(f"parent {track.get('parent')!r}: it is a name, or a name and on or off", "parent")
        if name and (name == track.name or track.name in map(_parent_of, _ancestors(track, tracks))):
            track.error(f"track {track.name} is its own parent", "parent")
        elif name and name not in tracks:
            track.error(f"parent {name} of track {track.name} is no track of this genome", "parent")
        elif name and not _is_container(tracks[name]):
            said = f"parent {name} of track {track.name} is no compositeTrack, container, view or superTrack"
            track.error(said, "parent")
        elif name:
            parents.add(name)
    for name, track in tracks.items():
        if _is_container(track) and name not in parents:
            track.error(f"track {name} is a container, but no track names it as its parent")
        if _is_container(track) and track.get("bigDataUrl"):
            track.error(f"track {name} is a container and so has no data of its own", "bigDataUrl")
    return parents


def _is_container(track: Stanza) -> bool:
    is_super = _is_super(track)
    return is_super or any(track.get(name) for name in ("compositeTrack", "container", "view"))


def _defined_subgroups(track: Stanza) -> dict[str, set[str]]:
    """Return the groups of each subgroup that a composite defines, after a check of the definitions."""
    groups: dict[str, set[str]] = {}
    for setting, (value, _) in track.settings.items():
        if not re.fullmatch("subGroup[1-9]", setting):
            continue
        name, *words = value.split() or [""]
        pairs = [word.partition("=") for word in words[1:]]
        if not pairs or not all(map(all, pairs)):
            said = f"{setting} {value!r}: it is a name, a title, and tag=title for each group, without blanks"
            track.error(said, setting)
        groups[name] = {tag for tag, equals, _ in pairs if equals}
    for word in track.get("dimensions").split():
        if word.partition("=")[2] not in groups:
            track.error(f"dimensions: {word!r} names no subGroup", "dimensions")
    return groups


def _check_subgroups(track: Stanza, groups: Mapping[str, set[str]]) -> None:
    """Check that a track is in a group of every subgroup of its composite, and in no other."""
    mine = {name: tag for name, _, tag in (word.partition("=") for word in track.get("subGroups").split())}
    if unknown := [name for name in mine if name not in groups]:
        track.error(f"track {track.name}: no composite above it defines subgroup {', '.join(unknown)}", "subGroups")
    for name, tag in mine.items():
        if tag not in groups.get(name, {tag}):
            track.error(f"track {track.name}: {tag!r} is no group of {name}", "subGroups")
    for name in groups.keys() - mine.keys():
        track.error(f"track {track.name} is in no group of {name}: name one in subGroups", "subGroups")


def _check_labels(stanza: Stanza) -> None:
    for name, most in LABELS.items():
        if len(stanza.get(name)) > most:
            stanza.warn(f"{name} has {len(stanza.get(name))} letters; UCSC shows {most}", name)


def _check_values(track: Stanza) -> None:
    """Check name, labels and appearance."""
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", track.name):
        track.error(f"track name {track.name!r}: take letters, digits and underscores, a letter first")
    for name in LABELS:
        if not track.get(name):
            track.error(f"track {track.name} has no {name}")
    _check_labels(track)
    for name, (is_right, form) in FORMS.items():
        if name in track.settings and not is_right(track.get(name)):
            track.error(f"{name} {track.get(name)!r}: {form}", name)


def _check_type(track: Stanza) -> None:
    text = track.get("type")
    kind, *rest = text.split() or [""]
    if not kind:
        track.error(f"track {track.name} has no type")
    elif kind not in TYPES:
        track.error(f"type {kind!r} is none that a hub can have: {', '.join(sorted(TYPES))}", "type")
    elif kind == "bigWig" and rest and not (len(limits := _numbers(rest)) == 2 and limits[0] <= limits[1]):
        track.error(f"type {text!r}: it is bigWig, or bigWig and the lowest and highest value", "type")
    elif kind == "bigBed" and not re.fullmatch(r"(([3-9]|1[0-2])( [+.])?)?", " ".join(rest)):
        track.error(f"type {text!r}: it is bigBed, its BED columns (3 to 12), and + if there are more", "type")


def _numbers(words: list[str]) -> list[float]:
    """Return the words as numbers; none if one of them is no finite number."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _is_range(text: str) -> bool:
    limits = _numbers(text.split(":"))
    return "=" in text or (len(limits) == 2 and limits[0] < limits[1])  # a range per view (Peaks=0:10) is not checked


def _is_colour(text: str) -> bool:
    numbers = _numbers(text.split(","))
    return len(numbers) == 3 and all(number in range(256) for number in numbers)


def _is_height(text: str) -> bool:
    heights = _numbers(text.split(":"))
    return len(heights) in (1, 3) and heights == sorted(heights, reverse=True) and heights[-1] > 0


def _one_of(*words: str) -> tuple[Callable[[str], bool], str]:
    return words.__contains__, f"it is one of {', '.join(words)}"


FORMS: dict[str, tuple[Callable[[str], bool], str]] = {
    "visibility": _one_of("hide", "dense", "squish", "pack", "full", *"01234"),
    "windowingFunction": _one_of("maximum", "mean", "mean+whiskers", "minimum"),
    "autoScale": _one_of("on", "off", "group"),
    "alwaysZero": _one_of("on", "off"),
    "viewLimits": (_is_range, "it is two numbers, lower:upper"),
    "color": (_is_colour, "it is red,green,blue, each 0 to 255"),
    "maxHeightPixels": (_is_height, "it is most:default:least, in pixels"),
    "priority": (lambda text: len(_numbers([text])) == 1, "it is a number"),
}


def _check_data(track: Stanza, contigs: Contigs) -> None:
    """Check the file of a track."""
    url, kind = track.get("bigDataUrl"), track.get("type").partition(" ")[0]
    if not url:
        track.error(f"track {track.name} has no bigDataUrl")
        return
    path = _local(track, "bigDataUrl")
    if path is None or kind not in ("bigWig", *BIGBED_TYPES):
        return
    try:
        contigs.check(contig_lengths(path) if kind == "bigWig" else contig_lengths(path, BIGBED), url)
        if kind == "bigBed":
            _check_columns(track, read_header(path, BIGBED).columns)
    except SaeTracksError as error:
        track.error(str(error), "bigDataUrl")


def _check_columns(track: Stanza, columns: int) -> None:
    """Check the number of columns that a type line such as ``bigBed 6 +`` gives."""
    words = track.get("type").split()
    if len(words) == 1 or not words[1].isdecimal():
        return
    stated = int(words[1])
    if columns < stated or (columns > stated and not words[2:]):
        right = f"bigBed {stated} +" if columns > stated else f"bigBed {columns}"
        said = f"type {track.get('type')!r}, but {track.get('bigDataUrl')} has {columns} columns: write {right}"
        track.error(said, "type")


def _check_page(stanza: Stanza, setting: str, owner: str) -> None:
    """Check that a page exists. UCSC adds ``.html`` to the ``html`` of a track."""
    url = stanza.get(setting)
    if not url:
        stanza.warn(f"{owner} has no page: set {setting}")
    else:
        _local(stanza, setting, url if setting != "html" or url.endswith(".html") else f"{url}.html")


def _local(stanza: Stanza, setting: str, url: str = "") -> Path | None:
    """Return the file that a setting names (or `url`), relative to its own file; None if it is at a URL or missing."""
    url, base = url or stanza.get(setting), stanza.path.parent
    scheme = SCHEME.match(url)
    path = base / unquote(url)
    if scheme and scheme[1].lower() in SERVED:
        return None
    if scheme or url.startswith(("/", "~/", "\\")):
        said = f"{setting} {url} is a path of this machine, which UCSC cannot reach: make it relative or https://"
    elif re.search(r"\s", url):
        said = f"{setting} {url!r} holds a blank: write it as %20"
    elif not path.is_file():
        said = f"{setting} {url}: no such file in {base}"
    else:
        if not path.resolve().is_relative_to(base.resolve()):
            stanza.warn(f"{setting} {url} leads out of the hub's folder: serve it at the same place", setting)
        return path
    stanza.error(said, setting)
    return None
