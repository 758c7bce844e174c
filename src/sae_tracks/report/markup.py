"""The parts of the page that are HTML before any script runs. Whatever comes from a file is escaped here."""

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
TRACK_COLUMNS = (
    ("density", "Density", "Share of the track's bases where the feature is above 0", ' class="number"'),
    ("locus", "Top locus", "Where the track is highest", ""),
)
GENOME = '<div id="genome" role="region" aria-label="Genome browser" tabindex="-1"></div>'
WIDE, EDGE = 108, 4  # of the strip that shows F1 beside controls, in pixels

Row = Mapping[str, Any]


def library(address: str, sha256: str) -> str:
    """A script beside the page, which runs only where its bytes are the ones expected (SHA-256 in base64)."""
    return f'<script src="{address}" integrity="sha256-{sha256}" defer></script>'


def verdict_list(counts: Mapping[str, int]) -> str:
    """How many matches have each verdict; every one is a button that filters the table."""
    total = max(sum(counts.values()), 1)
    return "".join(_verdict(name, says, counts.get(name, 0), total) for name, says in OUTCOMES.items())


def _verdict(name: str, says: str, count: int, total: int) -> str:
    button = f'type="button" class="filter" data-verdict="{name}" aria-pressed="false"{"" if count else " disabled"}'
    return (
        f'<li><button {button}><span class="count">{count:,}</span><span class="badge {name}">{name}</span></button>'
        f'<span class="share"><i class="{name}" style="width:{100 * count / total:.2f}%"></i></span>'
        f'<span class="says">{escape(says)}</span></li>'
    )


def table_rows(rows: Iterable[Row], columns_of_tracks: bool = False) -> str:
    """One ``tr`` a match, in the order given; ``data-row`` is its number. The cells about tracks are filled later."""
    more = "<td></td>" * len(TRACK_COLUMNS) if columns_of_tracks else ""
    return "\n".join(_row(number, row, more) for number, row in enumerate(rows))


def _row(number: int, row: Row, more: str) -> str:
    pair = ("concept", "site_strand") if row["concept"] else ("feature", "read_strand")
    link = quote(",".join(row[name] for name in pair), safe="")
    cells = (
        f'<th scope="row"><a href="#{link}">{escape(row["concept"]) or "no score"}</a></th>',
        f"<td>{escape(row['tf'])}</td>",
        f'<td class="mid">{escape(row["site_strand"])}</td>',
        f"<td>{escape(_feature(row))}</td>",
        f"<td>{_badge(escape(row['verdict']))}</td>",
        f"<td>{_number(row['f1'])}</td>",
        f"<td>{_strip(row)}</td>",
        f"<td>{_number(row['precision'])}</td>",
        f"<td>{_number(row['recall'])}</td>",
        f"<td>{_count(row['instances'])}</td>",
    )
    return f'<tr data-row="{number}">{"".join(cells)}{more}</tr>'


def track_heads() -> str:
    """The heads of the columns about tracks."""
    return "".join(
        f'<th scope="col" data-column="{column}"{kind}><button type="button" title="{says}">{name}</button></th>'
        for column, name, says, kind in TRACK_COLUMNS
    )


def _feature(row: Row) -> str:
    return feature_label(row["feature"])


def _badge(verdict: str) -> str:
    return f'<span class="badge {verdict}">{verdict}</span>' if verdict else ""


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _count(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}"


def _strip(row: Row) -> str:
    """F1 (dot) with its interval (bar) beside the controls that decide a verdict (ticks), from 0 to 1."""

    def at(value: float) -> str:
        return f"{EDGE + (WIDE - 2 * EDGE) * min(max(value, 0), 1):.1f}"

    if math.isnan(row["f1"]):
        return ""
    others = [row[c.column] for c in RIVALS if c.verdict and not math.isnan(row[c.column])]
    ticks = "".join(f"M{at(value)} 3v8" for value in others)
    bar = "" if math.isnan(row["f1_low"]) else f'<path class="bar" d="M{at(row["f1_low"])} 7H{at(row["f1_high"])}"/>'
    return (
        f'<svg class="strip" width="{WIDE}" height="14" aria-hidden="true">'
        f'<path class="axis" d="M{EDGE} 7H{WIDE - EDGE}"/>{bar}'
        f'<path class="ticks" d="{ticks}"/><circle cx="{at(row["f1"])}" cy="7" r="3"/></svg>'
    )


def pairs_of(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they mean or are, for a ``dl``."""
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)


def paragraphs(sentences: Sequence[str]) -> str:
    """One paragraph of some sentences."""
    return f"<p>{' '.join(escape(sentence) for sentence in sentences)}</p>"


def figure(picture: bytes, kind: str, caption: str) -> str:
    """A picture within the page, as an image: nothing in an SVG can run.

    Parameters
    ----------
    picture : bytes
    kind : str
        Ending of its file: one of `PICTURES`.
    caption : str
    """
    data = base64.b64encode(picture).decode()
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:{PICTURES[kind]};base64,{data}"><figcaption>{text}</figcaption></figure>'
    )


def picture_of(path: Path) -> str:
    """A figure made elsewhere; its caption is the file's name.

    Raises
    ------
    SaeTracksError
        The file is not there, or no PNG, JPEG or SVG.
    """
    kind = path.suffix.lower()
    if kind not in PICTURES:
        raise SaeTracksError(f"{path.name}: a figure of the page ends in {', '.join(PICTURES)}")
    try:
        return figure(path.read_bytes(), kind, path.stem.replace("_", " "))
    except OSError as error:
        raise SaeTracksError(f"cannot read the figure {path}: {error.strerror}") from error
