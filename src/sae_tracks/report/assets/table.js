"use strict";
// The table: sort, filter, and which row is open. Pure functions first; `startTable` ties them to the page.

const collator = new Intl.Collator("en", { numeric: true });

// Row numbers in the order of their values: empty ones last, equal ones as they were.
function ordered(values, descending) {
  const rows = [...values.keys()];
  const empty = (value) => value === null || value === undefined || value === "";
  const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
  return rows.sort((i, j) => {
    const [a, b] = [values[i], values[j]];
    if (empty(a) || empty(b)) return empty(a) - empty(b) || i - j;
    return (descending ? compare(b, a) : compare(a, b)) || i - j;
  });
}

// Whether a row passes: every word of the search somewhere in its names or its line, and each choice that was made.
function passes(row, filter, line = "") {
  const names = [row.concept, row.tf, row.tf_class, row.tf_family, row.feature, line].join(" ").toLowerCase();
  const words = filter.search.toLowerCase().replace(/\bf\/(?=\d)/g, "f").split(/\s+/);
  return (
    words.every((word) => names.includes(word)) &&
    (!filter.strand || row.site_strand === filter.strand) &&
    (!filter.kind || row.nucleotide === (filter.kind === "nucleotide")) &&
    (!filter.verdicts.length || filter.verdicts.includes(row.verdict))
  );
}

// Columns to one object a row; a column that is not there is null.
function rowsOf(columns) {
  const names = Object.keys(columns);
  return columns.feature.map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

function keyOf(row) {
  return encodeURIComponent(row.concept ? `${row.concept},${row.site_strand}` : `${row.feature},${row.read_strand}`);
}

// The row that stands for each feature: the one with the best verdict, of equal ones that with the highest F1.
function bestRows(rows, verdicts) {
  const worse = (a, b) => verdicts.indexOf(a.verdict) - verdicts.indexOf(b.verdict) || (b.f1 || 0) - (a.f1 || 0);
  const found = new Map();
  for (const row of rows) {
    const other = found.get(row.feature);
    if (!other || !has(other.verdict) || (has(row.verdict) && worse(row, other) < 0)) found.set(row.feature, row);
  }
  return found;
}

// A feature of the map that has no row of the table.
function withoutRow(feature, scored) {
  const name = `f/${feature.slice(1)}`;
  return { feature, meaning: scored ? `${name} is the best feature of no concept in this table.` : `${name} was not scored.` };
}

function startTable(data, open) {
  const rows = rowsOf(data.columns);
  const best = bestRows(rows, data.verdicts);
  const others = new Map((data.atlas.feature || []).filter((name) => !best.has(name)).map((name) => [name, withoutRow(name, rows.some((row) => has(row.verdict)))]));
  const atlas = startAtlas(data, best, (feature) => { location.hash = feature; });
  const lineOf = (row) => (data.features[row.feature] || {}).line || "";
  const body = document.querySelector("#table tbody");
  const lines = [...body.rows];
  const byKey = new Map(rows.map((row, i) => [keyOf(row), i]).reverse());
  const field = (id) => document.getElementById(id);
  const toggles = [...document.querySelectorAll(".filter")];
  let current = null; // the number of the row that is open
  let opened = false;

  function filter() {
    const verdicts = toggles.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.verdict);
    const wanted = { search: field("search").value.trim(), strand: field("strand").value, kind: field("kind").value, verdicts };
    const found = new Set();
    let shown = 0;
    rows.forEach((row, i) => {
      lines[i].hidden = !passes(row, wanted, lineOf(row));
      if (lines[i].hidden) return;
      shown += 1;
      if (!verdicts.length || verdicts.includes(best.get(row.feature).verdict)) found.add(row.feature); // as it is coloured
    });
    for (const row of others.values()) if (passes(row, wanted, lineOf(row))) found.add(row.feature);
    atlas.update(found);
    field("none").hidden = shown > 0;
    field("shown").value = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  }

  function sort(head) {
    const column = head.dataset.column;
    const number = rows.some((row) => typeof row[column] === "number");
    const before = head.getAttribute("aria-sort");
    const descending = before ? before === "ascending" : number && column !== "verdict";
    const rank = new Map(data.verdicts.map((name, i) => [name, i]));
    const values = rows.map((row) => (column === "verdict" ? rank.get(row.verdict) : row[column]));
    document.querySelectorAll("#table thead th").forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    body.append(...ordered(values, descending).map((i) => lines[i]));
  }

  // Row i of the table, or a feature without one.
  function show(i, row = rows[i]) {
    if (current !== null) lines[current].removeAttribute("aria-current");
    if (opened && data.browser) field("browse").scrollIntoView({ block: "nearest" }); // row, tracks and match on one screen
    [current, opened] = [i, true];
    if (i !== null) {
      lines[i].setAttribute("aria-current", "true");
      bringIntoView(lines[i]);
    }
    atlas.mark(row.feature);
    open(row, i, rows);
  }

  function followHash() {
    const key = decode(location.hash.slice(1));
    const i = byKey.get(encodeURIComponent(key));
    if (i !== undefined) show(i);
    else if (best.has(key)) show(rows.indexOf(best.get(key)));
    else if (others.has(key)) show(null, others.get(key));
  }

  // The table or the map; in the table, the open row is where one sees it.
  function look() {
    atlas.look();
    if (current !== null) bringIntoView(lines[current]);
  }

  function step(down) {
    const next = down ? "nextElementSibling" : "previousElementSibling";
    const from = document.activeElement.closest("tbody tr") || lines[current];
    let line = from ? from[next] : body.rows[0];
    while (line && line.hidden) line = line[next];
    if (!line) return;
    line.querySelector("a").focus({ preventScroll: true });
    history.replaceState(null, "", line.querySelector("a").hash);
    show(Number(line.dataset.row));
  }

  document.querySelectorAll("#table thead th").forEach((th) => th.firstElementChild.addEventListener("click", () => sort(th)));
  toggles.forEach((button) => button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    filter();
  }));
  field("filters").addEventListener("input", filter);
  field("filters").addEventListener("submit", (event) => event.preventDefault());
  field("filters").addEventListener("reset", () => {
    toggles.forEach((button) => button.setAttribute("aria-pressed", "false"));
    setTimeout(() => { filter(); look(); });
  });
  if (field("view")) field("view").addEventListener("change", look);
  body.addEventListener("click", (event) => {
    if (!event.target.closest("a")) location.hash = event.target.closest("tr").querySelector("a").hash;
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inTable = document.activeElement.closest("#table tbody") || document.activeElement === document.body;
    if (event.key === "/" && !event.composedPath()[0].matches("input, select")) field("search").focus();
    else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && inTable) step(event.key === "ArrowDown");
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", followHash);
  filter();
  look(); // a browser may have kept what was chosen before
  followHash();
  if (!opened) show(firstShown(rows, data.browser));
  return { rows, lines };
}

// Within the table's own box alone: the page stays where it is.
function bringIntoView(line) {
  const box = line.closest(".scroll");
  const head = box.querySelector("thead").offsetHeight;
  if (line.offsetTop - head < box.scrollTop) box.scrollTop = line.offsetTop - head;
  else if (line.offsetTop + line.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = line.offsetTop - box.clientHeight / 2;
}

function decode(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

// What is open at first: a match that is supported, else one that is not of a letter; with tracks, one that has a track.
function firstShown(rows, browser) {
  const tracked = (row) => !browser || Object.hasOwn(browser.features, row.feature);
  const supported = rows.findIndex((row) => row.verdict === "supported" && !row.nucleotide && tracked(row));
  if (supported >= 0) return supported;
  const other = rows.findIndex((row) => !row.nucleotide && tracked(row));
  return Math.max(other >= 0 ? other : rows.findIndex(tracked), 0);
}
