"""The text of a hub: stanzas of settings, each with its line, and what is wrong with the text as such.

The rules are those of UCSC's "Hub Track Database Definition" (genome.ucsc.edu/goldenPath/help/trackDb/trackDbHub.html)
and "Using UCSC Genome Browser Track Hubs" (hgTrackHubHelp.html).
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sae_tracks.errors import SaeTracksError

HUB = "hub.txt"
SHORT, LONG = 17, 80  # letters that UCSC shows of a short and of a long label
KINDS = ("hub", "genome", "track")  # what the first setting of a stanza is called
REPEATABLE = ("metadata",)
Report = Callable[..., None]  # (line, text, error=True)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
BIGBED_TYPES = {
    *("bigBed", "bigGenePred", "bigPsl", "bigChain", "bigMaf", "bigNarrowPeak", "bigBarChart", "bigInteract"),
    *("bigLolly", "bigDbSnp", "bigRmsk", "bigMethyl"),
}
INDEXED_TYPES = {"bam": ".bai", "vcfTabix": ".tbi", "vcfPhasedTrio": ".tbi", "longTabix": ".tbi"}  # ending of the index
TYPES = {"bigWig", "hic", "halSnake", "pslSnake", *BIGBED_TYPES, *INDEXED_TYPES}
WORDS = {
    "visibility": ("hide", "dense", "squish", "pack", "full", *"01234"),
    "windowingFunction": ("maximum", "mean", "mean+whiskers", "minimum"),
    "autoScale": ("on", "off", "group"),
    **dict.fromkeys(("alwaysZero", "spectrum", "doWiggle"), ("on", "off")),
}


class Finding(NamedTuple):
    """Something that is wrong with a hub.

    Attributes
    ----------
    path : Path
        File of the hub.
    line : int
        Counted from 1; 0 if the finding concerns the whole file.
    error : bool
        True if UCSC refuses the hub or does not show the track; False if it is only bad practice.
    text : str
    """

    path: Path
    line: int
    error: bool
    text: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {'error' if self.error else 'warning'}: {self.text}"


class Setting(NamedTuple):
    """A setting: its value, and the line it begins at."""

    value: str
    line: int


@dataclass(slots=True)
class Stanza:
    """Settings that stand together.

    Attributes
    ----------
    line : int
        Its first line, from 1.
    settings : dict
        By name, in the order of the file; of one that is set twice the last.
    """

    line: int
    settings: dict[str, Setting] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``hub``, ``genome`` or ``track``; "" where it begins with another setting."""
        first = next(iter(self.settings), "")
        return first if first in KINDS else ""

    @property
    def name(self) -> str:
        """The value of its first setting."""
        return next(iter(self.settings.values())).value

    def get(self, name: str) -> str:
        """A value, "" where it is not set."""
        return self.settings[name].value if name in self.settings else ""

    def at(self, name: str) -> int:
        """The line of a setting, or of the stanza where it is not set."""
        return self.settings[name].line if name in self.settings else self.line


class Book:
    """Collects the findings in the files of a hub."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def on(self, path: Path) -> Report:
        """A function that adds findings on one file."""

        def report(line: int, text: str, *, error: bool = True) -> None:
            self.findings.append(Finding(path, line, error, text))

        return report


def read_stanzas(path: Path, report: Report) -> list[Stanza]:
    """The stanzas of a file.

    Blank lines end a stanza, ``#`` begins a line of comment, a ``\\`` at the end of a line goes on with the next.

    Parameters
    ----------
    path : Path
    report : callable
        Told what is wrong with the text.

    Raises
    ------
    SaeTracksError
        The file cannot be read as text.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}: name the hub.txt of a hub, or its folder") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SaeTracksError(f"cannot read {path} as the text of a hub: {error}") from error
    if text.startswith("\ufeff"):
        report(1, "the file begins with a byte order mark: save it as UTF-8 without one")
    if "\r" in text:
        report(text[: text.index("\r")].count("\n") + 1, "Windows line ends: save it with Unix ones", error=False)
    stanzas: list[Stanza] = []
    within = False
    for number, line in _lines(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")):
        if not line.strip():
            within = False
        elif not line.lstrip().startswith("#"):
            if within and line.split()[0] in KINDS:
                report(number, f"a blank line is missing before it: the stanza of line {stanzas[-1].line} goes on here")
                within = False
            if not within:
                stanzas.append(Stanza(number))
            within = True
            _add(stanzas[-1], number, line.strip(), report)
    return stanzas


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with the number of their first, those that end in a backslash joined with the next."""
    begun, held = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        begun = begun or number
        if line.endswith("\\"):
            held += line[:-1]
        else:
            yield begun, held + line
            begun, held = 0, ""
    if held:
        yield begun, held


def _add(stanza: Stanza, number: int, line: str, report: Report) -> None:
    """Take a setting into a stanza."""
    if "\t" in line:
        report(number, "a tab: separate a setting and its value by a space", error=False)
    name, *rest = line.split(None, 1)
    value = rest[0] if rest else ""
    if not value:
        report(number, f"{name!r} has no value")
    if name in stanza.settings and name not in REPEATABLE:
        before = stanza.settings[name].line
        report(number, f"{name!r} is set in line {before} already; UCSC takes one of them", error=False)
    stanza.settings[name] = Setting(value, number)


def check_labels(stanza: Stanza, report: Report) -> None:
    """Warn of labels that UCSC cuts."""
    for name, most in (("shortLabel", SHORT), ("longLabel", LONG)):
        if len(stanza.get(name)) > most:
            text = f"{name} has {len(stanza.get(name))} letters, of which UCSC shows {most}"
            report(stanza.at(name), text, error=False)


def check_values(track: Stanza, settings: Stanza, *, is_parent: bool, report: Report) -> None:
    """Check name, labels, type and appearance of a track.

    Parameters
    ----------
    track : Stanza
    settings : Stanza
        The same with what it inherits.
    is_parent : bool
        A parent needs no type.
    report : callable
    """
    if not NAME.fullmatch(track.name):
        report(track.line, f"track name {track.name!r}: it is of letters, digits and underscores, a letter first")
    for name in ("shortLabel", "longLabel"):
        if not settings.get(name):
            report(track.line, f"track {track.name} has no {name}")
    check_labels(track, report)
    if not is_parent and not settings.get("type"):
        report(track.line, f"track {track.name} has no type")
    elif not is_parent:
        _check_type(settings.get("type"), track.at("type"), report)
    for name, words in WORDS.items():
        if name in track.settings and track.get(name) not in words:
            report(track.at(name), f"{name} {track.get(name)!r}: it is one of {', '.join(words)}")
    for name, (is_right, form) in FORMS.items():
        if name in track.settings and not is_right(track.get(name)):
            report(track.at(name), f"{name} {track.get(name)!r}: {form}")


def _check_type(text: str, line: int, report: Report) -> None:
    kind, *rest = text.split()
    if kind not in TYPES:
        report(line, f"type {kind!r} is none that a hub can have: {', '.join(sorted(TYPES))}")
    elif kind == "bigWig" and rest and not (len(rest) == 2 and _ascend(rest)):
        report(line, f"type {text!r}: it is bigWig, or bigWig and the lowest and highest value")
    elif kind == "bigBed" and rest:
        columns, *more = rest
        if not (columns.isdecimal() and 3 <= int(columns) <= 12) or more not in ([], ["+"], ["."]):
            report(line, f"type {text!r}: it is bigBed, its BED columns (3 to 12), and + where there are more")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _ascend(words: list[str]) -> bool:
    numbers = [_number(word) for word in words]
    return all(map(math.isfinite, numbers)) and numbers[0] <= numbers[1]


def _is_range(text: str) -> bool:
    if "=" in text:  # a range for each view: Peaks=0:10 Signals=0:5
        return all(_is_range(word.partition("=")[2]) for word in text.split())
    words = text.split(":")
    return len(words) == 2 and _ascend(words) and _number(words[0]) < _number(words[1])


def _is_colour(text: str) -> bool:
    parts = [part.strip() for part in text.split(",")]
    return len(parts) == 3 and all(part.isdecimal() and int(part) <= 255 for part in parts)


def _is_height(text: str) -> bool:
    parts = text.split(":")
    if len(parts) not in (1, 3) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        return False
    heights = [int(part) for part in parts]
    return heights == sorted(heights, reverse=True)


FORMS: dict[str, tuple[Callable[[str], bool], str]] = {
    "viewLimits": (_is_range, "it is two numbers, lower:upper"),
    "viewLimitsMax": (_is_range, "it is two numbers, lower:upper"),
    "color": (_is_colour, "it is red,green,blue, each 0 to 255"),
    "altColor": (_is_colour, "it is red,green,blue, each 0 to 255"),
    "maxHeightPixels": (_is_height, "it is most:default:least, in pixels"),
    "priority": (lambda text: math.isfinite(_number(text)), "it is a number"),
}
