// The data of the page and the one state of what is shown, which the URL's hash holds.

export const page = JSON.parse(document.getElementById("model")?.textContent ?? `{"views":[]}`);

const DEFAULTS = {
  protocol: 0, metric: null, query: "", hide: [], columns: null, sort: "metric",
  a: "", b: "", image: "0", mode: "slider", x: "entropy", y: null,
};
const PREFIX = "#view:";
const listeners = [];
export const state = { ...DEFAULTS };

export const view = () => page.views[state.protocol] ?? page.views[0];
export const metric = () => (state.metric === null ? view().metric : state.metric);

// All methods of the suite in the order of its table; the position decides colour and marker.
export const methods = [...new Set(page.views.flatMap((v) => v.panels.flatMap((p) => p.rows.map((r) => r.label))))];

const known = new Map(); // view -> its rows

export function rows() {
  if (!known.has(view())) known.set(view(), view().panels.flatMap((panel, p) => panel.rows.map((row, r) => ({ ...row, panel, p, r }))));
  return known.get(view());
}

// Whether a listener that draws what `names` decide has to draw again; the first draw names no change.
export const concerns = (changed, ...names) => !changed.length || changed.some((name) => names.includes(name));

export function isShown(label) {
  const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  return !state.hide.includes(label) && words.every((word) => label.toLowerCase().includes(word));
}

export function columnShown(i) {
  const name = typeof i === "number" ? view().columns[i].key : i;
  if (state.columns) return state.columns.includes(name);
  return typeof i === "number" ? view().columns[i].shown || i === metric() : view().facts.includes(i);
}

export const FACTS = ["axis", "codes", "entropy", "parameters", "milliseconds", "images"];

export function shownColumns() {
  return [...view().columns.keys()].filter(columnShown).map((i) => view().columns[i].key)
    .concat(FACTS.filter(columnShown));
}

export function onChange(listener) {
  listeners.push(listener);
}

export function change(changes) {
  Object.assign(state, changes);
  const hash = written();
  if (hash !== (location.hash || PREFIX)) history.replaceState(null, "", hash === PREFIX ? location.pathname + location.search : hash);
  for (const listener of listeners) listener(Object.keys(changes));
}

function written() {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (JSON.stringify(value) === JSON.stringify(DEFAULTS[name])) continue;
    if (Array.isArray(value)) for (const each of value.length ? value : [""]) words.append(name, each);
    else words.set(name, named(name, value));
  }
  return PREFIX + words;
}

// Protocols and metrics are written by name, so that a link outlives a new column.
function named(name, value) {
  if (name === "protocol") return page.views[value].protocol;
  if (name === "metric" || name === "y") return view().columns[value].key;
  return value;
}

export function link() {
  return location.href.split("#")[0] + written();
}

// Reads the hash; what it names and this page lacks is left at its default.
export function read() {
  if (!location.hash.startsWith(PREFIX)) return false;
  const words = new URLSearchParams(location.hash.slice(PREFIX.length));
  Object.assign(state, DEFAULTS);
  const protocol = page.views.findIndex((each) => each.protocol === words.get("protocol"));
  if (protocol > 0) state.protocol = protocol;
  for (const name of ["metric", "y"]) {
    const i = view().columns.findIndex((each) => each.key === words.get(name));
    if (i >= 0) state[name] = i;
  }
  for (const name of ["query", "sort", "a", "b", "image", "mode", "x"]) if (words.has(name)) state[name] = words.get(name);
  for (const name of ["hide", "columns"]) if (words.has(name)) state[name] = words.getAll(name).filter(Boolean);
  return true;
}
