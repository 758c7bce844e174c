"""What there is to look at in a folder: scores, tracks and the FASTA that they lie on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.files import PROVENANCE, read_json
from sae_tracks.metrics.scores import BEST_SCORES
from sae_tracks.report.page import make_page
from sae_tracks.report.serve import PAGE, Site, folder_site
from sae_tracks.report.tracks import TrackSet, open_tracks

SCORES, TRACKS = "metrics", "tracks"  # folders below one that holds the whole work, as the demo writes it


@dataclass(frozen=True, slots=True)
class FolderContents:
    """What a folder holds.

    Attributes
    ----------
    page : Path or None
        The folder itself if it is a page that `report` wrote; the others are then None.
    scores, tracks : Path or None
        Folder of metrics.tsv; folder of bigWigs.
    """

    page: Path | None = None
    scores: Path | None = None
    tracks: Path | None = None


def discover(folder: Path) -> FolderContents:
    """Look for a page in a folder, else for scores in it or its ``metrics/``, and for tracks in it or its ``tracks/``.

    Raises
    ------
    SaeTracksError
        There is no such folder, or nothing to look at in it.
    """
    if not folder.is_dir():
        raise SaeTracksError(f"no folder {folder}: name one of scores, of tracks, of both, or a page of `report`")
    if (folder / PAGE).is_file():
        return FolderContents(page=folder)
    scores = next((path for path in (folder, folder / SCORES) if (path / BEST_SCORES).is_file()), None)
    tracks = next((path for path in (folder, folder / TRACKS) if any(path.glob("*.bw"))), None)
    if scores is None and tracks is None:
        raise SaeTracksError(
            f"nothing to look at in {folder}: neither {BEST_SCORES} (in it or {SCORES}/) nor *.bw (in it or {TRACKS}/)"
        )
    return FolderContents(scores=scores, tracks=tracks)


def choose_tracks(tracks: Path | None, genome: Path | None = None, annotations: Sequence[Path] = ()) -> TrackSet | None:
    """The tracks of a page, on the FASTA given or else on the one that their provenance names; None without tracks.

    Raises
    ------
    SaeTracksError
        See `open_tracks`; or a FASTA or annotations are given without tracks, or there is no FASTA.
    """
    if tracks is None:
        if genome or annotations:
            raise UsageError("--genome and --annotation are shown beside tracks: name them with --tracks")
        return None
    if not tracks.is_dir():
        raise SaeTracksError(f"no folder of tracks {tracks}: make one with sae-tracks export-bigwig")
    return open_tracks(tracks, genome or _genome_of(tracks), annotations)


def view_site(
    folder: Path,
    tracks: Path | None = None,
    genome: Path | None = None,
    annotations: Sequence[Path] = (),
    motifs: str | None = None,
) -> Site:
    """What `view` serves: a page that was written before, or one of the scores and tracks that a folder holds.

    Parameters
    ----------
    folder : Path
        See `discover`.
    tracks : Path, optional
        Folder of the tracks, where they lie elsewhere.
    genome, annotations
        See `choose_tracks`.
    motifs : str, optional
        See `make_page`.

    Raises
    ------
    SaeTracksError
        See `discover`, `choose_tracks` and `make_page`; or something is to be added to a page that was written.
    """
    found = discover(folder)
    if found.page:
        if tracks or genome or annotations or motifs:
            raise UsageError(f"{folder} is a page, to which nothing can be added: give the options to `report`")
        return folder_site(found.page)
    return make_page(found.scores, choose_tracks(tracks or found.tracks, genome, annotations), motifs=motifs).files


def _genome_of(tracks: Path) -> Path:
    """The FASTA that tracks were made from: where their provenance says, or beside their folder if both have moved."""
    record = tracks / PROVENANCE
    genome = (read_json(record) if record.is_file() else {}).get("genome") or {}
    if not genome.get("path"):
        raise SaeTracksError(
            f"the browser needs the FASTA of the tracks, and {tracks} names none: give it with --genome"
        )
    path = Path(genome["path"])
    found = [place for place in (path, tracks.parent / path.name) if place.is_file()]
    if not found:
        raise SaeTracksError(f"{path}, which {record} names as the genome, is not there: give it with --genome")
    return found[0]
