"""The HTML of the page before any script runs. Text that comes from a file is escaped here."""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sae_tracks.controls.verdict import OUTCOMES, RIVALS
from sae_tracks.errors import SaeTracksError
from sae_tracks.names import feature_label

PICTURES = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
TRACK_HEADS = (
    '<th scope="col" data-column="density" class="number"><button type="button" '
    'title="Share of the track\'s bases where the feature is above 0">Density</button></th>'
    '<th scope="col" data-column="locus"><button type="button" '
    'title="Where the track is highest">Top locus</button></th>'
)
COMPARED_HEAD = (
    '<th scope="col" data-column="replicates"><button type="button" '
    'title="Replicates: another SAE has a feature with the same activity">Repl.</button></th>'
)
VIEWS = (
    '<label>View <select id="view"><option value="">table</option><option value="decoder">map by decoder</option>'
    '<option value="activity">map by activity</option></select></label>'
)
MAP = (
    '<div id="map" hidden><canvas role="img" aria-label="Features in a plane; the table has the same"></canvas>'
    '<output></output><p class="legend"></p><p class="note"></p></div>'
)
GENOME = '<div id="genome" role="region" aria-label="Genome browser" tabindex="-1"></div>'
WIDE, EDGE = 108, 4  # width and margin of the strip that shows a number beside its rivals, in pixels

Row = Mapping[str, Any]


def library(address: str, sha256: str) -> str:
    """Return a script beside the page, which runs only if its SHA-256 (base64) is the expected one."""
    return f'<script src="{address}" integrity="sha256-{sha256}" defer></script>'


def scripts(data: str, script: str) -> str:
    """Return the page's script, and the JSON that it reads."""
    return f'<script type="application/json" id="data">{data}</script>\n<script>{script}</script>'


def verdict_list(counts: Mapping[str, int]) -> str:
    """Return the number of matches per verdict; each is a button that filters the table."""
    total = max(sum(counts.values()), 1)
    items = []
    for name, says in OUTCOMES.items():
        count = counts.get(name, 0)
        state = f'aria-pressed="false"{"" if count else " disabled"}'
        items.append(
            f'<li><button type="button" class="filter" data-verdict="{name}" {state}>'
            f'<span class="count">{count:,}</span><span class="badge {name}">{name}</span></button>'
            f'<span class="share"><i class="{name}" style="width:{100 * count / total:.2f}%"></i></span>'
            f'<span class="says">{escape(says)}</span></li>'
        )
    return "".join(items)


def table_rows(rows: Iterable[Row], columns_of_tracks: bool = False, compared: bool = False) -> str:
    """Return one ``tr`` per match; ``data-row`` is its number. A script fills the cells about tracks."""
    more = "<td></td>" * TRACK_HEADS.count("</th>") if columns_of_tracks else ""
    return "\n".join(_row(i, row, (_replicates(row) if compared else "") + more) for i, row in enumerate(rows))


def _replicates(row: Row) -> str:
    return f"<td>{'' if math.isnan(row['replicates']) else 'yes' if row['replicates'] else 'no'}</td>"


def _row(number: int, row: Row, more: str) -> str:
    pair = ("concept", "site_strand") if row["concept"] else ("feature", "read_strand")
    link, verdict = quote(",".join(row[name] for name in pair), safe=""), escape(row["verdict"])
    cells = (
        f'<th scope="row"><a href="#{link}">{escape(row["concept"]) or "no score"}</a></th>',
        f"<td>{escape(row['tf'])}</td>",
        f'<td class="mid">{escape(row["site_strand"])}</td>',
        f"<td>{escape(feature_label(row['feature']))}</td>",
        f'<td><span class="badge {verdict}">{verdict}</span></td>' if verdict else "<td></td>",
        f"<td>{written(row['site_average_precision'])}</td>",
        f"<td>{_strip(row)}</td>",
        f"<td>{written(row['effect'], '+.2f')}</td>",
        f"<td>{written(row['recall_at_half'], '.2f')}</td>",
        f"<td>{written(row['f1'])}</td>",
        f"<td>{written(row['instances'], ',.0f')}</td>",
    )
    return f'<tr data-row="{number}">{"".join(cells)}{more}</tr>'


def written(value: float, form: str = ".3f") -> str:
    """Return a number as text; "" if it was not measured."""
    return "" if math.isnan(value) else f"{value:{form}}"


def _strip(row: Row) -> str:
    others = [row[rival.ap] for rival in RIVALS if rival.verdicts]
    return strip(row["site_average_precision"], row["site_ap_low"], row["site_ap_high"], others)


def strip(own: float, low: float, high: float, others: Iterable[float]) -> str:
    """Return a number (dot) with its interval (bar) beside those of rivals (ticks), from 0 to 1; "" without one."""

    def at(value: float) -> str:
        return f"{EDGE + (WIDE - 2 * EDGE) * min(max(value, 0), 1):.1f}"

    if math.isnan(own):
        return ""
    ticks = "".join(f"M{at(value)} 3v8" for value in others if not math.isnan(value))
    bar = "" if math.isnan(low) else f'<path class="bar" d="M{at(low)} 7H{at(high)}"/>'
    return (
        f'<svg class="strip" width="{WIDE}" height="14" aria-hidden="true">'
        f'<path class="axis" d="M{EDGE} 7H{WIDE - EDGE}"/>{bar}'
        f'<path class="ticks" d="{ticks}"/><circle cx="{at(own)}" cy="7" r="3"/></svg>'
    )


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and what they mean, for a ``dl``."""
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)


def outcome_list(heading: str, outcomes: Mapping[str, str], note: str = "") -> str:
    """Return what the verdicts of a registry mean."""
    order = (
        "The tests are made in the order from the last line to the first; the first one that fails gives the verdict."
    )
    return f'<h3>{heading}</h3>{paragraph([order, note])}<dl class="outcomes">{definitions(outcomes.items())}</dl>'


def paragraph(sentences: Sequence[str]) -> str:
    """Return one paragraph of sentences."""
    return f"<p>{' '.join(escape(sentence) for sentence in sentences)}</p>"


def figure(picture: bytes, kind: str, caption: str) -> str:
    """Return a picture inside the page, as an image, so that nothing in an SVG can run; `kind` is of `PICTURES`."""
    data = base64.b64encode(picture).decode()
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:{PICTURES[kind]};base64,{data}"><figcaption>{text}</figcaption></figure>'
    )


def picture_of(path: Path) -> str:
    """Return a figure made elsewhere; its caption is the file's name.

    Raises
    ------
    SaeTracksError
        The file cannot be read, or is no PNG, JPEG or SVG.
    """
    kind = path.suffix.lower()
    if kind not in PICTURES:
        raise SaeTracksError(f"{path.name}: a figure of the page ends in {', '.join(PICTURES)}")
    try:
        return figure(path.read_bytes(), kind, path.stem.replace("_", " "))
    except OSError as error:
        raise SaeTracksError(f"cannot read the figure {path}: {error.strerror}") from error
