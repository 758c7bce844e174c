"use strict";
// The match that is open: what it means, its rivals, where it is active, and its numbers.

const count = (value) => value.toLocaleString("en");
const score = (value) => value.toFixed(3);
const percent = (value) => `${(100 * value).toFixed(0)} %`;
const plain = (value) => String(value);
const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}`;
// The interval whose ends are the columns `_low` and `_high` of a name.
const between = (row, name) => (has(row[`${name}_low`]) ? `${row[`${name}_low`].toFixed(3)} to ${row[`${name}_high`].toFixed(3)}` : null);

// Name, column, how it is written; a column without a value has no line.
const NUMBERS = {
  "Numbers": [
    ["precision", "precision", score], ["recall", "recall", score], ["F1", "f1", score],
    ["F1, select half", "select_f1", score], ["threshold", "threshold", plain], ["enrichment", "enrichment", (v) => `${v.toPrecision(3)} \u00d7`],
    ["sites", "instances", count], ["sites hit", "instances_hit", count], ["recall by site", "domain_recall", score],
    ["F1 with recall by site", "domain_f1", score], ["true positives", "tp", count], ["false positives", "fp", count],
    ["false negatives", "fn", count],
    ["Spearman, site score", "spearman", score], ["bootstrap blocks", "bins", count],
    ["margin", "margin", score], ["next concept", "next_concept", plain],
  ],
  "Strength": [
    ["average precision", "site_average_precision", score], ["its interval", "site_ap", between],
    ["recall at precision \u00bd", "recall_at_half", score], ["share of sites hit", "site_share", percent],
    ["best rival", "best_rival", plain], ["effect", "effect", signed], ["its interval", "effect", between],
    ["sites as ranked", "items", count],
  ],
  "Chance and words": [
    ["decoys", "decoys", count], ["decoy q", "decoy_q", plain], ["least q possible", "least_q", plain],
    ["matched regions p", "regions_p", plain], ["shift p", "shift_p", plain], ["q of both", "regions_q", plain],
    ["AUROC beyond the word", "word_auroc", score], ["its interval", "word_auroc", between],
    ["AUROC of insertion", "insertion_auroc", score], ["its interval", "insertion", between],
  ],
  "Another SAE": [
    ["replicates", "replicates", (v) => (v ? "yes" : "no")], ["partner", "partner", (v) => v.replace(/^f/, "f/")], ["correlation", "correlation", score],
  ],
  "Repeats": [
    ["in repeats", "repeat_share", percent], ["most in", "repeat_class", plain], ["AP inside", "ap_inside_repeats", score],
    ["AP outside", "ap_outside_repeats", score], ["at most", "ap_outside_high", score], ["sites outside", "items_outside_repeats", count],
  ],
};

function numbers(title, row) {
  const written = ([name, column, write]) => [name, write === between ? between(row, column) : has(row[column]) ? write(row[column]) : null];
  const lines = NUMBERS[title].map(written).filter(([, text]) => has(text));
  if (!lines.length) return [];
  const cells = lines.map(([name, text]) => node("div", {}, node("dt", {}, name), node("dd", {}, text)));
  return [node("h3", {}, title), node("dl", { class: "numbers" }, ...cells)];
}

function featureName(row) {
  return `f/${row.feature.replace(/^f/, "")}`;
}

function heading(row, line) {
  const about = [row.tf_class, row.tf_family].filter(has).join(", ");
  const strand = row.site_strand === "." || !has(row.site_strand) ? "" : `, site strand ${row.site_strand}`;
  const name = has(row.concept) ? `${row.concept}${has(row.tf) && row.tf !== row.concept ? ` ${row.tf}` : ""}` : featureName(row);
  const title = node("h2", {}, name, has(row.verdict) ? node("span", { class: `badge ${row.verdict}` }, row.verdict) : null);
  const pair = `${featureName(row)}${strand}${has(row.read_strand) ? `, read strand ${row.read_strand}` : ""}`;
  return [title, node("p", { class: "about" }, pair === name ? "" : about ? `${pair} \u00b7 ${about}` : pair), node("p", { class: "meaning" }, row.meaning),
    ...(has(line) ? [node("p", { class: "described" }, line)] : [])];
}

function besideRivals(row, rivals) {
  const left = rivals.filter((rival) => !has(row[rival.ap]) && !has(row[rival.f1])).map((rival) => rival.label);
  const missing = left.length ? ` Not measured here: ${left.join(", ")}.` : "";
  const drawn = [];
  const draw = (title, which, note) => drawn.push(node("h3", {}, title), dots(row, rivals, which), node("p", { class: "note" }, note));
  const band = "Band: 95 % interval of the feature's AP. Filled square: a rival that reaches it, which decides the verdict unless an earlier test does.";
  if (has(row.site_average_precision)) draw("Average precision beside rivals", "ap", band + missing);
  if (has(row.f1)) draw("F1 per base beside rivals", "f1", "F1 decides no verdict.");
  return drawn;
}

function lagSection(row, profile, heights) {
  if (!profile) return [];
  const direction = { along: " The model reads these sites from start to end.", against: " The model reads these sites from end to start." };
  const lag = has(row.lag) ? `Median lag: ${plain(row.lag)} bases of a site are read before the feature is active.` : "";
  const dashes = has(profile.background) ? " Dotted: all bases." : "";
  const note = `${lag}${direction[profile.reading] || ""}${dashes} ${count(profile.sites)} sites.`;
  return [node("h3", {}, "P(active) around the sites"), lagProfile(profile, heights ? heights.length : 0), node("p", { class: "note" }, note.trim())];
}

// Other concepts for which the same feature is the best: it cannot be about all of them.
function alsoBest(row, rows) {
  const same = rows.filter((other) => other !== row && other.feature === row.feature && other.read_strand === row.read_strand);
  if (!same.length || !has(row.concept)) return [];
  same.sort((a, b) => (b.f1 || 0) - (a.f1 || 0));
  const links = same.slice(0, 12).map((other) => node("a", { href: `#${keyOf(other)}` }, `${other.concept} (${other.site_strand}) ${shown(other.f1)}`));
  const more = same.length > links.length ? [`and ${same.length - links.length} more`] : [];
  return [node("h3", {}, `${featureName(row)} is also the best for`), node("p", { class: "also" }, ...links, ...more)];
}

// The motif of a feature's strongest places, which need not be that of the concept it matches.
function motifSection(heights, letters) {
  return heights ? [node("h3", {}, "Motif of its strongest places"), logo(heights, letters)] : [];
}

const NEIGHBOURS = { decoder: "Most alike by decoder (cosine)", activity: "Active at the same bases (Jaccard index)" };

function neighbours(known) {
  return Object.entries(NEIGHBOURS).filter(([plane]) => has(known[plane])).flatMap(([plane, title]) => [
    node("h3", {}, title),
    node("p", { class: "also" }, ...known[plane].map(([name, value]) => node("a", { href: `#${name}` }, `f/${name.slice(1)} ${value.toFixed(2)}`))),
  ]);
}

function startPage() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const pane = document.getElementById("detail");
  const browser = data.browser ? startBrowser(data.browser, data.letters) : null;
  const { rows, lines } = startTable(data, (row, i, rows) => {
    const heights = data.logos[row.concept];
    const known = data.features[row.feature] || {};
    pane.replaceChildren(
      ...heading(row, known.line),
      ...(browser ? browser.open(row) : []),
      ...(heights ? [logo(heights, data.letters)] : []),
      ...motifSection(known.motif, data.letters),
      ...numbers("Strength", row),
      ...besideRivals(row, data.rivals),
      ...(i === null ? [] : lagSection(row, data.profiles[i], heights)),
      ...numbers("Another SAE", known.compared || {}),
      ...numbers("Numbers", row),
      ...numbers("Chance and words", row),
      ...numbers("Repeats", row),
      ...neighbours(known),
      ...alsoBest(row, rows),
    );
    pane.scrollTop = 0;
  });
  if (browser) browser.fill(rows, lines);
}

if (typeof document !== "undefined") startPage();
