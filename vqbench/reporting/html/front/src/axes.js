// The frame of a plot: scales, ticks, labels; markers and colours of methods.

import { scaleLinear, scaleLog } from "d3-scale";
import { el, significant, svg } from "./dom.js";

const COLOURS = 8;
// Eight outlines that differ without their colours, each of about the same area, for a radius r.
const MARKERS = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  (r) => polygon([[-r, -r], [r, -r], [r, r], [-r, r]]),
  (r) => polygon([[0, -1.3 * r], [1.2 * r, r], [-1.2 * r, r]]),
  (r) => polygon([[0, -1.4 * r], [1.4 * r, 0], [0, 1.4 * r], [-1.4 * r, 0]]),
  (r) => polygon([[0, 1.3 * r], [1.2 * r, -r], [-1.2 * r, -r]]),
  (r) => polygon(plus(r)),
  (r) => polygon(Array.from({ length: 10 }, (_, k) => [1.5, 0.62].map((reach) => reach * r)[k % 2]).map((reach, k) => turned([0, -reach], k * 36))),
  (r) => polygon(plus(r).map((corner) => turned(corner, 45))),
];

const polygon = (corners) => `M${corners.map(([x, y]) => `${+x.toFixed(2)},${+y.toFixed(2)}`).join("L")}Z`;
const plus = (r) => [[-0.5, -1.4], [0.5, -1.4], [0.5, -0.5], [1.4, -0.5], [1.4, 0.5], [0.5, 0.5], [0.5, 1.4], [-0.5, 1.4], [-0.5, 0.5], [-1.4, 0.5], [-1.4, -0.5], [-0.5, -0.5]].map(([x, y]) => [x * r, y * r]);

function turned([x, y], degrees) {
  const [sin, cos] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)];
  return [x * cos - y * sin, x * sin + y * cos];
}

export const colour = (i) => `var(--series-${i % COLOURS})`;

export function marker(i, x, y, hollow, r = 4.5) {
  const shape = MARKERS[(i + 3 * Math.floor(i / COLOURS)) % MARKERS.length];
  return svg("path", { class: "marker", d: shape(r), transform: `translate(${x},${y})`, fill: hollow ? "var(--ground)" : colour(i), stroke: colour(i), "stroke-width": 1.5 });
}

// The width of a plot in the page: that of its section, within limits in which its text stays readable.
export const widthOf = (box) => Math.max(340, Math.min(1100, box.clientWidth || 760));

export function scale(values, range, logarithmic = false) {
  const known = values.filter((value) => Number.isFinite(value) && (!logarithmic || value > 0));
  let [low, high] = [Math.min(...known), Math.max(...known)];
  const only = low === high ? low : null; // a plot of one value has one tick, at that value
  if (only !== null) [low, high] = logarithmic ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  const made = logarithmic ? scaleLog().domain([low / 1.1, high * 1.1]).range(range) : scaleLinear().domain([low, high]).range(range).nice();
  return only === null ? made : Object.assign(made, { ticks: () => [only], tickFormat: () => (value) => significant(value) });
}

// An SVG with axes; `inner` is what the plot draws between them.
export function frame({ width, height, x, y, xLabel, yLabel, text, ticks = [6, 5], wholeX = false }, inner) {
  const [left, right] = x.range();
  const [bottom, top] = y.range();
  const number = (s, n) => (s.base ? (value) => significant(value, 3) : s.tickFormat(n));
  const [xNumber, yNumber] = [wholeX ? String : number(x, ticks[0]), number(y, ticks[1])];
  const few = (s, n) => { const all = s.ticks(n); const step = Math.ceil(all.length / (n + 2)); return all.filter((_, i) => i % step === 0); };
  const parts = [
    ...few(y, ticks[1]).flatMap((value) => [svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
      svg("text", { x: left - 5, y: y(value) + 3.5, "text-anchor": "end" }, yNumber(value))]),
    ...few(x, ticks[0]).filter((value) => !wholeX || Number.isInteger(value)).map((value) => svg("text", { x: x(value), y: bottom + 14, "text-anchor": "middle" }, xNumber(value))),
    svg("path", { class: "frame", d: `M${left},${top}V${bottom}H${right}` }),
    xLabel && svg("text", { class: "axis", x: (left + right) / 2, y: bottom + 30, "text-anchor": "middle" }, xLabel),
    yLabel && svg("text", { class: "axis", x: left, y: top - 7, "text-anchor": "start" }, yLabel),
  ].filter(Boolean);
  return svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": text }, parts, inner);
}

export function figure(name, drawn, caption, attributes = {}) {
  return el("figure", { "data-name": name, ...attributes }, drawn, el("figcaption", {}, caption,
    el("button", { type: "button", "data-figure": "svg" }, "SVG"), el("button", { type: "button", "data-figure": "png" }, "PNG")));
}
