"""Names of tracks: a factor only if its match is supported, else the repeat that explains it, else the number."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from sae_tracks.browsers.stanzas import SHORT
from sae_tracks.controls.verdict import SUPPORTED, TEXTS
from sae_tracks.errors import SaeTracksError
from sae_tracks.metrics.scores import is_true, read_table
from sae_tracks.names import DESCRIBED
from sae_tracks.tracks.folder import TrackFile, list_tracks

REPEAT = "repeat"  # the verdict
NAMED = (SUPPORTED, REPEAT)  # verdicts that name a track, the better one first
NEEDED = ("concept", "feature", "read_strand", "f1", "verdict")
OPTIONAL = ("tf", "site_strand", "repeat_class")


@dataclass(frozen=True, slots=True)
class Match:
    """The match that names a track."""

    verdict: str  # one of `NAMED`
    concept: str
    tf: str  # name of the concept's factor, or ""
    site_strand: str  # of the concept
    repeat_class: str  # of the repeat with most true positives, or ""
    f1: float

    @property
    def word(self) -> str:
        """The factor, or the concept if there is no factor; or the repeat."""
        return (self.tf or self.concept) if self.verdict == SUPPORTED else (self.repeat_class or REPEAT)

    @property
    def on_strand(self) -> str:
        """`` (+)`` or `` (-)``, the strand of the sites; "" of a repeat, and of sites without a strand."""
        return f" ({self.site_strand})" if self.verdict == SUPPORTED and self.site_strand in ("+", "-") else ""


@dataclass(frozen=True, slots=True)
class NamedTrack:
    """A track and the match that names it, if there is one."""

    file: TrackFile
    match: Match | None
    described: str = ""  # where its strongest places lie, if ``sae-tracks describe`` names the feature by that
    rank: float = math.inf  # of its best row in the table, named by it or not; 0 is the best

    @property
    def word(self) -> str:
        """What the title says beside the number: the match, else the description; or ""."""
        return self.match.word if self.match else self.described

    @property
    def title(self) -> str:
        """``f357``, ``f357 read +``, ``f357 ZNF460 (-) +``, ``f357 SINE/Alu``, ``f357 codon position 3, CDS +``."""
        file = self.file
        if self.match:
            return " ".join(filter(None, (file.feature, f"{self.word}{self.match.on_strand}", file.strand)))
        if not self.described:
            return file.label
        return f"{file.feature} {self.described}{f', read {file.strand}' if file.strand else ''}"

    @property
    def short_title(self) -> str:
        """The title, cut to the letters that UCSC shows.

        A cut word ends in two dots, so that it does not read as another name. The strands stay.
        """
        if len(self.title) <= SHORT:
            return self.title
        feature, strand = self.file.feature, f" {self.file.strand}" if self.file.strand else ""
        room, sites = SHORT - len(strand), self.match.on_strand if self.match else ""
        left = room - len(f"{feature} ..{sites}")
        if self.word and left > 0:
            return f"{feature} {self.word[:left]}..{sites}{strand}"
        return (feature if len(feature) <= room else f"{feature[: room - 2]}..") + strand


def _rows(path: Path) -> pd.DataFrame:
    """Return the chosen rows of a table: supported ones, then those that a repeat explains, then others, each by F1."""
    table = read_table(path, TEXTS)
    if missing := [name for name in NEEDED if name not in table]:
        raise SaeTracksError(f"{path} has no column {missing[0]!r}: name the metrics.tsv or metrics.parquet of metrics")
    if "chosen" in table:  # the other thresholds of a pair are not what it is known for
        table = cast(pd.DataFrame, table[table["chosen"].map(is_true).astype(bool)])
    table = table.assign(**{name: table[name].fillna("") if name in table else "" for name in OPTIONAL})
    order = [NAMED.index(verdict) if verdict in NAMED else len(NAMED) for verdict in table["verdict"]]
    return table.assign(order=order).sort_values(["order", "f1"], ascending=[True, False], kind="stable")


def _matches(rows: pd.DataFrame) -> dict[tuple[str, str], Match]:
    """The match that names each feature (``f357``) and read strand, from rows of which the best come first."""
    matches: dict[tuple[str, str], Match] = {}
    for row in rows.to_dict("records"):
        if row["verdict"] not in NAMED:
            continue
        match = Match(f1=float(row["f1"]), **{name: row[name] for name in ("verdict", "concept", *OPTIONAL)})
        matches.setdefault((row["feature"], row["read_strand"] or "+"), match)
    return matches


def read_names(folder: Path) -> dict[str, str]:
    """Return where the strongest places of features (``f357``) lie, from ``describe.tsv`` of a folder; none without it.

    Names by a supported match are left out: the scores know the read strand.
    """
    path = folder / DESCRIBED
    if not path.is_file():
        return {}
    table = read_table(path, ("name", "name_from"))
    if missing := [name for name in ("feature", "name", "name_from") if name not in table]:
        raise SaeTracksError(f"{path} has no column {missing[0]!r}: run sae-tracks describe again")
    named = table[table["name_from"] == "motifs"]
    return dict(zip(named["feature"], named["name"]))


def named_tracks(folder: Path, table: Path | None) -> list[NamedTrack]:
    """Return the tracks of a folder, the best rows of the table first, and the read strands of a feature together.

    A track is named by its best match that is supported or that a repeat explains. Supported matches come first, then
    those that a repeat explains, then all others, each by F1. The table is ``metrics.tsv`` of `metrics`, or
    ``metrics.parquet``, which lacks the class of the repeats. Without one, the tracks are sorted by their numbers.

    Raises
    ------
    SaeTracksError
        There is no bigWig, or the table cannot be read, lacks a column, or has an F1 that is no number.
    """
    matches, names, ranks = dict[tuple[str, str], Match](), dict[str, str](), dict[tuple[str, str], int]()
    if table:
        rows, names = _rows(table), read_names(table.parent)
        matches = _matches(rows)
        for rank, (feature, strand) in enumerate(zip(rows["feature"], rows["read_strand"])):
            ranks.setdefault((feature, strand or "+"), rank)
    tracks = []
    for file in list_tracks(folder):
        key = file.feature, file.strand or "+"
        tracks.append(NamedTrack(file, matches.get(key), names.get(file.feature, ""), ranks.get(key, math.inf)))
    best: dict[str, float] = {}
    for track in tracks:
        best[track.file.feature] = min(track.rank, best.get(track.file.feature, math.inf))
    return sorted(tracks, key=lambda track: best[track.file.feature])


def best_track(tracks: list[NamedTrack]) -> Path:
    """Return the track of the best row of the table; without a table the first."""
    return min(tracks, key=lambda track: track.rank).file.path
