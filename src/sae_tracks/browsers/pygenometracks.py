"""``tracks.ini``: a folder of tracks as pyGenomeTracks draws them."""

import shlex
from configparser import ConfigParser
from pathlib import Path

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.tracks.folder import TrackFile, list_intervals, list_tracks, relative
from sae_tracks.tracks.loci import highest

INI = "tracks.ini"
HEIGHT = "2"  # centimetres
GREY = "#555555"


def write_tracks_ini(tracks: Path, out: Path | None = None) -> tuple[Path, str]:
    """Write a track file for pyGenomeTracks: an axis, the bigWigs and the BED files of a folder.

    Both read strands of a feature share a colour and a scale, from 0 to their largest value. A pixel shows the largest
    value of its bases; bases without a value stay empty.

    Parameters
    ----------
    tracks : Path
        Folder of bigWigs and, perhaps, BED files.
    out : Path, optional
        The file; default ``tracks.ini`` in `tracks`. Paths in it are relative to its folder.

    Returns
    -------
    Path, str
        The file, and the command that draws 500 bases around the highest value of the first track.

    Raises
    ------
    SaeTracksError
        There is no bigWig, or the name of a file has a blank, at which pyGenomeTracks cuts it.
    """
    files, out = list_tracks(tracks), out or tracks / INI
    ini = ConfigParser(interpolation=None)
    ini["x-axis"] = {"where": "top"}
    for file in files:
        maximum = max(other.maximum for other in files if other.group == file.group)
        ini[file.path.name] = _place(file.path, out.parent) | _bigwig(file, maximum)
    for path in list_intervals(tracks):
        ini[path.name] = _place(path, out.parent) | _bed(path)
    with atomic(out) as temporary, temporary.open("w") as text:
        ini.write(text)
    place = highest(files[0].path)
    region = f"{place.contig}:{place.start}-{place.end}"  # pyGenomeTracks counts from 0
    return out, shlex.join(["pyGenomeTracks", "--tracks", str(out), "--region", region, "-o", "tracks.png"])


def _place(path: Path, base: Path) -> dict[str, str]:
    address = relative(path, base)
    if " " in address:
        raise SaeTracksError(f"pyGenomeTracks takes no file name with a blank: rename {address!r}")
    return {"file": _escaped(address)}


def _bigwig(file: TrackFile, maximum: float) -> dict[str, str]:
    red, green, blue = map(int, file.colour.split(","))
    return {
        "file_type": "bigwig",
        "title": _escaped(file.label),
        "height": HEIGHT,
        "color": f"#{red:02x}{green:02x}{blue:02x}",
        "min_value": "0",
        "max_value": f"{maximum or 1:.6g}",
        "summary_method": "max",
    }


def _bed(path: Path) -> dict[str, str]:
    """No border and no arrow outside an interval: what is drawn is as wide as the interval."""
    look = {"height": HEIGHT, "color": GREY, "border_color": "none", "arrowhead_included": "true", "fontsize": "8"}
    return {"file_type": "bed", "title": _escaped(path.name), **look}


def _escaped(text: str) -> str:
    """pyGenomeTracks reads its files with configparser, which replaces what follows a percent sign."""
    return text.replace("%", "%%")
