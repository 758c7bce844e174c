"""``tracks.ini``: a folder of tracks as pyGenomeTracks draws them."""

import shlex
from configparser import ConfigParser
from pathlib import Path

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import CONTROLS, atomic
from sae_tracks.tracks.folder import TrackFile, list_intervals, list_tracks, relative
from sae_tracks.tracks.loci import highest

INI = "tracks.ini"
HEIGHT = "2"  # centimetres
# no border and no arrow outside an interval: it is drawn as wide as it is
BED = {"color": "#555555", "border_color": "none", "arrowhead_included": "true", "fontsize": "8"}


def write_tracks_ini(tracks: Path, out: Path | None = None) -> tuple[Path, str]:
    """Write a track file for pyGenomeTracks: an axis, and the bigWigs and BED files of the folder `tracks`.

    Both read strands of a feature share a colour and a scale, from 0 to their largest value. A pixel shows the largest
    value of its bases. Bases without a value stay empty.

    Returns
    -------
    Path, str
        The file (default ``tracks.ini`` in `tracks`), in which paths are relative to its folder; and the command that
        draws 500 bases around the highest value of the first track.

    Raises
    ------
    SaeTracksError
        There is no bigWig, or the name of a file has a blank, where pyGenomeTracks would cut it.
    """
    files, out = list_tracks(tracks), out or tracks / INI
    ini = ConfigParser(interpolation=None)
    ini["x-axis"] = {"where": "top"}
    for file in files:
        ini[_name(file.path)] = _section(file.path, out, "bigwig", file.label) | _bigwig(file, files)
    for path in list_intervals(tracks):
        ini[_name(path)] = _section(path, out, "bed", path.name) | BED
    with atomic(out) as temporary, temporary.open("w") as text:
        ini.write(text)
    place = highest(files[0].path)
    region = f"{place.contig}:{place.start}-{place.end}"  # pyGenomeTracks counts from 0
    return out, shlex.join(["pyGenomeTracks", "--tracks", str(out), "--region", region, "-o", "tracks.png"])


def _name(path: Path) -> str:
    """The name of a section: that of the file, in which a ``]`` would end it."""
    if CONTROLS.search(path.name):
        raise SaeTracksError(f"pyGenomeTracks takes no file name with a tab or a line break: rename {path.name!r}")
    return path.name.replace("]", ")")


def _section(path: Path, out: Path, kind: str, title: str) -> dict[str, str]:
    address = relative(path, out.parent)
    if " " in address:
        raise SaeTracksError(f"pyGenomeTracks takes no file name with a blank: rename {address!r}")
    return {"file": _escaped(address), "file_type": kind, "title": _escaped(title), "height": HEIGHT}


def _bigwig(file: TrackFile, files: list[TrackFile]) -> dict[str, str]:
    maximum = max(other.maximum for other in files if other.group == file.group)
    red, green, blue = map(int, file.colour.split(","))
    scale = {"min_value": "0", "max_value": f"{maximum or 1:.6g}", "summary_method": "max"}
    return {"color": f"#{red:02x}{green:02x}{blue:02x}", **scale}


def _escaped(text: str) -> str:
    """pyGenomeTracks reads its files with configparser, which replaces what follows a percent sign."""
    return text.replace("%", "%%")
