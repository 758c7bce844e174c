"""The page: what is found for it in a folder, what it consists of, and how it is written."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, cast

import numpy as np
import pandas as pd

from sae_tracks.controls.methods import methods_paragraph
from sae_tracks.controls.verdict import OUTCOMES, RIVALS
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.files import PROVENANCE, make_folder, scratch_folder, sha256, write_provenance
from sae_tracks.metrics.scores import BEST_SCORES
from sae_tracks.motifs import Motif, named_motifs
from sae_tracks.names import SIGNALS
from sae_tracks.records import read_made
from sae_tracks.report import head, markup
from sae_tracks.report.explained import Explained, read_explained
from sae_tracks.report.figures import plot_scores, save_figure
from sae_tracks.report.logos import COLORS, LETTERS, glyphs, letter_heights
from sae_tracks.report.scores import columns_of, embedded, load_scores, profiles_of, with_unscored
from sae_tracks.report.serve import PAGE, Content, Site, folder_site, write_site
from sae_tracks.report.signals import read_signals
from sae_tracks.report.tracks import LIBRARY, TrackSet, asset, browser_settings, open_tracks, track_files
from sae_tracks.signals.verdict import SIGNAL_OUTCOMES
from sae_tracks.tracks.folder import shown

SHOWN = {
    "genome?": ({"path": str}, None),
    "regions?": ([str], None),
    "split?": (bool, None),
    "signals?": {"files": [{"name": str}]},
}
SCRIPTS = ("table.js", "charts.js", "atlas.js", "browser.js", "detail.js")
SCORES, TRACKS = "metrics", "tracks"  # folders below one that holds the whole work, as the demo writes it
TITLE = "Features and what they match"
LESS = "Supported says less than for intervals: no untrained model is read, and repeats are not looked at."


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was made."""

    files: dict[str, Content]  # by address; ``index.html`` is the page itself
    matches: int  # rows of the table with a score
    supported: int  # matches with the verdict ``supported``
    signals: int  # that were scored
    logos: int  # motifs with a logo
    facts: dict[str, Any]  # the provenance of what was scored, or of the tracks


def make_page(
    scores: Path | None,
    tracks: TrackSet | None = None,
    *,
    motifs: str | None = None,
    figures: Sequence[Path] = (),
    title: str = TITLE,
    explained: Sequence[Path] = (),
) -> Page:
    """Make the page of a folder of scores, of tracks, or of both.

    Without tracks, the page is one file that needs nothing else. With tracks, it has a genome browser and needs a web
    server.

    Parameters
    ----------
    scores : Path, optional
        Folder with metrics.tsv or signals.tsv of `metrics`, or both, and, if they exist, its provenance.json,
        offsets.parquet and signal_profiles.parquet.
    tracks : TrackSet, optional
        See `open_tracks`. A track without a score has a row of its own.
    motifs : str, optional
        Matrices, for the logos of concepts that have their IDs; see `named_motifs`.
    figures : sequence of Path
        Pictures to show, such as activations along a region: PNG, JPEG or SVG.
    explained : sequence of Path
        Folders that `describe`, `motifs`, `atlas` and `compare` wrote, beside the one of the scores, which may hold
        their files too.

    Raises
    ------
    SaeTracksError
        An input cannot be read, or there are neither scores nor tracks.
    """
    folder = scores or (tracks.tracks[0].path.parent if tracks else None)
    if folder is None:
        raise SaeTracksError("a page needs scores or tracks, and neither was given")
    facts = provenance_of(folder)
    known = read_explained(folder, explained, facts.get("sae_sha256"))
    names = [one["name"] for one in facts.get("signals", {}).get("files", ())]
    signals = read_signals(scores, names) if scores else None
    matched = scores and (signals is None or (scores / BEST_SCORES).exists())
    scored = load_scores(scores, known.compared) if scores and matched else None
    table = with_unscored(scored, tracks.by_feature() if tracks else {})
    scored = table.head(0 if scored is None else len(scored))
    concepts = set(table["concept"])
    matrices = [motif for motif in named_motifs(motifs)[0] if motif.matrix_id in concepts] if motifs else []
    replicates = bool(table["replicates"].notna().any())
    data = _data(scores, table, matrices, known) | ({"browser": browser_settings(tracks)} if tracks else {})
    tables = [name for name, there in ((BEST_SCORES, len(scored)), (SIGNALS, signals)) if there]
    sections = _sections(scored, facts, 0 if signals is None else len(signals.table)) | {
        "title": markup.escape(title),
        "rows": markup.table_rows(table.to_dict("records"), tracks is not None, replicates),
        "views": markup.VIEWS if known.atlas else "",
        "map": markup.MAP if known.atlas else "",
        "compared": markup.COMPARED_HEAD if replicates else "",
        "signals": signals.section if signals else "",
        "downloads": " ".join(f'<a href="{name}" download>{name}</a>' for name in tables),
        "figures": "".join([_scores_figure(scored), *map(markup.picture_of, figures)]),
        "data": embedded(data),
    }
    site: dict[str, Content] = {PAGE: _fill(sections, len(table) > 0, tracks is not None).encode()}
    site |= {name: (scores / name).read_bytes() for name in tables if scores}
    return Page(
        files=site | (track_files(tracks) if tracks else {}),
        matches=len(scored),
        supported=int((cast(pd.Series, table["verdict"]) == "supported").sum()),
        signals=0 if signals is None else len(signals.table),
        logos=len(matrices),
        facts=facts,
    )


def write_report(
    scores: Path,
    out: Path,
    tracks: TrackSet | None = None,
    *,
    motifs: str | None = None,
    figures: Sequence[Path] = (),
    title: str = TITLE,
    explained: Sequence[Path] = (),
) -> Page:
    """Write the page into the folder `out`: ``index.html``, its files and ``provenance.json``.

    The other arguments are those of `make_page`.

    Raises
    ------
    SaeTracksError
        An input cannot be read, or `out` is `scores` or the folder of the tracks.
    """
    taken = [scores, *(track.path.parent for track in (tracks.tracks if tracks else ())[:1])]
    if out.resolve() in [path.resolve() for path in taken]:
        raise SaeTracksError(f"{out} holds the scores or the tracks: name another folder for the page")
    page = make_page(scores, tracks, motifs=motifs, figures=figures, title=title, explained=explained)
    make_folder(out)
    write_site(page.files, out)
    tables = {"scores_sha256": BEST_SCORES, "signals_sha256": SIGNALS}
    checksums = {key: sha256(scores / name) for key, name in tables.items() if name in page.files}
    write_provenance(out, public=True, scores=str(scores), **checksums, scored=page.facts)
    return page


def provenance_of(folder: Path) -> dict[str, Any]:
    """Return the record of how a folder was made; empty without one."""
    return read_made(folder / PROVENANCE, SHOWN) if (folder / PROVENANCE).exists() else {}


def _sections(scored: pd.DataFrame, facts: Mapping[str, Any], signals: int) -> dict[str, str]:
    """Return the sections of the template that say what was scored."""
    counts = scored["verdict"].value_counts().to_dict()
    said = head.sentences(facts, cast(pd.Series, scored["concept"]).nunique(), len(scored), signals)
    return {
        "lead": markup.paragraph(said),
        "verdicts": markup.verdict_list(counts) if len(scored) else "",
        "methods": f"<h3>Methods</h3>{markup.paragraph([methods_paragraph(facts)])}" if len(scored) and facts else "",
        "made": markup.definitions(head.settings(facts)),
    }


def _data(scores: Path | None, table: pd.DataFrame, matrices: Sequence[Motif], known: Explained) -> dict[str, Any]:
    """Return what the scripts draw. Logos are heights in bits, and the page draws one when its row is opened."""
    return {
        "columns": columns_of(table),
        "profiles": profiles_of(scores, table),
        "rivals": [rival._asdict() | {"ap": rival.ap, "f1": rival.f1} for rival in RIVALS],
        "verdicts": list(OUTCOMES),
        "logos": {motif.matrix_id: np.round(letter_heights(motif), 3).tolist() for motif in matrices},
        "features": known.features,
        "atlas": known.atlas,
        "letters": [{"letter": letter, "color": COLORS[letter], "path": glyphs()[letter]} for letter in LETTERS],
    }


def _scores_figure(table: pd.DataFrame) -> str:
    """Return the paper's Fig. 3; "" without scores."""
    if table.empty:
        return ""
    with scratch_folder("figure") as folder:
        path = folder / "scores.svg"
        save_figure(plot_scores(table.dropna(subset=["f1"])), path)
        caption = "Precision, recall and F1 of the best feature of each letter (A) and of the best annotations (B)."
        return markup.figure(path.read_bytes(), path.suffix, caption)


def _fill(sections: dict[str, str], rows: bool, tracked: bool) -> str:
    """Return the template with styles, scripts and sections, and what only a page with rows, signals or tracks has.

    The policy lets no script run but the page's own and, with tracks, a file beside it. Nothing is fetched from
    elsewhere.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    browser = {"heads": "", "genome": "", "kind": "", "library": ""}
    if tracked:
        library = markup.library(LIBRARY, _digest(asset(f"vendor/{LIBRARY}")))
        browser = {"heads": markup.TRACK_HEADS, "genome": markup.GENOME, "kind": ' class="tracked"', "library": library}
    parts = {"links": "", "matches": "", "terms": "", "outcomes": "", "scripts": ""}
    if rows:
        script = "\n".join(asset(name).decode() for name in SCRIPTS)
        policy += f"; script-src 'sha256-{_digest(script.encode())}'"
        policy += " 'self'; connect-src 'self'" if tracked else ""
        parts = {
            "links": '<a href="#browse">Table</a> ',
            "matches": Template(asset("matches.html").decode()).substitute(sections, **browser),
            "terms": asset("terms_matches.html").decode(),
            "outcomes": markup.outcome_list("Verdicts", OUTCOMES),
            "scripts": markup.scripts(sections["data"], script),
        }
    if sections["signals"]:
        parts["links"] += '<a href="#signals">Signals</a> '
        parts["terms"] += asset("terms_signals.html").decode()
        parts["outcomes"] += markup.outcome_list("Verdicts of signals", SIGNAL_OUTCOMES, LESS)
    style, page = asset("report.css").decode(), Template(asset("page.html").decode())
    return page.substitute(sections, **parts, library=browser["library"], policy=policy, style=style)


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


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
    explained: Sequence[Path] = (),
) -> Site:
    """Return the site that `view` serves: a page in the folder, or one of its scores and tracks.

    Scores are looked for in the folder or its ``metrics/``, tracks in the folder or its ``tracks/`` unless `tracks` is
    given. For the other arguments, see `choose_tracks` and `make_page`.

    Raises
    ------
    SaeTracksError
        There is no such folder, nothing to show in it, or an option is given for a page that was written. See also
        `choose_tracks` and `make_page`.
    """
    if not folder.is_dir():
        raise SaeTracksError(f"no folder {folder}: name one of scores, of tracks, of both, or a page of `report`")
    if (folder / PAGE).is_file():
        if tracks or genome or annotations or motifs or explained:
            raise UsageError(f"{folder} is a page, to which nothing can be added: give the options to `report`")
        return folder_site(folder)
    tables = (BEST_SCORES, SIGNALS)
    places = (folder, folder / SCORES)
    scores = next((path for path in places if any((path / name).is_file() for name in tables)), None)
    found = next((path for path in (folder, folder / TRACKS) if shown(path.glob("*.bw"))), None)
    if scores is None and found is None:
        raise SaeTracksError(
            f"nothing to look at in {folder}: no {' or '.join(tables)} in it or {SCORES}/, no *.bw in it or {TRACKS}/"
        )
    chosen = choose_tracks(tracks or found, genome, annotations)
    return make_page(scores, chosen, motifs=motifs, explained=explained).files


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
