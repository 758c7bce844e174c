"""What the settings of a track may be."""

import math
import re
from collections.abc import Callable

from sae_tracks.browsers.hub.stanzas import LONG, SHORT, Report, Stanza

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
