"use strict";
// The drawings of an open row, as SVG. Text goes in as text nodes only.

const has = (value) => value !== null && value !== undefined && value !== "";

function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function chart(width, height, label) {
  return shape("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

// The end of an axis that begins at 0: the next of a few round numbers.
function roundedUp(value) {
  return [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8].find((end) => value <= end) || 1;
}

function ticksOf(end) {
  const step = end > 0.6 ? 0.2 : end > 0.2 ? 0.1 : end > 0.05 ? 0.05 : end / 2;
  return Array.from({ length: Math.round(end / step) + 1 }, (_, i) => i * step);
}

// Letters as high as their bits, the highest on top. Positions count from 1, or from `first` where it is given.
function logo(heights, letters, first = 1) {
  const [left, top, unit, high] = [46, 6, 24, 84];
  const width = left + unit * Math.max(heights.length, 10) + 4;
  const svg = chart(width, top + high + 20, `Logo of ${heights.length} positions`);
  svg.style.maxWidth = `${width}px`;
  for (const bits of [0, 1, 2]) {
    const y = top + high * (1 - bits / 2);
    svg.append(shape("path", { class: "grid", d: `M${left - 4} ${y}H${left + unit * heights.length}` }));
    svg.append(shape("text", { class: "soft", x: left - 8, y: y + 4, "text-anchor": "end" }, `${bits}${bits === 2 ? " bits" : ""}`));
  }
  heights.forEach((column, position) => {
    let y = top + high;
    [0, 1, 2, 3].sort((a, b) => column[a] - column[b]).forEach((i) => {
      const tall = (column[i] / 2) * high;
      y -= tall;
      if (tall < 0.2) return;
      const transform = `translate(${left + unit * position + 1} ${y}) scale(${unit - 2} ${tall})`;
      svg.append(shape("path", { d: letters[i].path, fill: letters[i].color, transform }));
    });
    if (position === 0 || (position + first) % 5 === 0) {
      const label = String(position + first).replace("-", "\u2212");
      svg.append(shape("text", { class: "soft", x: left + unit * (position + 0.5), y: top + high + 15, "text-anchor": "middle" }, label));
    }
  });
  return svg;
}

// The two scores in which a feature is compared with its rivals: the columns of each, and whether it decides a verdict.
const SCORES = {
  ap: { own: "site_average_precision", low: "site_ap_low", high: "site_ap_high", seeds: ["seeds_ap_min", "seeds_ap_max"], decides: true },
  f1: { own: "f1", low: "f1_low", high: "f1_high", seeds: ["seeds_f1_min", "seeds_f1_max"], decides: false },
};

// What stands beside a score: one line each with a value, its label, and how it is drawn.
function evidence(row, rivals, which) {
  const score = SCORES[which], [least, most] = score.seeds;
  const lines = [{ label: "this feature", value: row[score.own], low: row[score.low], high: row[score.high], kind: "own" }];
  if (score.decides) {
    if (has(row.ap_inside_repeats)) lines.push({ label: "inside of repeats", value: row.ap_inside_repeats, kind: "own" });
    if (has(row.ap_outside_repeats)) lines.push({ label: "outside of repeats", value: row.ap_outside_repeats, kind: "own" });
  }
  if (has(row[least])) lines.push({ label: "SAEs of other seeds", low: row[least], high: row[most], kind: "own" });
  for (const rival of rivals) {
    const value = row[rival[which]];
    if (!has(value)) continue;
    const name = rival.named && has(row[rival.named]) ? ` ${row[rival.named]}` : "";
    const reaches = score.decides && decides(rival, row) && has(row[score.low]) && value >= row[score.low];
    lines.push({ label: rival.label + name, value, kind: reaches ? "reaches" : "other" });
  }
  return lines;
}

// Whether a rival gives this match a verdict if it reaches the interval. The word of a motif is judged by an AUROC instead.
function decides(rival, row) {
  return rival.verdicts.some((name) => name !== "word" && (name !== "local-sequence" || !row.motif));
}

function dots(row, rivals, which) {
  const lines = evidence(row, rivals, which);
  const { low, high } = SCORES[which];
  const [left, right, step, top] = [240, 52, 20, 4];
  const [width, bottom] = [600, top + step * lines.length];
  const end = roundedUp(Math.max(...lines.flatMap((line) => [line.value, line.high]).filter(has)));
  const x = (value) => left + ((width - left - right) * value) / end;
  const svg = chart(width, bottom + 22, lines.map((line) => `${line.label}: ${shown(line.value)}`).join(", "));
  if (has(row[low])) svg.append(shape("rect", { class: "band", x: x(row[low]), y: top, width: x(row[high]) - x(row[low]), height: bottom - top }));
  for (const tick of ticksOf(end)) {
    svg.append(shape("path", { class: "grid", d: `M${x(tick)} ${top}V${bottom}` }));
    svg.append(shape("text", { class: "soft", x: x(tick), y: bottom + 15, "text-anchor": "middle" }, String(+tick.toFixed(3))));
  }
  lines.forEach((line, i) => {
    const y = top + step * (i + 0.5);
    svg.append(shape("text", { x: left - 12, y: y + 4, "text-anchor": "end" }, line.label));
    if (has(line.low) && has(line.high)) svg.append(shape("path", { class: "bar", d: `M${x(line.low)} ${y}H${x(line.high)}` }));
    if (!has(line.value)) return;
    svg.append(mark(x(line.value), y, line.kind));
    svg.append(shape("text", { x: width - right + 14, y: y + 4 }, shown(line.value)));
  });
  return svg;
}

// A rival that reaches the interval is a filled square, others an open circle: shape says it without colour.
function mark(x, y, kind) {
  if (kind === "reaches") return shape("rect", { class: "reaches", x: x - 4, y: y - 4, width: 8, height: 8 });
  return shape("circle", { class: kind, cx: x, cy: y, r: 4.2 });
}

function shown(value) {
  return has(value) ? value.toFixed(3) : "";
}

// P(active) around the first and the last base of the sites; `width` of a motif shades the site.
function lagProfile(profile, width) {
  const svg = chart(600, 158, "P(active) by distance from the start and from the end of the sites");
  const all = [...profile.start, ...profile.end, profile.background].filter(has);
  const end = roundedUp(Math.max(...all, 1) / 1000);
  const [top, bottom, wide] = [8, 116, 258];
  const y = (share) => bottom - ((bottom - top) * share) / end;
  for (const tick of ticksOf(end)) {
    svg.append(shape("text", { class: "soft", x: 30, y: y(tick) + 4, "text-anchor": "end" }, String(+tick.toFixed(3))));
  }
  [["start", 36, "first"], ["end", 334, "last"]].forEach(([anchor, left, which]) => {
    const last = profile.first + profile[anchor].length - 1;
    const x = (offset) => left + (wide * (offset - profile.first + 0.5)) / (last - profile.first + 1);
    const site = anchor === "start" ? [-0.5, width - 0.5] : [0.5 - width, 0.5];
    if (width) svg.append(shape("rect", { class: "under", x: x(site[0]), y: top, width: x(site[1]) - x(site[0]), height: bottom - top }));
    for (const tick of ticksOf(end)) svg.append(shape("path", { class: "grid", d: `M${left} ${y(tick)}h${wide}` }));
    for (let offset = Math.ceil(profile.first / 25) * 25; offset <= last; offset += 25) {
      svg.append(shape("path", { class: "rule", d: `M${x(offset)} ${bottom}v4` }));
      svg.append(shape("text", { class: "soft", x: x(offset), y: bottom + 16, "text-anchor": "middle" }, String(offset).replace("-", "\u2212")));
    }
    if (has(profile.background)) svg.append(shape("path", { class: "background", d: `M${left} ${y(profile.background / 1000)}h${wide}` }));
    svg.append(shape("path", { class: "profile", d: stairs(profile[anchor], (i) => x(profile.first + i), y) }));
    svg.append(shape("text", { class: "soft", x: left + wide / 2, y: bottom + 34, "text-anchor": "middle" }, `bases from the ${which} base of a site`));
  });
  return svg;
}

function stairs(shares, x, y) {
  const half = (x(1) - x(0)) / 2;
  let path = "", before = false;
  shares.forEach((share, i) => {
    if (has(share)) path += `${before ? "V" : `M${(x(i) - half).toFixed(1)} `}${y(share / 1000).toFixed(1)}H${(x(i) + half).toFixed(1)}`;
    before = has(share);
  });
  return path;
}

// Bases by their value, on a logarithmic scale: a feature is active on few, and most weakly.
function histogram(counts, max) {
  const [width, left, right, top, bottom] = [600, 62, 24, 8, 116];
  const svg = chart(width, 150, `Bases by activation, from 0 to ${max.toPrecision(3)}`);
  const decades = Math.max(Math.ceil(Math.log10(Math.max(...counts, 1) + 1)), 1);
  const y = (count) => bottom - ((bottom - top) * Math.log10(count + 1)) / decades;
  const x = (share) => left + (width - left - right) * share;
  for (let power = 0; power <= decades; power += decades > 4 ? 2 : 1) {
    const value = power === 0 ? 0 : 10 ** power;
    svg.append(shape("path", { class: "grid", d: `M${left} ${y(value)}H${width - right}` }));
    svg.append(shape("text", { class: "soft", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, value.toLocaleString("en")));
  }
  counts.forEach((count, i) => {
    const from = x(i / counts.length);
    if (count) svg.append(shape("rect", { class: "own", x: from + 0.5, y: y(count), width: x((i + 1) / counts.length) - from - 1, height: bottom - y(count) }));
  });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(shape("text", { class: "soft", x: x(share), y: bottom + 16, "text-anchor": "middle" }, share ? (max * share).toPrecision(3) : "0"));
  }
  svg.append(shape("text", { class: "soft", x: x(0.5), y: bottom + 32, "text-anchor": "middle" }, "activation"));
  return svg;
}
