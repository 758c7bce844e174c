"""The page of a benchmark: one file that any browser opens without a network. A click on a heading sorts its table."""

import base64
import hashlib
from html import escape
from string import Template
from typing import Any

import pandas as pd

from sae_tracks.sharing.definition import Benchmark
from sae_tracks.sharing.rows import COLUMNS, Column

SHORT = 12  # letters of a checksum
STYLE = """
:root { --ink: #1d2126; --soft: #59626b; --line: #d9dee2; --faint: #f3f5f6; --link: #00568c;
  --plain: Inter, "Helvetica Neue", "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif;
  --text: "Source Serif 4", Charter, Cambria, Georgia, "Liberation Serif", serif; }
body { margin: 0 auto; max-width: 1500px; padding: 26px 28px 48px; color: var(--ink); font: 13px/1.45 var(--plain); }
h1, h2 { font-family: var(--text); font-weight: 600; line-height: 1.2; }
h1 { font-size: 27px; margin: 0 0 10px; } h2 { font-size: 20px; margin: 28px 0 8px; }
p { font: 15px/1.5 var(--text); max-width: 78ch; margin: 0 0 12px; } a { color: var(--link); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-bottom: 12px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 5px 8px; text-align: left; white-space: nowrap; }
thead th { border-bottom-color: var(--ink); padding: 0; }
thead button { font: inherit; font-weight: 600; width: 100%; border: 0; background: none; padding: 6px 8px;
  text-align: inherit; cursor: pointer; }
thead button:hover { background: var(--faint); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.number { text-align: right; } tbody tr:hover { background: var(--faint); }
td.name { max-width: 34ch; overflow: hidden; text-overflow: ellipsis; }
dt { font-weight: 600; margin-top: 8px; } dd { margin: 0; max-width: 90ch; color: var(--soft); }
code { font-size: 12px; }
"""
SCRIPT = """
const body = document.querySelector("tbody"), heads = [...document.querySelectorAll("thead th")];
const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent;
heads.forEach((head, i) => head.firstChild.addEventListener("click", () => {
  const number = head.classList.contains("number");
  const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : number;
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const order = (a, b) => number ? a - b : a.localeCompare(b, "en");
  const rows = [...body.rows].map((row, at) => [value(row, i), at, row]);
  rows.sort(([a, x], [b, y]) => (a === "") - (b === "") || (a === "" ? 0 : (down ? -1 : 1) * order(a, b)) || x - y);
  body.append(...rows.map(row => row[2]));
}));
"""
HTML = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>$title</title><style>$style</style></head>
<body><h1>$title</h1>
<p>$about Each row is one sparse autoencoder (SAE). All were measured on the same bases, with the same annotations and
control tests, by sae-tracks. Blank means that a number is not defined or not known, never that it is 0.</p>
<div class="scroll"><table><thead><tr>$heads</tr></thead><tbody>$rows</tbody></table></div>
<p><a href="benchmark.tsv" download>benchmark.tsv</a> and
<a href="benchmark.parquet" download>benchmark.parquet</a> hold the same table. The files in
<code>rows/</code> say what was read, with checksums.</p>
<h2>What the numbers mean</h2><dl>$meanings</dl>
<h2>What they do not show</h2>
<p>The regions are of one species. An SAE of a model of another species may do badly here without being bad. No row says
that a model uses its features. Each row is of one training run, and two seeds of the same settings differ too.</p>
<h2>Definition</h2><dl>$definition</dl>
<script>$script</script></body></html>
""")


def board(table: pd.DataFrame, definition: Benchmark) -> str:
    """Return the page of a table of `rows.join_rows`, as HTML.

    All text is escaped, because rows may come from anywhere. No script runs but the page's own, and nothing is fetched.
    """
    script = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    heads = [
        f'<th scope="col"{_class(column)}><button type="button" title="{escape(column.meaning)}">'
        f"{escape(column.heading)}</button></th>"
        for column in COLUMNS
    ]
    rows = ["".join(_cell(column, row[column.name]) for column in COLUMNS) for row in table.to_dict("records")]
    facts = {
        "Name and version": f"{definition.name} {definition.version}",
        "SHA-256 of the definition": definition.checksum,
        "Scored": ", ".join(definition.scored),
        "Cross entropy, FVU and L0": ", ".join(definition.predicted),
        "Contigs (M5)": ", ".join(f"{name} {m5}" for name, m5 in definition.contigs.items()),
        "Files (SHA-256)": ", ".join(f"{name} {sum_[:SHORT]}" for name, sum_ in definition.files.items()),
        "Untrained models": ", ".join(f"{kind} weights, seed {seed}" for kind, seed in definition.untrained)
        + f", with SAEs trained on {', '.join(definition.untrained_on)}",
        "Decoys per motif": str(definition.decoys),
    }
    return HTML.substitute(
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'",
        title=f"Benchmark {escape(definition.name)}, version {definition.version}",
        about=escape(definition.about),
        style=STYLE,
        heads="".join(heads),
        rows="".join(f"<tr>{row}</tr>" for row in rows),
        meanings=_definitions({column.heading: column.meaning for column in COLUMNS}),
        definition=_definitions(facts),
        script=SCRIPT,
    )


def _class(column: Column) -> str:
    return "" if column.kind is str else ' class="number"'


def _cell(column: Column, value: Any) -> str:
    """One cell; ``data-value`` is what sorts, the text may be shorter."""
    if column.kind is str:
        short = value[:SHORT] if column.name == "sae_sha256" else value
        kind = ' class="name"' if column.name == "name" else ""
        return f'<td{kind} data-value="{escape(value)}" title="{escape(value)}">{escape(short)}</td>'
    if pd.isna(value):
        return '<td class="number" data-value=""></td>'
    return f'<td class="number" data-value="{value!r}">{value:{column.format}}</td>'


def _definitions(pairs: dict[str, str]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs.items())
