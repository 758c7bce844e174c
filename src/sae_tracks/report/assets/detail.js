"use strict";
// The match that is open: what it means, its controls, where it is active, and its numbers.

const count = (value) => value.toLocaleString("en");
const score = (value) => value.toFixed(3);
const percent = (value) => `${(100 * value).toFixed(0)} %`;
const plain = (value) => String(value);

// Name, column, how it is written; a column without a value has no line.
const NUMBERS = {
  "Numbers": [
    ["precision", "precision", score], ["recall", "recall", score], ["F1", "f1", score],
    ["F1, select half", "select_f1", score], ["threshold", "threshold", plain], ["enrichment", "enrichment", (v) => `${v.toPrecision(3)} \u00d7`],
    ["sites", "instances", count], ["sites hit", "instances_hit", count], ["recall by site", "domain_recall", score],
    ["F1 with recall by site", "domain_f1", score], ["true positives", "tp", count], ["false positives", "fp", count],
    ["false negatives", "fn", count], ["average precision", "average_precision", score], ["the same by site", "site_average_precision", score],
    ["Spearman, site score", "spearman", score], ["decoy q", "decoy_q", plain], ["shift p", "shift_p", plain], ["bootstrap blocks", "bins", count],
    ["margin", "margin", score], ["next concept", "next_concept", plain],
  ],
  "Repeats": [
    ["in repeats", "repeat_share", percent], ["most in", "repeat_class", plain], ["F1 outside", "f1_outside_repeats", score],
    ["sites outside", "instances_outside_repeats", count],
  ],
};

function numbers(title, row) {
  const lines = NUMBERS[title].filter(([, column]) => has(row[column]));
  if (!lines.length) return [];
  const cells = lines.map(([name, column, write]) => node("div", {}, node("dt", {}, name), node("dd", {}, write(row[column]))));
  return [node("h3", {}, title), node("dl", { class: "numbers" }, ...cells)];
}

function featureName(row) {
  return `f/${row.feature.replace(/^f/, "")}`;
}

function heading(row) {
  const about = [row.tf_class, row.tf_family].filter(has).join(", ");
  const strand = row.site_strand === "." || !has(row.site_strand) ? "" : `, site strand ${row.site_strand}`;
  const name = has(row.concept) ? `${row.concept}${has(row.tf) && row.tf !== row.concept ? ` ${row.tf}` : ""}` : featureName(row);
  const title = node("h2", {}, name, has(row.verdict) ? node("span", { class: `badge ${row.verdict}` }, row.verdict) : null);
  const pair = `${featureName(row)}${strand}${has(row.read_strand) ? `, read strand ${row.read_strand}` : ""}`;
  return [title, node("p", { class: "about" }, about ? `${pair} \u00b7 ${about}` : pair), node("p", { class: "meaning" }, row.meaning)];
}

function besideControls(row, controls) {
  if (!has(row.f1)) return [];
  const left = controls.filter((control) => !has(row[control.column])).map((control) => control.label);
  const notes = [];
  if (has(row.f1_low)) notes.push("Band: 95 % interval of the feature's F1. Filled square: a control that reaches it.");
  if (left.length) notes.push(`Not run here: ${left.join(", ")}.`);
  return [node("h3", {}, "F1 beside controls"), dots(row, controls), node("p", { class: "note" }, notes.join(" "))];
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

function startPage() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const pane = document.getElementById("detail");
  const browser = data.browser ? startBrowser(data.browser, data.letters) : null;
  const { rows, lines } = startTable(data, (row, i, rows) => {
    const heights = data.logos[row.concept];
    pane.replaceChildren(
      ...heading(row),
      ...(browser ? browser.open(row) : []),
      ...(heights ? [logo(heights, data.letters)] : []),
      ...besideControls(row, data.controls),
      ...lagSection(row, data.profiles[i], heights),
      ...numbers("Numbers", row),
      ...numbers("Repeats", row),
      ...alsoBest(row, rows),
    );
    pane.scrollTop = 0;
  });
  if (browser) browser.fill(rows, lines);
}

if (typeof document !== "undefined") startPage();
