// Plots with selectable axes: one point a method, and curves over the epochs of training.

import { colour, figure, frame, marker, scale } from "./axes.js";
import { el, one, select, significant, svg } from "./dom.js";
import { change, isShown, methods, metric, onChange, page, rows, state, view } from "./model.js";

const QUANTITIES = {
  bits: "uniform bits [bits per image]", entropy: "entropy of the codes [bits per image]",
  milliseconds: "training [ms per update]", parameters: "trained parameters",
};
const CURVES = { error: "training error", selection_error: "selection error", loss: "loss, in the units of each method",
  usage: "used codes in the epoch [%]", perplexity: "perplexity in training", dead: "unused codes in the epoch", revived: "revived codes" };
const LOGARITHMIC = ["error", "selection_error", "loss"];
const MANY = 8; // rows from which curves are drawn as small multiples
let panel = 0;
let curve = null;

export function start() {
  onChange(draw);
}

function draw() {
  panel = Math.min(panel, view().panels.length - 1);
  clearTimeout(draw.later);
  draw.later = setTimeout(() => { scatter(); curves(); }, 60); // typing in the filter stays quick
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
  const [width, height] = [760, 380];
  const label = Object.fromEntries(axes());
  const x = scale(points.map((point) => point.x.mean), [60, width - 130]);
  const y = scale(points.map((point) => point.y.mean), [height - 45, 25]);
  const within = (s, v) => { const [a, b] = [Math.min(...s.range()), Math.max(...s.range())]; return Math.max(a, Math.min(b, s(v))); };
  const reason = unranked(yKey) || unranked(xKey);
  const best = reason || !better(xKey) || !better(yKey) ? [] : front(points, better(xKey), better(yKey));
  const named = new Set(best.length ? best : points.length <= 8 ? points : []);
  const inner = [];
  if (best.length > 1) inner.push(svg("path", { class: "front", d: best.map((point, i) => (i ? `H${x(point.x.mean)}V${y(point.y.mean)}` : `M${x(point.x.mean)},${y(point.y.mean)}`)).join("") }));
  const taken = [];
  for (const point of points) {
    const i = methods.indexOf(point.row.label);
    const [px, py] = [x(point.x.mean), y(point.y.mean)];
    const group = svg("g", { "data-method": i, class: "point", tabindex: 0, role: "img", "aria-label": `${point.row.label}: ${significant(point.x.mean)}, ${significant(point.y.mean)}` },
      svg("title", {}, `${point.row.label}: ${label[xKey]} ${significant(point.x.mean)}; ${label[yKey]} ${significant(point.y.mean)}${point.row.bound ? " (upper bound)" : ""}`));
    if (point.y.low !== null) group.append(svg("line", { class: "bar", stroke: colour(i), x1: px, x2: px, y1: within(y, point.y.low), y2: within(y, point.y.high) }));
    if (point.x.low !== null) group.append(svg("line", { class: "bar", stroke: colour(i), y1: py, y2: py, x1: within(x, point.x.low), x2: within(x, point.x.high) }));
    group.append(marker(i, px, py, point.row.bound));
    if (named.has(point)) group.append(svg("text", { class: "name", x: px + 8, y: free(taken, px + 8, py + 4, point.row.label.length * 6.2) }, point.row.label));
    inner.push(group);
  }
  const names = best.map((point) => point.row.label).join(", ");
  const hollow = points.some((point) => point.row.bound) ? " Hollow: upper bound." : "";
  const caption = best.length ? `Dashed: no other row is better in both means (${names}).${hollow} ` : reason ? `No front: ${reason}.${hollow} ` : `${hollow} `;
  const text = `${label[yKey]} against ${label[xKey]} of ${points.length} rows. ${caption}`;
  return figure(`${yKey}-${xKey}`, frame({ width, height, x, y, xLabel: label[xKey], yLabel: label[yKey], text }, inner), caption, { class: "scatter-plot" });
}

// The nearest height at which a name covers no earlier one.
function free(taken, x, y, width) {
  for (const shift of [0, 11, -11, 22, -22, 33, -33]) {
    const box = [x, y + shift, x + width];
    if (taken.every(([left, top, right]) => right < box[0] || left > box[2] || Math.abs(top - box[1]) > 10)) {
      taken.push(box);
      return y + shift;
    }
  }
  return y;
}

function curves() {
  const drawn = shownRows().flatMap((row) => row.runs.map((key) => page.runs[key]).filter((run) => run?.history.length).map((run) => ({ row, run })));
  const keys = [...new Set(drawn.flatMap(({ run }) => run.history.flatMap((epoch) => Object.keys(epoch))))]
    .filter((key) => key !== "epoch" && drawn.some(({ run }) => run.history.some((epoch) => typeof epoch[key] === "number")));
  if (!keys.length) return one("#curves").replaceChildren(el("p", { class: "fine" }, "No row shown has a history of training."));
  const key = keys.includes(curve) ? curve : keys.includes("error") ? "error" : keys[0];
  const series = drawn.map(({ row, run }) => ({ row, i: methods.indexOf(row.label), points: run.history.map((epoch) => [epoch.epoch, epoch[key]]).filter(([, y]) => typeof y === "number") })).filter((each) => each.points.length);
  const logarithmic = LOGARITHMIC.includes(key) && series.every((each) => each.points.every(([, y]) => y > 0));
  const tools = el("div", { class: "tools" }, el("label", {}, "curve ", select(keys.map((each) => [each, CURVES[each] ?? each]), key, { "data-axis": "curve", onchange: (event) => { curve = event.target.value; curves(); } })));
  const labels = [...new Set(series.map((each) => each.row.label))];
  const title = `${CURVES[key] ?? key}${logarithmic ? ", logarithmic" : ""}`;
  const drawnLines = (size, own, names) => lines(size, series, own, names, logarithmic, title);
  const body = labels.length > MANY
    ? el("div", { class: "small-multiples" }, labels.map((label) => el("figure", { "data-method": methods.indexOf(label) }, el("figcaption", {}, label), drawnLines([200, 110], [label], false))))
    : figure(`curve-${key}`, drawnLines([760, 300], labels, true), `Epochs of training; ${title}. `, { class: "curve-plot" });
  one("#curves").replaceChildren(tools, body);
}

// Curves of the rows in `own`, above those of all others in grey.
function lines([width, height], series, own, names, logarithmic, title) {
  const points = series.flatMap((each) => each.points);
  const x = scale(points.map(([epoch]) => epoch), [names ? 55 : 38, width - (names ? 170 : 6)]);
  const y = scale(points.map(([, v]) => v), [height - (names ? 45 : 20), names ? 22 : 6], logarithmic);
  const path = (each) => each.points.map(([epoch, v], i) => `${i ? "L" : "M"}${x(epoch).toFixed(1)},${y(v).toFixed(1)}`).join("");
  const inner = series.filter((each) => !own.includes(each.row.label)).map((each) => svg("path", { class: "other", d: path(each) }));
  const named = new Set();
  let lowest = -Infinity; // names stand below each other in the order of the last values
  const lastValue = (each) => each.points.at(-1)[1];
  for (const each of series.filter((candidate) => own.includes(candidate.row.label)).sort((a, b) => lastValue(b) - lastValue(a))) {
    const [epoch, last] = each.points.at(-1);
    inner.push(svg("g", { "data-method": each.i }, svg("path", { class: "line", stroke: colour(each.i), d: path(each) }), marker(each.i, x(epoch), y(last), each.row.bound, names ? 4 : 3)));
    if (names && !named.has(each.row.label)) {
      named.add(each.row.label);
      lowest = Math.max(lowest + 11, y(last) + 4);
      inner.at(-1).append(svg("text", { class: "name", x: x(epoch) + 9, y: lowest }, each.row.label));
    }
  }
  return frame({ width, height, x, y, wholeX: true, ticks: names ? [8, 5] : [3, 2], xLabel: names && "epoch", yLabel: names && title, text: `${title} by epoch: ${own.join(", ")}` }, inner);
}
