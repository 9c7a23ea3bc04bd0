// The frame of a plot: scales, ticks, labels; markers and colours of methods.

import { scaleLinear, scaleLog } from "d3-scale";
import { el, significant, svg } from "./dom.js";

const COLOURS = 8;
const MARKERS = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  (r) => `M${-r},${-r}H${r}V${r}H${-r}Z`,
  (r) => `M0,${-1.3 * r}L${1.2 * r},${r}H${-1.2 * r}Z`,
  (r) => `M0,${-1.4 * r}L${1.4 * r},0L0,${1.4 * r}L${-1.4 * r},0Z`,
  (r) => `M0,${1.3 * r}L${1.2 * r},${-r}H${-1.2 * r}Z`,
];

export const colour = (i) => `var(--series-${i % COLOURS})`;

export function marker(i, x, y, hollow, r = 4.5) {
  const shape = MARKERS[(i + Math.floor(i / COLOURS)) % MARKERS.length];
  return svg("path", { d: shape(r), transform: `translate(${x},${y})`, fill: hollow ? "var(--ground)" : colour(i), stroke: colour(i), "stroke-width": 1.5 });
}

export function scale(values, range, logarithmic = false) {
  const known = values.filter((value) => Number.isFinite(value) && (!logarithmic || value > 0));
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (low === high) [low, high] = logarithmic ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  return (logarithmic ? scaleLog() : scaleLinear()).domain([low, high]).range(range).nice();
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
