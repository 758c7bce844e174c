"""Sessions over a folder of tracks: XML for IGV on the desktop, JSON for igv.js."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from sae_tracks.browsers.names import NamedTrack, best_track, named_tracks
from sae_tracks.files import atomic, write_json
from sae_tracks.genome import Genome
from sae_tracks.tracks.folder import list_intervals, relative
from sae_tracks.tracks.loci import highest

FASTA_ENDINGS = (".fa", ".fasta", ".fna", ".gz", ".bgz")
HEIGHT = 60  # pixels
SCALE = "1"  # the one autoscale group of all features


@dataclass(frozen=True, slots=True)
class Session:
    """What a session shows; paths are relative to the session files."""

    genome: str  # IGV's id, or the FASTA
    index: str  # of the FASTA; "" for an id
    locus: str  # 1-based inclusive
    tracks: list[tuple[str, NamedTrack]]  # path of each bigWig
    intervals: list[str]  # BED files


def write_sessions(
    tracks: Path, genome: str, out: Path | None = None, locus: str | None = None, scores: Path | None = None
) -> list[Path]:
    """Write ``OUT.xml`` for IGV on the desktop and ``OUT.json`` for igv.js; return both paths.

    All features share one scale, from 0 to the largest value on the screen. The height of a pixel is the largest value
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
        Region to open; default around the highest value of the best match's track, or of the first track.
    scores : Path, optional
        Table that names the tracks and orders them, see `named_tracks`. Without one they are named by their numbers.

    Raises
    ------
    SaeTracksError
        There is no bigWig, the FASTA is missing or has no index, or the table cannot be read.
    """
    named = named_tracks(tracks, scores)
    out = tracks / "session" if out is None else out.with_suffix("") if out.suffix in (".xml", ".json") else out
    base = out.parent
    session = Session(
        *_reference(genome, base),
        locus=locus or str(highest(best_track(named))),
        tracks=[(relative(track.file.path, base), track) for track in named],
        intervals=[relative(path, base) for path in list_intervals(tracks)],
    )
    desktop, web = (out.with_name(out.name + ending) for ending in (".xml", ".json"))
    with atomic(desktop) as temporary:
        _xml(session).write(temporary, encoding="UTF-8", xml_declaration=True)
    write_json(web, _json(session))
    return [desktop, web]


def _reference(genome: str, base: Path) -> tuple[str, str]:
    """Return the genome's id and "", or the relative paths of a FASTA and of its index."""
    path = Path(genome)
    if not path.is_file() and "/" not in genome and not genome.endswith(FASTA_ENDINGS):
        return genome, ""
    index = Genome(path).index()
    return relative(path, base), relative(index, base)


def _xml(session: Session) -> ElementTree:
    """Return a desktop session. IGV looks for tracks and the genome's FASTA from the session's folder."""
    heading = {"genome": session.genome, "locus": session.locus}
    root = Element("Session", heading | {"nextAutoscaleGroup": str(int(SCALE) + 1), "version": "8"})
    resources = SubElement(root, "Resources")
    for path in (*(path for path, _ in session.tracks), *session.intervals):
        SubElement(resources, "Resource", {"path": path})
    data = SubElement(root, "Panel", {"name": "DataPanel"})
    upper = max(track.file.maximum for _, track in session.tracks) or 1.0
    for path, track in session.tracks:
        _xml_track(data, path, track, upper)
    features = SubElement(root, "Panel", {"name": "FeaturePanel"})
    for name in ("Reference sequence", *session.intervals):
        kind = "SequenceTrack" if name == "Reference sequence" else "FeatureTrack"
        attributes = {"clazz": f"org.broad.igv.track.{kind}", "id": name, "name": Path(name).name, "visible": "true"}
        if kind == "FeatureTrack":
            attributes["displayMode"] = "EXPANDED"  # in one line, the intervals of many features are a solid bar
        SubElement(features, "Track", attributes)
    indent(root)
    return ElementTree(root)


def _xml_track(panel: Element, path: str, track: NamedTrack, upper: float) -> None:
    attributes = {
        "autoScale": "false",
        "autoscaleGroup": SCALE,
        "clazz": "org.broad.igv.track.DataSourceTrack",
        "color": track.file.colour,
        "height": str(HEIGHT),
        "id": path,
        "name": track.title,
        "renderer": "BAR_CHART",
        "visible": "true",
        "windowFunction": "max",
    }
    limits = {"baseline": "0.0", "minimum": "0.0", "maximum": str(upper), "type": "LINEAR"}
    SubElement(SubElement(panel, "Track", attributes), "DataRange", limits)


def _json(session: Session) -> dict:
    """Return a session for igv.js, in which paths are percent-encoded."""
    if session.index:
        reference = {"id": Path(session.genome).name, "fastaURL": quote(session.genome)}
        reference["indexURL"] = quote(session.index)
        if session.genome.endswith((".gz", ".bgz")):
            reference["compressedIndexURL"] = quote(session.genome) + ".gzi"
        genome = {"reference": reference, "loadDefaultGenomes": False}  # no list of genomes from the network
    else:
        genome = {"genome": session.genome}
    tracks = [
        {
            "name": track.title,
            "type": "wig",
            "format": "bigwig",
            "url": quote(path),
            "color": f"rgb({track.file.colour})",
            "height": HEIGHT,
            "autoscaleGroup": SCALE,
            "windowFunction": "max",
        }
        for path, track in session.tracks
    ]
    shown = {"type": "annotation", "format": "bed", "indexed": False, "displayMode": "EXPANDED"}
    intervals = [{"name": Path(path).name, "url": quote(path)} | shown for path in session.intervals]
    return {**genome, "locus": session.locus, "tracks": tracks + intervals}
