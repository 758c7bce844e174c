"""The tracks beside the page: the files that the genome browser opens, and the facts shown of each track."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from sae_tracks.annotations import read_annotation
from sae_tracks.bbi import contig_lengths
from sae_tracks.browsers.sites import Contigs
from sae_tracks.dna import readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.motifs import Motif
from sae_tracks.regions import GenomicRegion
from sae_tracks.report.logos import LETTERS, letter_heights
from sae_tracks.report.serve import Content
from sae_tracks.tracks.folder import TrackFile, list_tracks
from sae_tracks.tracks.loci import Locus, top_loci

log = logging.getLogger(__name__)
LIBRARY, LICENSE = "igv.min.js", "igv.LICENSE.txt"
NAMES = ("bed", "narrowPeak", "broadPeak", "gtf", "gff3", "bigbed")  # igv.js's, of annotations
FORMATS = {f".{name.lower()}": name for name in NAMES} | {".gff": "gff3", ".bb": "bigbed"}  # by ending
LISTED = 10  # loci listed per track
WINDOWS, FLANK = 100, 15  # the logo counts the 31 bases around each of the 100 highest places
MOST_NAMES = 5000  # of a file, that can be looked for
VIEW = 160  # bases shown around a locus: letters can still be told apart


@dataclass(frozen=True, slots=True)
class TrackSet:
    """Tracks, annotations and the FASTA that they lie on."""

    genome: Path
    tracks: list[TrackFile]
    annotations: list[Path]

    def by_feature(self) -> dict[str, dict[str, TrackFile]]:
        """Return the tracks of each feature by read strand."""
        found: dict[str, dict[str, TrackFile]] = {}
        for track in self.tracks:
            found.setdefault(track.feature, {})[track.strand or "+"] = track
        return found


def open_tracks(folder: Path, genome: Path, annotations: Sequence[Path] = ()) -> TrackSet:
    """Open the bigWigs and annotations of a folder, and annotations that lie elsewhere.

    The BED, GTF, GFF3, bigBed and peak files of the folder are annotations. A link that leads out of the folder is left
    out, so that only files of the named folder are served. An index of the FASTA is made if there is none.

    Raises
    ------
    SaeTracksError
        There is no bigWig, a file cannot be read, or tracks and FASTA are of different genomes.
    """
    fasta = Genome(genome)
    fasta.index()  # igv.js reads it
    names = fasta.lengths
    tracks = [track for track in list_tracks(folder) if _lies_in(track.path, folder)]
    if not tracks:
        raise SaeTracksError(f"every bigWig of {folder} is a link out of it: name the folder in which they lie")
    contigs = Contigs(genome.name, names)
    for track in tracks:
        contigs.check(contig_lengths(track.path), track.path.name)
    own = [path for path in sorted(folder.iterdir()) if _format(path) and _lies_in(path, folder)]
    for path in annotations:
        if not path.is_file() or not _format(path):
            raise SaeTracksError(
                f"{path} is no file that the browser shows: expected {', '.join(FORMATS)}, or with .gz"
            )
    chosen = {path.name: path for path in (*own, *annotations)}
    return TrackSet(genome, tracks, list(chosen.values()))


def _lies_in(path: Path, folder: Path) -> bool:
    inside = path.resolve().is_relative_to(folder.resolve())
    if not inside:
        log.warning("left out: %s is a link out of its folder", path)
    return inside


def _format(path: Path) -> str:
    """Return igv.js's name of an annotation's format; "" if it has none."""
    return FORMATS.get(Path(path.name.lower().removesuffix(".gz")).suffix, "")


def track_files(chosen: TrackSet) -> dict[str, Content]:
    """Return library, FASTA, tracks, annotations and the facts of each track, by their addresses on the page."""
    site: dict[str, Content] = {name: asset(f"vendor/{name}") for name in (LIBRARY, LICENSE)}
    for ending in ("", ".fai", ".gzi"):
        if Path(f"{chosen.genome}{ending}").is_file():
            site[f"genome/{chosen.genome.name}{ending}"] = Path(f"{chosen.genome}{ending}").resolve()
    for track in chosen.tracks:
        site[f"tracks/{track.path.name}"] = track.path.resolve()
        site[f"loci/{track.name}.json"] = partial(track_facts, track.path, chosen.genome)
    for path in chosen.annotations:
        for each in filter(None, (path, _index_of(path))):
            site[f"annotations/{each.name}"] = each.resolve()
    return site


def asset(name: str) -> bytes:
    """Return a file of ``assets/``."""
    return (files("sae_tracks.report") / "assets" / name).read_bytes()


def _index_of(path: Path) -> Path | None:
    """Return the tabix index beside an annotation; None without one, or if it is a link out of the folder."""
    indexes = (path.with_name(path.name + ending) for ending in (".tbi", ".csi"))
    return next((index for index in indexes if index.is_file() and _lies_in(index, path.parent)), None)


def browser_settings(chosen: TrackSet) -> dict[str, Any]:
    """Return the settings of igv.js. Addresses are relative to the page and percent-encoded."""
    name = chosen.genome.name
    fasta = _address("genome", name)
    reference = {"id": name, "name": name, "fastaURL": fasta, "indexURL": f"{fasta}.fai"}
    if Path(f"{chosen.genome}.gzi").is_file():
        reference["compressedIndexURL"] = f"{fasta}.gzi"
    features = {
        feature: [_track(strand, track, max(t.maximum for t in strands.values())) for strand, track in strands.items()]
        for feature, strands in chosen.by_feature().items()
    }
    annotations = [_annotation(path) for path in chosen.annotations]
    return {"reference": reference, "features": features, "annotations": annotations, "places": strongest_sites(chosen)}


def strongest_sites(chosen: TrackSet) -> dict[str, str]:
    """Return where the strongest site of each name lies: what the browser shows if one looks for the name.

    igv.js itself goes to the last site of a name, and knows no factors. Genes are left to it.

    Returns
    -------
    dict
        By the name of a site or of its factor in capital letters: a region around the site with the highest score, the
        first of several, 1-based. Names of files with more than `MOST_NAMES` are left out.
    """
    genome, found = Genome(chosen.genome), dict[str, str]()
    for path in chosen.annotations:
        if _format(path).startswith("g"):
            continue
        try:
            sites = read_annotation(path, genome).sites
        except SaeTracksError as error:
            log.warning("names of sites cannot be looked for: %s", error)
            continue
        sites = sites.assign(Score=sites["Score"].fillna(-np.inf)).sort_values("Score", ascending=False, kind="stable")
        for column in ("Name", "TF"):
            named = sites.drop_duplicates(column)
            if len(named) > MOST_NAMES:
                continue
            for name, contig, start, end in zip(*(named[key] for key in (column, "Chromosome", "Start", "End"))):
                if name:
                    around = max((VIEW - (end - start)) // 2, 0)
                    region = GenomicRegion(contig, max(start - around, 0), min(end + around, genome.lengths[contig]))
                    found.setdefault(str(name).upper(), str(region))
    return found


def _track(strand: str, track: TrackFile, maximum: float) -> dict[str, Any]:
    """Return the settings of a track; both read strands of a feature share colour and scale."""
    return {
        "strand": strand,
        "name": track.label,
        "url": _address("tracks", track.path.name),
        "loci": _address("loci", f"{track.name}.json"),
        "color": f"rgb({track.colour})",
        "max": maximum or 1.0,
    }


def _annotation(path: Path) -> dict[str, Any]:
    settings = {"name": path.name, "url": _address("annotations", path.name), "format": _format(path)}
    index = _index_of(path)
    return settings | ({"indexURL": _address("annotations", index.name)} if index else {"indexed": False})


def _address(folder: str, name: str) -> str:
    return f"{folder}/{quote(name, safe='')}"


def track_facts(track: Path, genome: Path) -> bytes:
    """Return what the page shows of a track: its top loci, its histogram and the letters around its highest places.

    The JSON has ``loci`` (``at`` 1-based text, ``view`` the region to show, ``value``), ``bases``, ``active``, ``max``,
    ``counts`` (bases above 0 in equal bins from 0 to ``max``), ``windows``, ``flank`` and ``logo`` (bits of A, C, G, T
    at each of the 2 x flank + 1 positions, forward strand; null without a window).
    """
    found, fasta = top_loci(track, WINDOWS), Genome(genome)
    letters = [window for window in (_window(fasta, locus) for locus in found.loci) if window is not None]
    facts = {
        "loci": [_shown(locus, fasta) for locus in found.loci[:LISTED]],
        "bases": found.bases,
        "active": found.active,
        "max": float(found.edges[-1]),
        "counts": found.counts.tolist(),
        "windows": len(letters),
        "flank": FLANK,
        "logo": _logo(letters) if letters else None,
    }
    return json.dumps(facts, separators=(",", ":"), allow_nan=False).encode()


def _shown(locus: Locus, genome: Genome) -> dict[str, Any]:
    length = genome.lengths[locus.contig]
    start = max(min(locus.position - VIEW // 2, length - VIEW), 0)
    view = GenomicRegion(locus.contig, start, min(start + VIEW, length))
    return {"at": f"{locus.contig}:{locus.position + 1:,}", "view": str(view), "value": float(f"{locus.value:.4g}")}


def _window(genome: Genome, locus: Locus) -> bytes | None:
    """Return the letters around a locus; None if the contig ends there or one is not A, C, G or T."""
    start, end = locus.position - FLANK, locus.position + FLANK + 1
    if start < 0 or end > genome.lengths[locus.contig]:
        return None
    letters = genome.sequence(GenomicRegion(locus.contig, start, end))
    return letters if readable_bases(letters).all() else None


def _logo(windows: Sequence[bytes]) -> list[list[float]]:
    letters = np.frombuffer(b"".join(windows), np.uint8).reshape(len(windows), -1)
    counts = np.stack([(letters == ord(letter)).sum(axis=0) for letter in LETTERS], axis=1).astype(float)
    return np.round(letter_heights(Motif("", "", counts)), 3).tolist()
