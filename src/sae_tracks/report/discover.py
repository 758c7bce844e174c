"""Finds what to show in a folder: scores, tracks and the FASTA that they lie on."""

from collections.abc import Sequence
from pathlib import Path

from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.files import PROVENANCE
from sae_tracks.metrics.scores import BEST_SCORES
from sae_tracks.report.page import make_page, provenance_of
from sae_tracks.report.serve import PAGE, Site, folder_site
from sae_tracks.report.tracks import TrackSet, open_tracks

SCORES, TRACKS = "metrics", "tracks"  # folders below one that holds the whole work, as the demo writes it


def choose_tracks(tracks: Path | None, genome: Path | None = None, annotations: Sequence[Path] = ()) -> TrackSet | None:
    """Return the tracks of a page on a FASTA (default: the one that their provenance names); None without tracks.

    Raises
    ------
    SaeTracksError
        See `open_tracks`. Or a FASTA or annotations are given without tracks, or there is no FASTA.
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
    """Return the site that `view` serves: a page in the folder, or one of its scores and tracks.

    Scores are looked for in the folder or its ``metrics/``, tracks in the folder or its ``tracks/``.

    Parameters
    ----------
    tracks : Path, optional
        Folder of the tracks, if they lie elsewhere.
    genome, annotations
        See `choose_tracks`.
    motifs : str, optional
        See `make_page`.

    Raises
    ------
    SaeTracksError
        There is no such folder, nothing to show in it, or an option is given for a page that was written. See also
        `choose_tracks` and `make_page`.
    """
    if not folder.is_dir():
        raise SaeTracksError(f"no folder {folder}: name one of scores, of tracks, of both, or a page of `report`")
    if (folder / PAGE).is_file():
        if tracks or genome or annotations or motifs:
            raise UsageError(f"{folder} is a page, to which nothing can be added: give the options to `report`")
        return folder_site(folder)
    scores = next((path for path in (folder, folder / SCORES) if (path / BEST_SCORES).is_file()), None)
    found = next((path for path in (folder, folder / TRACKS) if any(path.glob("*.bw"))), None)
    if scores is None and found is None:
        raise SaeTracksError(
            f"nothing to look at in {folder}: neither {BEST_SCORES} (in it or {SCORES}/) nor *.bw (in it or {TRACKS}/)"
        )
    return make_page(scores, choose_tracks(tracks or found, genome, annotations), motifs=motifs).files


def _genome_of(tracks: Path) -> Path:
    """Return the FASTA of tracks, where their provenance says or, if both were moved, beside their folder."""
    genome = provenance_of(tracks).get("genome") or {}
    if not genome.get("path"):
        raise SaeTracksError(
            f"the browser needs the FASTA of the tracks, and {tracks} names none: give it with --genome"
        )
    path = Path(genome["path"])
    for place in (path, tracks.parent / path.name):
        if place.is_file():
            return place
    raise SaeTracksError(
        f"{path}, which {tracks / PROVENANCE} names as the genome, is not there: give it with --genome"
    )
