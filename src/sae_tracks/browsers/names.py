"""What a track is called: after a factor only where its match is supported, else after the repeat, else by number."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from sae_tracks.browsers.stanzas import SHORT
from sae_tracks.controls.verdict import SUPPORTED, TEXTS
from sae_tracks.errors import SaeTracksError
from sae_tracks.metrics.scores import read_table
from sae_tracks.tracks.folder import TrackFile, list_tracks

REPEAT = "repeat"  # the verdict
NAMED = (SUPPORTED, REPEAT)  # verdicts that name a track, the better one first
NEEDED = ("concept", "feature", "read_strand", "f1", "verdict")
OPTIONAL = ("tf", "repeat_class")


@dataclass(frozen=True, slots=True)
class Match:
    """The match that a track is named after.

    Attributes
    ----------
    verdict : str
        ``supported`` or ``repeat``.
    concept, tf : str
        Concept, and name of its factor or "".
    repeat_class : str
        Class of the repeat that holds most true positives, or "".
    f1 : float
    """

    verdict: str
    concept: str
    tf: str
    repeat_class: str
    f1: float

    @property
    def word(self) -> str:
        """Factor, or concept where there is none; or the repeat."""
        return (self.tf or self.concept) if self.verdict == SUPPORTED else (self.repeat_class or REPEAT)


Matches = Mapping[tuple[str, str], Match]


def read_matches(table: Path) -> dict[tuple[str, str], Match]:
    """The match that names each feature and read strand, the best first.

    A feature with several is named after a supported match before one that a repeat explains, then by F1. Features of
    which every match has another verdict are left out.

    Parameters
    ----------
    table : Path
        ``metrics.tsv`` of `metrics`, or ``metrics.parquet``, which does not have the class of the repeats.

    Returns
    -------
    dict
        By feature (``f357``) and read strand (``+`` or ``-``).

    Raises
    ------
    SaeTracksError
        The table cannot be read, lacks a column, or has an F1 that is no number.
    """
    found = read_table(table, TEXTS)
    if missing := [name for name in NEEDED if name not in found]:
        raise SaeTracksError(
            f"{table} has no column {missing[0]!r}: name the metrics.tsv or metrics.parquet of metrics"
        )
    found = cast(pd.DataFrame, found[found["verdict"].isin(NAMED)])
    if "chosen" in found:  # the other thresholds of a pair are not what it is known for
        found = cast(pd.DataFrame, found[found["chosen"].astype(bool)])
    texts = {name: found[name] if name in found else pd.Series("", found.index) for name in OPTIONAL}
    found = found.assign(**{name: text.fillna("") for name, text in texts.items()})
    try:
        found["f1"] = pd.to_numeric(found["f1"])
    except ValueError as error:
        raise SaeTracksError(f"{table}: expected numbers in the column 'f1': {error}") from error
    found["rank"] = found["verdict"].map(NAMED.index)
    found = found.sort_values(["rank", "f1"], ascending=[True, False], kind="stable")
    matches: dict[tuple[str, str], Match] = {}
    for row in cast(pd.DataFrame, found[[*NEEDED, *OPTIONAL]]).to_dict("records"):
        match = Match(row["verdict"], row["concept"], row["tf"], row["repeat_class"], float(row["f1"]))
        matches.setdefault((row["feature"], row["read_strand"] or "+"), match)
    return matches


def named_tracks(folder: Path, table: Path | None) -> tuple[list[TrackFile], Matches]:
    """The tracks of a folder, and the matches that name them, both the best first.

    Parameters
    ----------
    folder : Path
    table : Path, optional
        See `read_matches`; without one the tracks go by their numbers.

    Returns
    -------
    list of TrackFile
        The read strands of a feature together.
    mapping
        As `read_matches` gives it, of what has a track.

    Raises
    ------
    SaeTracksError
        There is no bigWig, or the table cannot be read.
    """
    tracks = list_tracks(folder)
    keys = {_key(track) for track in tracks}
    matches = {key: match for key, match in (read_matches(table) if table else {}).items() if key in keys}
    place: dict[str, int] = {}
    for feature, _ in matches:
        place.setdefault(feature, len(place))
    return sorted(tracks, key=lambda track: place.get(track.feature, len(place))), matches


def _key(track: TrackFile) -> tuple[str, str]:
    return track.feature, track.strand or "+"


def match_of(track: TrackFile, matches: Matches) -> Match | None:
    """The match that names a track."""
    return matches.get(_key(track))


def best_track(tracks: list[TrackFile], matches: Matches) -> TrackFile:
    """The track of the best match; without a match the first."""
    best = next(iter(matches), None)
    return next((track for track in tracks if _key(track) == best), tracks[0])


def title(track: TrackFile, match: Match | None) -> str:
    """``f357``, ``f357 read +``, ``f357 ZNF460 +``, ``f357 SINE/Alu``."""
    return track.label if match is None else " ".join(filter(None, (track.feature, match.word, track.strand)))


def short_title(track: TrackFile, match: Match | None) -> str:
    """The same in the letters that UCSC shows.

    A word that is cut ends in two dots, so that it is not another's name; the read strand stays.
    """
    whole = title(track, match)
    if len(whole) <= SHORT:
        return whole
    strand = f" {track.strand}" if track.strand else ""
    room = SHORT - len(strand)
    left = room - len(f"{track.feature} ..")
    if match and left > 0:
        return f"{track.feature} {match.word[:left]}..{strand}"
    return (track.feature if len(track.feature) <= room else f"{track.feature[: room - 2]}..") + strand
