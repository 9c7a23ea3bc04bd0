// The atlas: filter, sort, columns, marks, and the dots on a common axis.

import { scaleLinear } from "d3-scale";
import { all, el, one, svg } from "./dom.js";
import { FACTS, change, concerns, columnShown, isShown, methods, metric, onChange, rows, shownColumns, state, view } from "./model.js";

const WIDTH = 160;
const HEIGHT = 22;
const LABELS = {
  axis: "interval", codes: "use of codes", entropy: "entropy / bits", parameters: "parameters", milliseconds: "ms", images: "images",
};

const lineOf = (row) => document.getElementById(`row-${state.protocol}-${row.p}-${row.r}`);
const cellOf = (row, i) => lineOf(row).children[2 + i]; // after the name and the axis

export function start() {
  fillControls();
  document.addEventListener("click", clicked);
  one("#query").addEventListener("input", (event) => change({ query: event.target.value }));
  one("#metric").addEventListener("change", (event) => change({ metric: Number(event.target.value) }));
  one("#protocol")?.addEventListener("change", (event) => change({ protocol: Number(event.target.value), metric: null, y: null, columns: null }));
  document.addEventListener("pointerover", (event) => highlight(event.target.closest("[data-method]")?.dataset.method));
  document.addEventListener("focusin", (event) => highlight(event.target.closest("[data-method]")?.dataset.method));
  onChange(draw);
  new ResizeObserver(fit).observe(one("#atlas"));
}

function clicked(event) {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.sort) sortBy(button);
  if (button.dataset.hide) change({ hide: [...state.hide, methods[button.dataset.hide]] });
  if (button.id === "reset") change({ hide: [], query: "", columns: null, sort: "metric", metric: null });
}

function sortBy(button) {
  const key = button.dataset.sort;
  const first = button.dataset.better === "max" ? `-${key}` : key;
  const second = first === key ? `-${key}` : key;
  change({ sort: state.sort === first ? second : state.sort === second ? "suite" : first });
}

function fillControls() {
  const chips = one("#rows-menu");
  chips.replaceChildren(...methods.map((label, i) => el("label", { "data-method": i },
    el("input", { type: "checkbox", checked: true, "data-row": i, onchange: (event) => toggle(label, event.target.checked) }), label)));
}

function toggle(label, shown) {
  change({ hide: shown ? state.hide.filter((each) => each !== label) : [...state.hide, label] });
}

function columnsMenu() {
  const names = [...view().columns.map((column, i) => [column.key, column.label, columnShown(i)]),
    ...FACTS.map((name) => [name, LABELS[name], columnShown(name)])];
  one("#columns-menu").replaceChildren(...names.map(([key, label, shown]) => el("label", {},
    el("input", { type: "checkbox", checked: shown, "data-column": key, onchange: (event) => {
      const columns = shownColumns().filter((each) => each !== key);
      change({ columns: event.target.checked ? [...columns, key] : columns });
    } }), label)));
}

// What a row is sorted by; rows without a value come last either way.
function sortValue(row, key) {
  if (key === "method") return row.label;
  if (key === "metric") return row.cells[metric()].mean;
  if (key === "codes") return row.used;
  if (key in row.facts) return row.facts[key];
  const i = view().columns.findIndex((column) => column.key === key);
  return i < 0 ? null : row.cells[i].mean;
}

function sorted(panelRows) {
  let key = state.sort.replace(/^-/, "");
  let sign = state.sort.startsWith("-") ? -1 : 1;
  if (state.sort === "suite") return panelRows;
  if (state.sort === "metric") sign = view().columns[metric()].better === "max" ? -1 : 1;
  const value = new Map(panelRows.map((row) => [row, sortValue(row, key)]));
  return [...panelRows].sort((a, b) => {
    const [x, y] = [value.get(a), value.get(b)];
    if (a.bound !== b.bound) return b.bound - a.bound;
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y);
  });
}

// Best and second among the rows shown, by the values as shown; the same rule as in `vqbench table`.
export function ranks(panelRows, i) {
  const column = view().columns[i];
  if (!column.better || column.unranked) return new Map();
  const competing = panelRows.filter((row) => !row.bound && row.cells[i].mean !== null && !row.cells[i].unranked);
  const values = [...new Set(competing.map((row) => Number(row.cells[i].shown)))].sort((a, b) => (column.better === "max" ? b - a : a - b));
  if (values.length < 2) return new Map();
  const names = new Map([[values[0], "best"], [values[1], "second"]]);
  return new Map(competing.map((row) => [row, names.get(Number(row.cells[i].shown)) ?? ""]));
}

function draw(changed) {
  const shown = rows().filter((row) => isShown(row.label));
  if (concerns(changed, "protocol")) all(".view").forEach((section, i) => { section.hidden = i !== state.protocol; });
  controls(shown, changed);
  view().panels.forEach((panel, p) => drawPanel(p, shown.filter((row) => row.p === p), changed));
  heads();
  if (concerns(changed, "columns", "metric", "protocol")) showColumns();
  if (concerns(changed, "columns", "metric", "protocol", "hide", "query")) fit();
}

function drawPanel(p, shown, changed) {
  const body = document.getElementById(`panel-${state.protocol}-${p}`);
  const inPanel = rows().filter((row) => row.p === p);
  const order = sorted(inPanel).map(lineOf);
  if (order.some((line, i) => line !== body.children[body.children.length - order.length + i])) body.append(...order);
  if (!concerns(changed, "protocol", "metric", "hide", "query")) return;
  for (const row of inPanel) lineOf(row).hidden = !isShown(row.label);
  if (concerns(changed, "protocol", "hide", "query")) view().columns.forEach((column, i) => mark(shown, i));
  dots(shown);
}

function mark(shown, i) {
  const rank = ranks(shown, i);
  for (const row of shown) {
    const { classList } = cellOf(row, i);
    classList.toggle("best", rank.get(row) === "best");
    classList.toggle("second", rank.get(row) === "second");
    classList.toggle("ahead", row.cells[i].significant);
  }
}

function dots(shown) {
  const cells = shown.map((row) => row.cells[metric()]).filter((cell) => cell.mean !== null);
  const ends = cells.flatMap((cell) => [cell.mean, clipped(cell, cells, "low"), clipped(cell, cells, "high")]);
  const x = scaleLinear([Math.min(...ends), Math.max(...ends)], [8, WIDTH - 8]);
  const bound = shown.find((row) => row.bound && row.cells[metric()].mean !== null);
  for (const row of shown) {
    const cell = row.cells[metric()];
    const parts = [svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2, class: "rail" })];
    if (bound) parts.push(svg("line", { x1: x(bound.cells[metric()].mean), x2: x(bound.cells[metric()].mean), y1: 0, y2: HEIGHT, class: "bound" }));
    if (cell.low !== null) parts.push(svg("line", { x1: Math.max(0, x(cell.low)), x2: Math.min(WIDTH, x(cell.high)), y1: HEIGHT / 2, y2: HEIGHT / 2, class: "interval" }));
    if (cell.mean !== null) parts.push(row.external ? svg("rect", { x: x(cell.mean) - 4, y: HEIGHT / 2 - 4, width: 8, height: 8, class: "hollow" })
      : svg("circle", { cx: x(cell.mean), cy: HEIGHT / 2, r: 4.5, class: row.bound ? "dot hollow" : "dot" }));
    one(".axis-cell", lineOf(row)).replaceChildren(svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": described(cell) }, parts));
  }
}

// An interval over two seeds can be wider than all other values; the axis then cuts it.
function clipped(cell, cells, end) {
  const means = cells.map((each) => each.mean);
  const reach = Math.max(...means) - Math.min(...means) || Math.abs(means[0]) || 1;
  if (cell[end] === null) return cell.mean;
  return Math.max(Math.min(...means) - reach / 2, Math.min(Math.max(...means) + reach / 2, cell[end]));
}

function described(cell) {
  const column = view().columns[metric()];
  if (cell.mean === null) return `${column.label}: no value`;
  const interval = cell.low === null ? "" : `, 95 % interval ${cell.low.toFixed(column.digits)} to ${cell.high.toFixed(column.digits)} ${cell.basis}`;
  return `${column.label} ${cell.shown}${interval}`;
}

function heads() {
  const basis = rows().map((row) => row.cells[metric()].basis).find(Boolean) ?? "";
  for (const head of all(".view:not([hidden]) .axis-head")) {
    head.textContent = view().columns[metric()].label + (basis ? `, 95 % ${basis.includes("seeds") ? basis : "over images"}` : "");
    head.title = basis ? `95 % interval ${basis}` : "no interval: one value per row";
  }
  for (const button of all(".view:not([hidden]) [data-sort]")) {
    const key = state.sort === "metric" ? (view().columns[metric()].better === "max" ? "-" : "") + view().columns[metric()].key : state.sort;
    const own = key.replace(/^-/, "") === button.dataset.sort;
    button.closest("th").setAttribute("aria-sort", !own ? "none" : key.startsWith("-") ? "descending" : "ascending");
  }
}

function controls(shown, changed) {
  const total = rows().length;
  if (one("#query").value !== state.query) one("#query").value = state.query;
  one("#count").textContent = shown.length === total ? `${total} rows` : `${shown.length} of ${total} rows`;
  one("#reset").hidden = shown.length === total && state.columns === null && state.sort === "metric" && state.metric === null;
  if (concerns(changed, "hide")) for (const box of all("[data-row]")) box.checked = !state.hide.includes(methods[box.dataset.row]);
  if (concerns(changed, "protocol")) one("#metric").replaceChildren(...view().columns.map((column, i) => el("option", { value: i }, column.head)));
  one("#metric").value = metric();
  if (one("#protocol")) one("#protocol").value = state.protocol;
  if (concerns(changed, "metric", "protocol")) {
    one("#finding").textContent = view().findings[metric()];
    one("#unused").textContent = view().unused;
  }
  if (concerns(changed, "columns", "metric", "protocol")) columnsMenu();
}

function showColumns() {
  const section = one(".view:not([hidden])");
  view().columns.forEach((column, i) => { for (const cell of all(`[data-cell="${i}"]`, section)) cell.hidden = !columnShown(i); });
  for (const name of FACTS) for (const cell of all(`[data-fact="${name}"]`, section)) cell.hidden = !columnShown(name);
}

let highlighted;

function highlight(method) {
  if (method === highlighted) return;
  highlighted = method;
  for (const each of all(".hot")) each.classList.remove("hot");
  document.body.classList.toggle("highlighting", method !== undefined);
  if (method !== undefined) for (const each of all(`[data-method="${method}"]`)) each.classList.add("hot");
}

// The head sticks to the top only where the table does not scroll sideways.
function fit() {
  const box = one(".view:not([hidden]) .scroll");
  if (box) box.classList.toggle("fits", one("table", box).offsetWidth <= box.clientWidth + 1);
}
