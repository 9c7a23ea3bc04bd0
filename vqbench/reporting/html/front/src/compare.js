// Two rows side by side: slider or flicker, error maps, and the values of every test image of A against B.

import { figure, frame, scale } from "./axes.js";
import { all, el, one, select, significant, svg } from "./dom.js";
import { change, concerns, isShown, metric, onChange, page, rows, state, view } from "./model.js";

const KEYS = ["a", "b", "image", "mode", "metric", "protocol", "hide", "query"];
const SIDE = 308; // pixels of a magnified image, at least
const ZOOMS = [1, 2, 4];
let position = 50;
let zoom = 1; // of the large images, which move in frames of one size
let flicker = null;
let drawn = ""; // what is drawn, so that other changes leave it alone

export function start() {
  onChange((changed) => { if (concerns(changed, ...KEYS)) draw(); });
}

const keptOf = (row) => row.runs.map((key) => one(`img[data-kept="${key}"]`)).find(Boolean);
const numbers = (img) => img.dataset.chosen.split(" ").map(Number);

function candidates() {
  return rows().filter((row) => isShown(row.label) && row.runs.some((key) => page.runs[key]));
}

const id = (row) => (view().panels.length > 1 ? `${row.label} · ${row.panel.heading}` : row.label);

function nothing(box, why) {
  drawn = "";
  box.replaceChildren(el("p", { class: "fine" }, why));
}

function draw() {
  const known = candidates();
  const box = one("#comparison");
  if (known.length < 2) return nothing(box, "Fewer than two rows shown have results.");
  const better = view().columns[metric()].better === "max" ? -1 : 1;
  const order = known.filter((row) => !row.bound && row.cells[metric()].mean !== null).sort((x, y) => better * (x.cells[metric()].mean - y.cells[metric()].mean));
  const a = known.find((row) => id(row) === state.a) ?? order[0] ?? known[0];
  const rivals = known.filter((row) => row.p === a.p && row !== a);
  if (!rivals.length) return nothing(box, "No other row of this data set has results.");
  const b = rivals.find((row) => id(row) === state.b) ?? order.filter((row) => rivals.includes(row)).at(-1) ?? rivals[0];
  const now = JSON.stringify([known.map(id), id(a), id(b), state.image, state.mode, metric(), state.protocol]);
  if (now === drawn) return;
  drawn = now;
  clearInterval(flicker);
  const [imgA, imgB] = [keptOf(a), keptOf(b)];
  const common = imgA && imgB ? numbers(imgA).filter((each) => numbers(imgB).includes(each)) : [];
  const pairs = values(a, b);
  const at = common.includes(Number(state.image)) ? Number(state.image) : common[0];
  const pick = (name, chosen, options) => el("label", {}, `${name.toUpperCase()} `, select(options.map((row) => [id(row), id(row)]), id(chosen), { "data-pick": name, onchange: (event) => change({ [name]: event.target.value }) }));
  const tools = el("div", { class: "tools" }, pick("a", a, known), pick("b", b, rivals),
    el("button", { type: "button", onclick: () => change({ a: id(b), b: id(a) }) }, "swap"),
    common.length > 0 && el("label", {}, "test image ", select(common.map((each) => [each, each]), at, { "data-pick": "image", onchange: (event) => change({ image: event.target.value }) })),
    common.length > 0 && pairs && el("button", { type: "button", "data-pick": "lead", onclick: () => change({ image: String(largestLead(common, pairs)) }) }, "where A beats B most"),
    common.length > 0 && el("label", {}, "show ", select([["slider", "slider"], ["flicker", "flicker"], ["side", "side by side"]], state.mode, { "data-pick": "mode", onchange: (event) => change({ mode: event.target.value }) })),
    common.length > 0 && el("span", { class: "zoom", role: "group", "aria-label": "Zoom" }, [["−", -1, "smaller"], ["+", 1, "larger"]].map(([sign, step, name]) =>
      el("button", { type: "button", "data-pick": name, "aria-label": `${name} images`, onclick: () => zoomTo(ZOOMS.indexOf(zoom) + step) }, sign)), el("output", { "data-pick": "zoom" }, `${zoom} ×`)));
  const stage = el("div", { class: "stage" });
  const scatter = pairs ? perImage(a, b, pairs, common, at) : el("p", { class: "fine" }, `No values per image of ${view().columns[metric()].label} are stored for both rows.`);
  box.replaceChildren(tools, el("div", { class: "pair" }, stage, scatter));
  if (common.length) stageOf(stage, a, b, imgA, imgB, at);
  else stage.append(el("p", { class: "fine" }, "These rows keep no common images."));
}

// The values of the metric per test image: index, A, B.
function values(a, b) {
  const name = `${view().protocol}/${view().columns[metric()].key}`;
  const of = (row) => row.runs.map((key) => page.runs[key]).find((run) => run?.values[name]);
  const [runA, runB] = [of(a), of(b)];
  if (!runA || !runB) return null;
  const [va, vb] = [decoded(runA.values[name]), decoded(runB.values[name])];
  if (va.length !== vb.length) return null;
  return { step: runA.step, points: [...va].map((x, i) => [i * runA.step, x, vb[i]]).filter(([, x, y]) => Number.isFinite(x) && Number.isFinite(y)) };
}

function decoded(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function largestLead(common, { points }) {
  const sign = view().columns[metric()].better === "max" ? 1 : -1;
  const known = points.filter(([index]) => common.includes(index));
  return known.length ? known.reduce((best, point) => (sign * (point[1] - point[2]) > sign * (best[1] - best[2]) ? point : best))[0] : common[0];
}

function perImage(a, b, { points, step }, common, at) {
  const column = view().columns[metric()];
  const both = points.flatMap(([, x, y]) => [x, y]);
  const [width, height] = [400, 380];
  const [x, y] = [scale(both, [50, width - 15]), scale(both, [height - 45, 25])];
  const [low, high] = x.domain();
  const status = el("span", { role: "status" });
  const choose = (index) => {
    if (common.includes(index)) change({ image: String(index) });
    else status.textContent = `Test image ${index} is not kept. `;
  };
  const dot = ([index, vx, vy]) => {
    const kept = common.includes(index);
    return svg("circle", { cx: x(vx).toFixed(1), cy: y(vy).toFixed(1), r: kept ? 5 : 2, class: kept ? "kept-image" : "", fill: kept ? "var(--series-1)" : "var(--dot)", opacity: kept ? 1 : 0.4,
      stroke: index === at ? "var(--ink)" : null, "stroke-width": index === at ? 2 : null, "data-image": index, tabindex: kept ? 0 : null, role: kept ? "button" : null,
      "aria-label": kept ? `test image ${index}: A ${significant(vx)}, B ${significant(vy)}` : null }, svg("title", {}, `test image ${index}${kept ? "" : ", not kept"}: A ${significant(vx)}, B ${significant(vy)}`));
  };
  const sorted = [...points].sort((p, q) => common.includes(p[0]) - common.includes(q[0]));
  const inner = [svg("line", { class: "front", x1: x(low), y1: y(low), x2: x(high), y2: y(high) }), ...sorted.map(dot)];
  const wins = points.filter(([, vx, vy]) => (column.better === "max" ? vx > vy : vx < vy)).length;
  const text = `A is better on ${wins.toLocaleString("en-US")} of ${points.length.toLocaleString("en-US")} test images${step > 1 ? ` (every ${step}th is shown)` : ""}. Large: kept images. `;
  const plot = frame({ width, height, x, y, xLabel: `A: ${a.label}, ${column.label}`, yLabel: `B: ${b.label}, ${column.label}`, text }, inner);
  plot.addEventListener("click", (event) => { if (event.target.dataset.image) choose(Number(event.target.dataset.image)); });
  plot.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.dataset.image) choose(Number(event.target.dataset.image)); });
  return figure("per-image", plot, [text, status]);
}

function stageOf(stage, a, b, imgA, imgB, index) {
  const originals = one(`img[data-originals="${a.runs.find((key) => one(`img[data-kept="${key}"]`) === imgA)}"]`) ?? one(`img[data-originals="${page.runs[imgA.dataset.kept].dataset}"]`);
  Promise.all([imgA, imgB, originals].filter(Boolean).map((img) => img.decode())).then(() => {
    const [pa, pb, po] = [imgA, imgB, originals].map((img) => img && pixels(img, index));
    const top = Math.max(1, ...(po ? [largest(po, pa), largest(po, pb)] : []));
    const errors = po ? [errorMap(po, pa, top), errorMap(po, pb, top)] : [];
    stage.replaceChildren(
      state.mode === "side" ? el("div", {}, shown(canvas(pa), `A: ${a.label}`), shown(canvas(pb), `B: ${b.label}`)) : shared(canvas(pa), canvas(pb), a, b),
      el("div", {}, po && shown(canvas(po), `original, test image ${index}`, 2), errors.map((each, i) => shown(canvas(each), `error of ${"AB"[i]}, 0 … ${top}`, 2)), po && bar(top)));
  });
}

function pixels(img, index) {
  const side = img.naturalHeight;
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [side, side];
  const pen = sheet.getContext("2d", { willReadFrequently: true });
  pen.drawImage(img, -numbers(img).indexOf(index) * (side + 1), 0);
  return pen.getImageData(0, 0, side, side);
}

const error = (x, y, i) => Math.max(Math.abs(x.data[i] - y.data[i]), Math.abs(x.data[i + 1] - y.data[i + 1]), Math.abs(x.data[i + 2] - y.data[i + 2]));

function largest(x, y) {
  let most = 0;
  for (let i = 0; i < x.data.length; i += 4) most = Math.max(most, error(x, y, i));
  return most;
}

// Black for none, over red to yellow for `top`.
const heat = (share) => [Math.round(255 * Math.min(1, 2 * share)), Math.round(255 * Math.max(0, 2 * share - 1)), 0, 255];

function errorMap(x, y, top) {
  const map = new ImageData(x.width, x.height);
  for (let i = 0; i < x.data.length; i += 4) map.data.set(heat(error(x, y, i) / top), i);
  return map;
}

function canvas(content) {
  const drawn = el("canvas", { width: content.width, height: content.height });
  drawn.getContext("2d").putImageData(content, 0, 0);
  return drawn;
}

// A frame of the size of the image, in which it is enlarged: + and − zoom, arrow keys move, a double click zooms in.
function framed(drawn) {
  const frame = el("div", { class: "pane", tabindex: 0, role: "group", "aria-label": "Image: + and − zoom, arrow keys move", "data-pick": "frame",
    onkeydown: (event) => { const step = { "+": 1, "=": 1, "-": -1, 0: -ZOOMS.length }[event.key]; if (step) { event.preventDefault(); zoomTo(ZOOMS.indexOf(zoom) + step); } },
    ondblclick: () => zoomTo((ZOOMS.indexOf(zoom) + 1) % ZOOMS.length),
    onscroll: () => { for (const other of all("#comparison .pane")) if (other !== frame) other.scrollTo(frame.scrollLeft, frame.scrollTop); } }, drawn);
  frame.dataset.side = drawn.style.width;
  sized(frame);
  return frame;
}

function sized(frame) {
  frame.style.width = frame.style.height = `${parseFloat(frame.dataset.side) + 2}px`;
  frame.firstChild.style.width = `${parseFloat(frame.dataset.side) * zoom}px`;
}

// The middle of what is seen stays in the middle.
function zoomTo(index) {
  const before = zoom;
  zoom = ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, index))];
  for (const frame of all("#comparison .pane")) {
    const [x, y] = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
    sized(frame);
    frame.scrollTo((x * zoom) / before - frame.clientWidth / 2, (y * zoom) / before - frame.clientHeight / 2);
  }
  one("#comparison [data-pick=zoom]").textContent = `${zoom} ×`;
}

function enlarged(drawn, part = 1) {
  const times = Math.max(1, Math.round(SIDE / part / drawn.height));
  drawn.style.width = `${drawn.width * times}px`;
  return drawn;
}

function shown(drawn, caption, part = 1) {
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", caption);
  enlarged(drawn, part);
  return el("figure", {}, part === 1 ? framed(drawn) : drawn, el("figcaption", {}, caption));
}

function bar(top) {
  const map = new ImageData(64, 6);
  for (let i = 0; i < 64 * 6; i++) map.data.set(heat((i % 64) / 63), 4 * i);
  const drawn = canvas(map);
  drawn.style.width = "126px";
  return el("figure", {}, drawn, el("figcaption", {}, `scale: 0 to ${top} of 255`));
}

// A and B in one place: left of the line A, right of it B; or one after the other.
function shared(drawnA, drawnB, a, b) {
  const both = document.createElement("canvas");
  [both.width, both.height] = [drawnA.width * 8, drawnA.height * 8];
  const pen = both.getContext("2d");
  pen.imageSmoothingEnabled = false;
  const caption = el("figcaption", {}, "");
  const paint = (share, line = true) => {
    const cut = Math.round(both.width * share);
    pen.drawImage(drawnB, 0, 0, both.width, both.height);
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, cut, both.height);
    pen.clip();
    pen.drawImage(drawnA, 0, 0, both.width, both.height);
    pen.restore();
    if (line) { pen.fillStyle = "#e69f00"; pen.fillRect(cut - 1, 0, 2, both.height); }
  };
  both.style.width = `${Math.max(SIDE, drawnA.width)}px`;
  both.setAttribute("role", "img");
  if (state.mode === "flicker") {
    let first = true;
    const step = () => { first = !first; paint(first ? 1 : 0, false); caption.textContent = first ? `A: ${a.label}` : `B: ${b.label}`; };
    step();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!still) flicker = setInterval(step, 700);
    both.setAttribute("aria-label", `${a.label} and ${b.label} in turn`);
    return el("figure", {}, framed(both), caption, still && el("button", { type: "button", class: "tool", onclick: step }, "other"));
  }
  paint(position / 100);
  both.setAttribute("aria-label", `left ${a.label}, right ${b.label}`);
  caption.textContent = `left A: ${a.label}; right B: ${b.label}`;
  return el("figure", {}, framed(both), el("input", { type: "range", min: 0, max: 100, value: position, "aria-label": "share of the width that shows A", "data-pick": "slider",
    oninput: (event) => { position = Number(event.target.value); paint(position / 100); } }), caption);
}
