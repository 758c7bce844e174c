"use strict";
// The map: every feature as a point in a plane, coloured by the verdict of its best match. Wheel: zoom; drag: move.

const NEAR = 12; // pixels from the mouse within which a point is meant

// The number of the point nearest to a place, among those with coordinates; -1 if none is near.
function nearestPoint(points, x, y, reach = NEAR) {
  let best = -1, least = reach * reach;
  points.forEach((point, i) => {
    if (!point) return;
    const distance = (point[0] - x) ** 2 + (point[1] - y) ** 2;
    if (distance <= least) [best, least] = [i, distance];
  });
  return best;
}

// `best` has the row of each feature that is shown for it, `open` is called with the feature that is clicked.
function startAtlas(data, best, open) {
  const box = document.getElementById("map");
  const view = document.getElementById("view");
  if (!box) return { update() {}, mark() {}, look() {} };
  const [canvas, told, legend, note] = ["canvas", "output", ".legend", ".note"].map((name) => box.querySelector(name));
  const pen = canvas.getContext("2d");
  const styles = getComputedStyle(document.documentElement);
  const colors = new Map();
  const color = (name) => colors.get(name) || colors.set(name, styles.getPropertyValue(`--${name}`).trim()).get(name);
  const { feature } = data.atlas;
  const number = new Map(feature.map((name, i) => [name, i]));
  const rank = new Map([...data.verdicts].reverse().map((name, i) => [name, i])); // supported ones are drawn last
  const order = [...feature.keys()].sort((i, j) => (rank.get(verdictOf(i)) ?? -1) - (rank.get(verdictOf(j)) ?? -1));
  const there = data.verdicts.filter((name) => feature.some((_, i) => verdictOf(i) === name));
  legend.replaceChildren(...there.map((name) => node("span", { class: `badge ${name}` }, name)), "\u25cb no score");
  let passing = new Set(feature);
  let [current, plane, points] = [null, null, []];
  let [zoom, shift, grabbed] = [1, [0, 0], null];

  function verdictOf(i) {
    return (best.get(feature[i]) || {}).verdict || "";
  }

  function place() {
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const unit = (0.92 * Math.min(width, height) * zoom) / Math.max(...plane.size, 1);
    const middle = plane.size.map((one) => one / 2);
    points = plane.x.map((x, i) => (x === null ? null
      : [width / 2 + (x - middle[0]) * unit + shift[0], height / 2 - (plane.y[i] - middle[1]) * unit + shift[1]]));
  }

  function circle(i, radius, style) {
    pen.beginPath();
    pen.arc(points[i][0], points[i][1], radius, 0, 2 * Math.PI);
    Object.assign(pen, style);
    if (style.strokeStyle) pen.stroke();
    else pen.fill();
  }

  function draw() {
    if (box.hidden || !canvas.clientWidth) return;
    const dense = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [canvas.clientWidth * dense, canvas.clientHeight * dense];
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    place();
    const radius = Math.min(4, Math.max(2, 100 / Math.sqrt(feature.length))) * Math.sqrt(zoom);
    for (const i of order.filter((one) => points[one])) {
      const verdict = verdictOf(i);
      const paint = passing.has(feature[i]) ? color(verdict || "not-tested") : color("line");
      if (verdict) circle(i, verdict === "supported" ? 1.6 * radius : radius, { fillStyle: paint });
      else circle(i, radius - 0.5, { strokeStyle: paint, lineWidth: 1 });
    }
    if (current === null || !points[current]) return;
    for (const [name] of (data.features[feature[current]] || {})[view.value] || []) {
      const other = points[number.get(name)];
      if (!other) continue;
      pen.beginPath();
      pen.moveTo(...points[current]);
      pen.lineTo(...other);
      Object.assign(pen, { strokeStyle: color("link"), lineWidth: 1 });
      pen.stroke();
    }
    circle(current, 2 * radius + 2, { strokeStyle: color("ink"), lineWidth: 2 });
  }

  function tell(i) {
    canvas.style.cursor = i < 0 ? "grab" : "pointer";
    const row = i < 0 ? null : best.get(feature[i]);
    const match = row && has(row.concept) ? ` ${row.concept} (${row.site_strand}) ${row.verdict}` : "";
    const line = i < 0 ? "" : ((data.features[feature[i]] || {}).line || "").split(/[:;]/)[0];
    told.textContent = i < 0 ? "" : [`f/${feature[i].slice(1)}${match}`, line].filter(has).join(" \u00b7 ");
  }

  const at = (event) => { const edge = canvas.getBoundingClientRect(); return [event.clientX - edge.left, event.clientY - edge.top]; };
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!grabbed) return tell(nearestPoint(points, x, y));
    shift = [grabbed.shift[0] + x - grabbed.x, grabbed.shift[1] + y - grabbed.y];
    grabbed.moved = grabbed.moved || Math.hypot(x - grabbed.x, y - grabbed.y) > 3;
    draw();
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const [x, y] = at(event);
    canvas.setPointerCapture(event.pointerId);
    grabbed = { x, y, shift, moved: false };
  });
  canvas.addEventListener("pointerup", (event) => {
    const clicked = grabbed && !grabbed.moved ? nearestPoint(points, ...at(event)) : -1;
    grabbed = null;
    if (clicked >= 0) open(feature[clicked]);
  });
  canvas.addEventListener("lostpointercapture", () => { grabbed = null; });
  canvas.addEventListener("pointerleave", () => tell(-1));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = at(event);
    const by = Math.min(40, Math.max(1, zoom * Math.exp(-event.deltaY / 400))) / zoom;
    const [left, top] = [x - canvas.clientWidth / 2, y - canvas.clientHeight / 2];
    shift = [left - (left - shift[0]) * by, top - (top - shift[1]) * by];
    zoom *= by;
    if (zoom === 1) shift = [0, 0];
    draw();
  }, { passive: false });
  function look() { // at what `view` says
    box.hidden = !view.value;
    document.querySelector("#matches .scroll").hidden = Boolean(view.value);
    if (!view.value) return;
    plane = data.atlas[view.value];
    [zoom, shift] = [1, [0, 0]];
    const percent = (share) => `${(100 * share).toPrecision(2)} %`;
    const alike = { cosine: "the cosine of their decoder rows", jaccard: "the bases at which they are active (Jaccard index)" };
    note.textContent = `${plane.features.toLocaleString("en")} features by ${alike[plane.measure]}. Of the ten most alike, ${percent(plane.kept)} `
      + `are among the ten nearest here (by chance ${percent(plane.chance)}). Larger: supported. Lines: the five most alike. Wheel and drag: zoom and move.`;
    draw();
  }
  new ResizeObserver(draw).observe(canvas);
  return {
    look,
    update(shown) { passing = shown; if (plane) draw(); },
    mark(name) { current = number.has(name) ? number.get(name) : null; if (plane) draw(); },
  };
}
