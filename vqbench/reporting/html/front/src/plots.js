// Plots with selectable axes: one point a method, and curves over the epochs of training.

import { colour, figure, frame, marker, scale, widthOf } from "./axes.js";
import { el, one, select, significant, svg } from "./dom.js";
import { change, concerns, isShown, methods, metric, onChange, page, rows, state, view } from "./model.js";

const QUANTITIES = {
  bits: "uniform bits [bits per image]", entropy: "entropy of the codes [bits per image]",
  milliseconds: "training [ms per update]", parameters: "trained parameters",
};
const CURVES = { error: "training error", selection_error: "selection error", loss: "loss, in the units of each method",
  usage: "used codes in the epoch [%]", perplexity: "perplexity in training", dead: "unused codes in the epoch", revived: "revived codes" };
const LOGARITHMIC = ["error", "selection_error", "loss"];
const MARKED = 12; // points of a curve that have its mark, about
const MANY = 8; // rows from which curves are drawn as small multiples
const LETTER = 6.3; // pixels of a letter of a name, on average
const PLACES = [[9, 4, "start"], [-9, 4, "end"], [0, -10, "middle"], [0, 17, "middle"], [8, -7, "start"], [8, 15, "start"], [-8, -7, "end"], [-8, 15, "end"],
  [8, -18, "start"], [8, 26, "start"], [-8, -18, "end"], [-8, 26, "end"]]; // of a name beside its point
let panel = 0;
let curve = null;

export function start() {
  onChange(draw);
}

let later = 0;
let drawn = []; // of both plots, until they are drawn again: what has changed

function draw(changed) {
  panel = Math.min(panel, view().panels.length - 1);
  if (!concerns(changed, "protocol", "hide", "query", "metric", "x", "y")) return;
  drawn = changed.length ? [...drawn, ...changed] : ["protocol"];
  clearTimeout(later);
  later = setTimeout(drawPlots, 150); // typing in the filter stays quick
}

function drawPlots() {
  if (concerns(drawn, "protocol", "hide", "query")) later = setTimeout(curves); // a task of its own, so that input comes first
  drawn = [];
  scatter();
}

const shownRows = () => rows().filter((row) => row.p === panel && isShown(row.label));
const axes = () => [...Object.entries(QUANTITIES), ...view().columns.filter((column) => !(column.key in QUANTITIES)).map((column) => [column.key, column.head])];

function value(row, key) {
  if (key in QUANTITIES) return { mean: row.facts[key], low: null, high: null };
  const i = view().columns.findIndex((column) => column.key === key);
  return row.cells[i] ?? { mean: null, low: null, high: null };
}

function better(key) {
  return key in QUANTITIES ? "min" : view().columns.find((column) => column.key === key)?.better;
}

function unranked(key) {
  return key in QUANTITIES ? "" : view().columns.find((column) => column.key === key)?.unranked ?? "";
}

// Rows that no other row beats in one quantity without losing in the other; those that the table does not rank are left out.
export function front(points, xBetter, yBetter) {
  const [sx, sy] = [xBetter === "max" ? -1 : 1, yBetter === "max" ? -1 : 1];
  const order = points.filter((point) => !point.row.bound && !point.x.unranked && !point.y.unranked).sort((a, b) => sx * (a.x.mean - b.x.mean) || sy * (a.y.mean - b.y.mean));
  return order.filter((point, i) => order.slice(0, i).every((other) => sy * (point.y.mean - other.y.mean) < 0));
}

function scatter() {
  if (!view().columns.length) return;
  const yKey = view().columns[state.y ?? metric()].key;
  const xKey = axes().some(([key]) => key === state.x) ? state.x : "entropy";
  const points = shownRows().map((row) => ({ row, x: value(row, xKey), y: value(row, yKey) })).filter((point) => point.x.mean !== null && point.y.mean !== null);
  const pick = (name, chosen, options, set) => el("label", {}, `${name} `, select(options, chosen, { "data-axis": name, onchange: (event) => set(event.target.value) }));
  const tools = el("div", { class: "tools" },
    view().panels.length > 1 && pick("data", panel, view().panels.map((each, i) => [i, each.heading]), (chosen) => { panel = Number(chosen); scatter(); curves(); }),
    pick("y", state.y ?? metric(), view().columns.map((column, i) => [i, column.head]), (chosen) => change({ y: Number(chosen) })),
    pick("x", xKey, axes(), (chosen) => change({ x: chosen })));
  const drawn = points.length ? plotted(points, xKey, yKey) : el("p", { class: "fine" }, "No row shown has both quantities.");
  one("#scatter").replaceChildren(tools, drawn);
}

function plotted(points, xKey, yKey) {
  const [width, height] = [widthOf(one("#scatter")), 420];
  const label = Object.fromEntries(axes());
  const x = scale(points.map((point) => point.x.mean), [60, width - 90]);
  const y = scale(points.map((point) => point.y.mean), [height - 45, 25]);
  const within = (s, v) => { const [a, b] = [Math.min(...s.range()), Math.max(...s.range())]; return Math.max(a, Math.min(b, s(v))); };
  const reason = unranked(yKey) || unranked(xKey);
  const best = reason || !better(xKey) || !better(yKey) ? [] : front(points, better(xKey), better(yKey));
  const names = placed([...best, ...points.filter((point) => !best.includes(point))], points, x, y, width);
  const inner = [];
  if (best.length > 1) inner.push(svg("path", { class: "front", d: best.map((point, i) => (i ? `H${x(point.x.mean)}V${y(point.y.mean)}` : `M${x(point.x.mean)},${y(point.y.mean)}`)).join("") }));
  for (const point of points) {
    const i = methods.indexOf(point.row.label);
    const [px, py] = [x(point.x.mean), y(point.y.mean)];
    const group = svg("g", { "data-method": i, class: "point", tabindex: 0, role: "img", "aria-label": `${point.row.label}: ${significant(point.x.mean)}, ${significant(point.y.mean)}` },
      svg("title", {}, `${point.row.label}: ${label[xKey]} ${significant(point.x.mean)}; ${label[yKey]} ${significant(point.y.mean)}${point.row.bound ? " (upper bound)" : ""}`));
    if (point.y.low !== null) group.append(svg("line", { class: "bar", stroke: colour(i), x1: px, x2: px, y1: within(y, point.y.low), y2: within(y, point.y.high) }));
    if (point.x.low !== null) group.append(svg("line", { class: "bar", stroke: colour(i), y1: py, y2: py, x1: within(x, point.x.low), x2: within(x, point.x.high) }));
    group.append(marker(i, px, py, point.row.bound || point.row.external));
    const name = names.get(point);
    if (name) group.append(svg("text", { class: best.includes(point) ? "name on-front" : "name", ...name }, point.row.label));
    inner.push(group);
  }
  const kinds = [["bound", "upper bound"], ["external", "not trained here"]].filter(([kind]) => points.some((point) => point.row[kind])).map(([, words]) => words);
  const hollow = kinds.length ? ` Hollow: ${kinds.join(" or ")}, not ranked.` : "";
  const caption = best.length ? `Dashed: no other row is better in both means (${best.map((point) => point.row.label).join(", ")}).${hollow} ` : reason ? `No front: ${reason}.${hollow} ` : `${hollow} `;
  const text = `${label[yKey]} against ${label[xKey]} of ${points.length} rows. ${caption}`;
  return figure(`${yKey}-${xKey}`, frame({ width, height, x, y, xLabel: label[xKey], yLabel: label[yKey], text }, inner), caption, { class: "scatter-plot" });
}

// Where the name of each point stands without covering another name or mark; `order` says which are placed first.
function placed(order, points, x, y, width) {
  const taken = points.map((point) => [x(point.x.mean) - 6, y(point.y.mean) - 6, x(point.x.mean) + 6, y(point.y.mean) + 6]);
  const names = new Map();
  for (const point of order) {
    const [px, py] = [x(point.x.mean), y(point.y.mean)];
    const length = point.row.label.length * LETTER;
    const own = taken[points.indexOf(point)];
    for (const [dx, dy, anchor] of PLACES) {
      const left = px + dx - { start: 0, middle: length / 2, end: length }[anchor];
      const box = [left, py + dy - 9, left + length, py + dy + 2];
      if (box[0] < 0 || box[2] > width || box[1] < 0) continue;
      if (taken.some((other) => other !== own && box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
      taken.push(box);
      names.set(point, { x: px + dx, y: py + dy, "text-anchor": anchor });
      break;
    }
  }
  return names;
}

function curves() {
  const drawn = shownRows().flatMap((row) => row.runs.map((key) => page.runs[key]).filter((run) => run?.history.length).map((run) => ({ row, run })));
  const keys = [...new Set(drawn.flatMap(({ run }) => run.history.flatMap((epoch) => Object.keys(epoch))))]
    .filter((key) => key !== "epoch" && drawn.some(({ run }) => run.history.some((epoch) => typeof epoch[key] === "number")));
  if (!keys.length) return one("#curves").replaceChildren(el("p", { class: "fine" }, "No row shown has a history of training."));
  if (drawn.every(({ run }) => run.history.length < 2)) return one("#curves").replaceChildren(el("p", { class: "fine" }, "No curve: every run shown has one epoch."));
  const key = keys.includes(curve) ? curve : keys.includes("error") ? "error" : keys[0];
  const series = drawn.map(({ row, run }) => ({ row, i: methods.indexOf(row.label), points: run.history.map((epoch) => [epoch.epoch, epoch[key]]).filter(([, y]) => typeof y === "number") })).filter((each) => each.points.length);
  const logarithmic = LOGARITHMIC.includes(key) && series.every((each) => each.points.every(([, y]) => y > 0));
  const tools = el("div", { class: "tools" }, el("label", {}, "curve ", select(keys.map((each) => [each, CURVES[each] ?? each]), key, { "data-axis": "curve", onchange: (event) => { curve = event.target.value; curves(); } })));
  const labels = [...new Set(series.map((each) => each.row.label))];
  const title = `${CURVES[key] ?? key}${logarithmic ? ", logarithmic" : ""}`;
  const drawnLines = (size, own, names) => lines(size, series, own, names, logarithmic, title);
  const body = labels.length > MANY
    ? el("div", { class: "small-multiples" }, allCurves([200, 110], series, logarithmic), labels.map((label) => el("figure", { "data-method": methods.indexOf(label) }, el("figcaption", {}, label), drawnLines([200, 110], [label], false))))
    : figure(`curve-${key}`, drawnLines([widthOf(one("#curves")), 320], labels, true), `Epochs of training; ${title}. `, { class: "curve-plot" });
  one("#curves").replaceChildren(tools, body);
}

function scalesOf([width, height], series, names, logarithmic) {
  const points = series.flatMap((each) => each.points);
  const x = scale(points.map(([epoch]) => epoch), [names ? 55 : 38, width - (names ? 170 : 6)]);
  const y = scale(points.map(([, v]) => v), [height - (names ? 45 : 20), names ? 22 : 6], logarithmic);
  return [x, y, ({ points: own }) => own.map(([epoch, v], i) => `${i ? "L" : "M"}${x(epoch).toFixed(1)},${y(v).toFixed(1)}`).join("")];
}

// All curves in grey, drawn once for all small multiples.
function allCurves(size, series, logarithmic) {
  const [, , path] = scalesOf(size, series, false, logarithmic);
  return svg("svg", { width: 0, height: 0, class: "shared", "aria-hidden": "true" }, svg("defs", {}, svg("path", { id: "all-curves", class: "other", d: series.map(path).join("") })));
}

// Curves of the rows in `own`; of a small multiple, above those of all rows in grey.
function lines([width, height], series, own, names, logarithmic, title) {
  const [x, y, path] = scalesOf([width, height], series, names, logarithmic);
  const inner = names ? [] : [svg("use", { href: "#all-curves" })];
  const named = new Set();
  let lowest = -Infinity; // names stand below each other in the order of the last values
  const lastValue = (each) => each.points.at(-1)[1];
  for (const each of series.filter((candidate) => own.includes(candidate.row.label)).sort((a, b) => lastValue(b) - lastValue(a))) {
    const [end, last] = each.points.at(-1).map((value, k) => [x, y][k](value));
    const marked = names ? each.points.filter((_, k) => k % Math.ceil(each.points.length / MARKED) === 0) : [each.points.at(-1)];
    const group = svg("g", { "data-method": each.i }, svg("path", { class: "line", stroke: colour(each.i), d: path(each) }), marked.map(([epoch, v]) => marker(each.i, x(epoch), y(v), each.row.bound, 3.5)));
    inner.push(group);
    if (!names || named.has(each.row.label)) continue;
    named.add(each.row.label);
    lowest = Math.max(lowest + 13, last);
    group.append(svg("path", { class: "other", d: `M${end + 3},${last}L${end + 22},${lowest}` }), marker(each.i, end + 28, lowest, each.row.bound, 4),
      svg("text", { class: "name", x: end + 37, y: lowest + 4 }, each.row.label));
  }
  return frame({ width, height, x, y, wholeX: true, ticks: names ? [8, 5] : [3, 2], xLabel: names && "epoch", yLabel: names && title, text: `${title} by epoch: ${own.join(", ")}` }, inner);
}
