"use strict";
// The genome browser: igv.js with the tracks of the feature that is open, those that are kept, and the annotations.

const FEW = 6; // features: as many are all shown from the start
const PREFETCHED = 100; // tracks whose top locus and density are asked for without being opened
const OPTIONS = {
  loadDefaultGenomes: false, search: false, showIdeogram: false, showSampleNames: false, showMultiSelectButton: false,
  showROITableButton: false, showCenterGuideButton: false, showSVGButton: false, showTrackLabelButton: false, showCursorTrackingGuideButton: false,
};

// igv.js's toolbar is made for wider places than half a page: the genome is named in the page's head.
const NARROW = ".igv-current-genome, .igv-navbar-toggle-button-container { display: none !important } .igv-windowsize-panel-container { white-space: nowrap }";
const LABELS = { ".igv-search-input": "Locus", select: "Contig" }; // for screen readers

function startBrowser(settings, letters) {
  const box = document.getElementById("genome");
  const kept = new Set(Object.keys(settings.features).length <= FEW ? Object.keys(settings.features) : []);
  const told = new Map(); // address -> promise of what is told of a track
  let wanted = null; // what is to be shown next: only the last counts
  let busy = false;
  let igvBrowser = null;
  const trouble = node("p", { class: "note", role: "alert" });
  const frame = node("div");
  box.append(trouble, frame);

  const tracksOf = (row) => (Object.hasOwn(settings.features, row.feature) ? settings.features[row.feature] : []);
  const trackOf = (row) => tracksOf(row).find((track) => track.strand === (row.read_strand || "+")) || tracksOf(row)[0];

  function tell(track) {
    if (!told.has(track.loci)) {
      told.set(track.loci, fetch(track.loci).then((answer) => {
        if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
        return answer.json();
      }));
    }
    return told.get(track.loci);
  }

  // Tracks are added and taken away one after the other, since igv.js does neither at once.
  async function update() {
    if (busy) return;
    busy = true;
    try {
      while (wanted) {
        const { features, view } = wanted;
        wanted = null;
        await showFeatures(features);
        if (view) await igvBrowser.search(view);
      }
    } finally {
      busy = false;
    }
  }

  async function showFeatures(features) {
    igvBrowser = igvBrowser || (await create(frame, settings, letters));
    const tracks = features.flatMap((feature) => tracksOf({ feature }));
    for (const shown of igvBrowser.findTracks((track) => track.type === "wig")) {
      if (!tracks.some((track) => track.name === shown.name)) igvBrowser.removeTrack(shown);
    }
    const names = igvBrowser.findTracks((track) => track.type === "wig").map((track) => track.name);
    for (const track of tracks.filter((track) => !names.includes(track.name))) await igvBrowser.loadTrack(wiggle(track));
    for (const shown of igvBrowser.findTracks((track) => track.type === "wig")) shown.order = tracks.findIndex((track) => track.name === shown.name) + 1;
    igvBrowser.reorderTracks();
  }

  // The feature that is open stands first.
  function go(row, view) {
    wanted = { features: [...new Set([row.feature, ...kept])], view };
    trouble.textContent = "";
    loaded.then(update).catch((error) => { trouble.textContent = `The genome browser does not work here: ${error.message}`; });
  }

  // The parts of an open row that come from its track; they are filled when the answer is there.
  function open(row) {
    const track = trackOf(row);
    if (!track) {
      go(row, null);
      return [node("p", { class: "note" }, `No track of ${featureName(row)} is here; export-bigwig -f ${row.feature} makes one.`)];
    }
    const part = node("div", { id: "track", "aria-live": "polite", "aria-busy": "true" });
    tell(track).then((facts) => {
      part.replaceChildren(...trackParts(row, track, facts, letters, (view) => go(row, view)), keep(row));
      part.setAttribute("aria-busy", "false");
      if (part.isConnected) go(row, facts.loci.length ? facts.loci[0].view : null);
    }).catch((error) => {
      part.textContent = `What the track holds cannot be shown: ${error.message}`;
      go(row, null);
    });
    return [part];
  }

  function keep(row) {
    const input = node("input", { type: "checkbox" });
    input.checked = kept.has(row.feature);
    input.addEventListener("change", () => {
      kept[input.checked ? "add" : "delete"](row.feature);
      go(row, null);
    });
    return node("label", { class: "keep" }, input, ` keep the track of ${featureName(row)} in view when another row is opened`);
  }

  // Density and top locus of the rows, one track after the other, into the last two cells.
  async function fill(rows, lines) {
    const asked = new Map(rows.map((row) => [trackOf(row), []]));
    rows.forEach((row, i) => { asked.get(trackOf(row)).push(i); });
    asked.delete(undefined);
    for (const [track, members] of [...asked].slice(0, PREFETCHED)) {
      const facts = await tell(track).catch(() => null);
      if (!facts) continue;
      for (const i of members) {
        rows[i].density = facts.bases ? facts.active / facts.bases : null;
        rows[i].locus = facts.loci.length ? facts.loci[0].at : null;
        const [density, locus] = [...lines[i].cells].slice(-2);
        density.textContent = share(rows[i].density);
        locus.textContent = rows[i].locus || "";
      }
    }
  }

  return { open, fill };
}

const loaded = typeof document === "undefined" ? null : new Promise((done) => {
  document.addEventListener("DOMContentLoaded", done); // deferred scripts, igv.js among them, have run by then
});

async function create(frame, settings, letters) {
  if (location.protocol === "file:") throw new Error("it needs a web server; sae-tracks view FOLDER is one");
  if (typeof igv === "undefined") throw new Error("igv.min.js is not beside the page");
  const annotations = settings.annotations.map((track, i) => ({ ...track, type: "annotation", order: 1000 + i, color: "#59626b", displayMode: "EXPANDED", height: 48 }));
  const nucleotideColors = { N: "#9aa3ab", ...Object.fromEntries(letters.map(({ letter, color }) => [letter, color])) };
  const made = await igv.createBrowser(frame, { ...OPTIONS, nucleotideColors, reference: settings.reference, tracks: annotations });
  const search = made.search.bind(made);
  made.search = (text) => {
    const place = Object.hasOwn(settings.places, text.trim().toUpperCase()) ? settings.places[text.trim().toUpperCase()] : text;
    const beyond = endBefore(place, (contig) => made.genome.getChromosome(contig)?.bpLength);
    if (!beyond) return search(place);
    made.alert.present(new Error(beyond));
    return true; // told
  };
  frame.shadowRoot.append(node("style", {}, NARROW));
  for (const [selector, label] of Object.entries(LABELS)) frame.shadowRoot.querySelector(selector)?.setAttribute("aria-label", label);
  return made;
}

// What is wrong with a place behind the end of its contig; "" if nothing is.
function endBefore(place, lengthOf) {
  const [, contig, start] = /^\s*(\S+):([\d,]+)/.exec(place) || [];
  const length = contig && lengthOf(contig);
  return length && Number(start.replaceAll(",", "")) > length ? `${contig} has ${length.toLocaleString("en")} bases` : "";
}

// Read strands of a feature stand together, on one scale from 0.
function wiggle(track) {
  return { name: track.name, url: track.url, type: "wig", format: "bigwig", color: track.color, min: 0, max: track.max, autoscale: false, windowFunction: "max", height: 48, order: 999 };
}

function share(value) {
  return has(value) ? `${(100 * value).toPrecision(2)} %` : "";
}

function trackParts(row, track, facts, letters, jump) {
  const name = featureName(row);
  if (!facts.loci.length) return [node("h3", {}, `Where ${name} is highest`), node("p", { class: "note" }, "It is nowhere above 0 on this track.")];
  const places = facts.loci.map((locus) => {
    const button = node("button", { type: "button" }, locus.at, node("span", {}, String(locus.value)));
    button.addEventListener("click", () => jump(locus.view));
    return node("li", {}, button);
  });
  const parts = [node("h3", {}, `Where ${name} is highest`), node("ol", { class: "loci" }, ...places)];
  if (facts.logo) {
    const count = facts.windows === 1 ? "the highest place" : `the ${facts.windows} highest places`;
    parts.push(node("h3", {}, `Letters around ${count}`), logo(facts.logo, letters, -facts.flank));
    parts.push(node("p", { class: "note" }, "0 is the base where the feature is highest; forward strand. The places lie at least 100 bases apart."));
  }
  const active = `${facts.active.toLocaleString("en")} of ${facts.bases.toLocaleString("en")} bases are above 0 (${share(facts.active / facts.bases)}); they are the ones shown.`;
  parts.push(node("h3", {}, "Activation"), histogram(facts.counts, facts.max), node("p", { class: "note" }, active));
  return parts;
}
