"""The description page of a hub: what the tracks are, and how they were made."""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sae_tracks.browsers.hub.names import Match, Matches, match_of, title
from sae_tracks.browsers.hub.sites import Sites
from sae_tracks.controls.verdict import SUPPORTED
from sae_tracks.files import PROVENANCE, read_json, without_folders
from sae_tracks.tracks.folder import TrackFile

LONGEST_FACT = 1000  # letters of a line of the record
PAPER = "https://arxiv.org/abs/2507.07486"


def description(
    folder: Path, tracks: Sequence[TrackFile], matches: Matches, table: Path | None, annotations: Sequence[Sites]
) -> str:
    """HTML under UCSC's headings for a page of a track.

    Parameters
    ----------
    folder : Path
        Of the tracks; its ``provenance.json`` is the record of the last export into it.
    tracks : sequence of TrackFile
    matches : mapping
        See `read_matches`.
    table : Path, optional
        Where they come from.
    annotations : sequence of Sites
    """
    return f"""<h2>Description</h2>
<p>Activations of sparse autoencoder (SAE) features along the genome. A gene language model reads the DNA, the SAE
splits its activations into features, and each track shows one feature: a value on every base that could be read, none
on N, other IUPAC letters and regions left out. &quot;read +&quot; is the model reading the genome as given,
&quot;read -&quot; its reverse complement.</p>
<h2>Display Conventions and Configuration</h2>
<p>Height is the largest activation of the bases of a pixel. Every axis goes from 0 to the largest value of its feature,
so heights of different features are not comparable; both read strands of a feature share axis and colour.
{_naming(table)}</p>
<ul>
{"".join(_track(track, match_of(track, matches), scored=table is not None) for track in tracks)}</ul>
{_beside(annotations)}<h2>Methods</h2>
<p>Made with sae-tracks. The record of the last export into the folder of the tracks:</p>
<table>
{_record(folder) or "<tr><td>none was found</td></tr>"}</table>
<h2>References</h2>
<p>Features of a gene language model as in <a href="{PAPER}">arXiv:2507.07486</a>.</p>
"""


def _naming(table: Path | None) -> str:
    if table is None:
        return "The tracks go by the number of their feature."
    return (
        f"Names come from <code>{html.escape(table.name)}</code>: a transcription factor (or another annotation) is "
        "named only where a match with it passed every test, a repeat where the repeat explains the match; a bare "
        "number says that neither is known."
    )


def _track(track: TrackFile, match: Match | None, *, scored: bool) -> str:
    text = f"<li>{html.escape(title(track, match))}: largest value {track.maximum:.6g}"
    if match is None:
        return text + "; no supported match" * scored + "</li>\n"
    if match.verdict == SUPPORTED:
        return f"{text}; supported match with {html.escape(match.concept)}, F1 {match.f1:.2f}</li>\n"
    return f"{text}; what it matches lies in repeats ({html.escape(match.word)})</li>\n"


def _beside(annotations: Sequence[Sites]) -> str:
    names = "".join(f"<li>{html.escape(sites.name)}</li>\n" for sites in annotations)
    return f"<p>Annotations beside the features:</p>\n<ul>\n{names}</ul>\n" if names else ""


def _record(folder: Path) -> str:
    record: Any = read_json(folder / PROVENANCE) if (folder / PROVENANCE).is_file() else {}
    facts = without_folders(record) if isinstance(record, dict) else {}  # a list was not written by an export
    rows = ((html.escape(key), html.escape(_fact(value))) for key, value in facts.items())
    return "".join(f"<tr><th>{key}</th><td><code>{value}</code></td></tr>\n" for key, value in rows)


def _fact(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_FACT else f"{text[:LONGEST_FACT]} ..."
