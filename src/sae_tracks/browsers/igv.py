"""Sessions over a folder of tracks: XML for IGV on the desktop, JSON for igv.js."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from sae_tracks.browsers.names import best_track, match_of, named_tracks, title
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, write_json
from sae_tracks.genome import Genome
from sae_tracks.tracks.folder import TrackFile, list_intervals, relative
from sae_tracks.tracks.loci import highest

FASTA_ENDINGS = (".fa", ".fasta", ".fna", ".gz", ".bgz")
HEIGHT = 60  # pixels
SCALE = "1"  # the one autoscale group of all features


@dataclass(frozen=True, slots=True)
class Session:
    """What a session shows, paths relative to the session files.

    Attributes
    ----------
    genome : str
        IGV's id of the genome, or the FASTA.
    index : str
        The FASTA's ``.fai``; empty for an id.
    locus : str
        1-based inclusive.
    tracks : list of (str, str, TrackFile)
        Path, name and facts of each bigWig.
    intervals : list of str
        BED files.
    """

    genome: str
    index: str
    locus: str
    tracks: list[tuple[str, str, TrackFile]]
    intervals: list[str]


def write_sessions(
    tracks: Path, genome: str, out: Path | None = None, locus: str | None = None, scores: Path | None = None
) -> list[Path]:
    """Write ``OUT.xml`` for IGV on the desktop and ``OUT.json`` for igv.js.

    All features share one scale, from 0 to the largest value on the screen; the height of a pixel is the largest value
    of its bases.

    Parameters
    ----------
    tracks : Path
        Folder of bigWigs and, perhaps, BED files.
    genome : str
        IGV's id, such as hg38, or the path of a FASTA.
    out : Path, optional
        The session files without their endings; default ``session`` in `tracks`.
    locus : str, optional
        Where the session opens; default around the highest value of the best match's track, or of the first.
    scores : Path, optional
        Table that names the tracks and orders them, see `read_matches`; without one they go by their numbers.

    Returns
    -------
    list of Path
        The two files.

    Raises
    ------
    SaeTracksError
        There is no bigWig, the FASTA is missing or has no index, or the table cannot be read.
    """
    files, matches = named_tracks(tracks, scores)
    out = tracks / "session" if out is None else out.with_suffix("") if out.suffix in (".xml", ".json") else out
    base = out.parent
    name, index = _reference(genome, base)
    session = Session(
        genome=name,
        index=index,
        locus=locus or str(highest(best_track(files, matches).path)),
        tracks=[(relative(file.path, base), title(file, match_of(file, matches)), file) for file in files],
        intervals=[relative(path, base) for path in list_intervals(tracks)],
    )
    desktop, web = (out.with_name(out.name + ending) for ending in (".xml", ".json"))
    with atomic(desktop) as temporary:
        _xml(session).write(temporary, encoding="UTF-8", xml_declaration=True)
    write_json(web, _json(session))
    return [desktop, web]


def _reference(genome: str, base: Path) -> tuple[str, str]:
    """The genome's id and "", or the relative paths of a FASTA and of its index."""
    path = Path(genome)
    if not path.is_file() and "/" not in genome and not genome.endswith(FASTA_ENDINGS):
        return genome, ""
    Genome(path)  # makes the index where there is none
    index = Path(f"{path}.fai")
    if not index.is_file():
        raise SaeTracksError(f"{path} has no index, and its folder cannot be written: `samtools faidx` a copy of it")
    return relative(path, base), relative(index, base)


def _xml(session: Session) -> ElementTree.ElementTree:
    """A desktop session. IGV finds a relative path, a track's id and the genome's FASTA from the session's folder."""
    root = ElementTree.Element(
        "Session",
        {"genome": session.genome, "locus": session.locus, "nextAutoscaleGroup": str(int(SCALE) + 1), "version": "8"},
    )
    resources = ElementTree.SubElement(root, "Resources")
    for path in (*(path for path, *_ in session.tracks), *session.intervals):
        ElementTree.SubElement(resources, "Resource", {"path": path})
    data = ElementTree.SubElement(root, "Panel", {"name": "DataPanel"})
    upper = max(file.maximum for *_, file in session.tracks) or 1.0
    for path, name, file in session.tracks:
        _xml_track(data, path, name, file.colour, upper)
    features = ElementTree.SubElement(root, "Panel", {"name": "FeaturePanel"})
    for name in ("Reference sequence", *session.intervals):
        kind = "SequenceTrack" if name == "Reference sequence" else "FeatureTrack"
        attributes = {"clazz": f"org.broad.igv.track.{kind}", "id": name, "name": Path(name).name, "visible": "true"}
        ElementTree.SubElement(features, "Track", attributes)
    ElementTree.indent(root)
    return ElementTree.ElementTree(root)


def _xml_track(panel: ElementTree.Element, path: str, name: str, colour: str, upper: float) -> None:
    attributes = {
        "autoScale": "false",
        "autoscaleGroup": SCALE,
        "clazz": "org.broad.igv.track.DataSourceTrack",
        "color": colour,
        "height": str(HEIGHT),
        "id": path,
        "name": name,
        "renderer": "BAR_CHART",
        "visible": "true",
        "windowFunction": "max",
    }
    track = ElementTree.SubElement(panel, "Track", attributes)
    limits = {"baseline": "0.0", "minimum": "0.0", "maximum": str(upper), "type": "LINEAR"}
    ElementTree.SubElement(track, "DataRange", limits)


def _json(session: Session) -> dict:
    """A session for igv.js, whose paths are parts of addresses."""
    tracks = [
        {
            "name": name,
            "type": "wig",
            "format": "bigwig",
            "url": quote(path),
            "color": f"rgb({file.colour})",
            "height": HEIGHT,
            "autoscaleGroup": SCALE,
            "windowFunction": "max",
        }
        for path, name, file in session.tracks
    ]
    tracks += [
        {"name": Path(path).name, "type": "annotation", "format": "bed", "url": quote(path), "indexed": False}
        for path in session.intervals
    ]
    return {**_json_reference(session), "locus": session.locus, "tracks": tracks}


def _json_reference(session: Session) -> dict:
    if not session.index:
        return {"genome": session.genome}
    reference = {
        "id": Path(session.genome).name,
        "fastaURL": quote(session.genome),
        "indexURL": quote(session.index),
    }
    if session.genome.endswith((".gz", ".bgz")):
        reference["compressedIndexURL"] = quote(session.genome) + ".gzi"
    return {"reference": reference, "loadDefaultGenomes": False}  # no list of genomes from the network
