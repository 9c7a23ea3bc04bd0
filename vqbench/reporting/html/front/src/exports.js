// Files of the rows and columns shown, and of plots.

import { all, one } from "./dom.js";
import { ranks } from "./atlas.js";
import { columnShown, isShown, link, page, rows, state, view } from "./model.js";

export function start() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.export) save(button.dataset.export);
    if (button?.id === "link") copyLink(button);
    if (button?.dataset.figure) saveFigure(button.closest("figure"), button.dataset.figure);
  });
}

export const FORMATS = { csv: ["text/csv", csv], json: ["application/json", json], latex: ["text/x-tex", latex] };

function save(format) {
  const [type, text] = FORMATS[format];
  download(`${page.suite}.${format === "latex" ? "tex" : format}`, new Blob([text()], { type }));
}

function download(name, blob) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(blob);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}

async function copyLink(button) {
  const text = button.textContent;
  try {
    await navigator.clipboard.writeText(link());
    button.textContent = "copied";
  } catch {
    button.textContent = "copy the address bar";
  }
  setTimeout(() => { button.textContent = text; }, 1500);
}

const shownColumns = () => [...view().columns.keys()].filter(columnShown);
const shownRows = () => rows().filter((row) => isShown(row.label));
const quoted = (field) => (/[",\n\r]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);

// The lines that `vqbench table --format csv` writes for these rows and columns; ranks are those among the rows shown.
function csv() {
  const columns = shownColumns();
  const shown = shownRows();
  const rank = page.csv.head.indexOf("rank");
  const names = new Map();
  for (const i of columns) view().panels.forEach((_, p) => {
    for (const [row, name] of ranks(shown.filter((each) => each.p === p), i)) names.set(`${p} ${row.r} ${i}`, name);
  });
  const present = new Set(shown.map((row) => `${row.p} ${row.r}`));
  const lines = page.csv.tables[state.protocol]
    .filter(([p, r, i]) => present.has(`${p} ${r}`) && columns.includes(i))
    .map(([p, r, i, fields]) => fields.with(rank, names.get(`${p} ${r} ${i}`) ?? ""));
  return [page.csv.head, ...lines].map((fields) => `${fields.map(quoted).join(",")}\n`).join("");
}

function json() {
  const columns = shownColumns();
  const content = shownRows().map((row) => ({
    panel: row.panel.heading,
    row: row.label,
    ...row.facts,
    values: Object.fromEntries(columns.map((i) => [view().columns[i].key, row.cells[i]])),
  }));
  return `${JSON.stringify({ suite: page.suite, protocol: view().protocol, rows: content }, null, 2)}\n`;
}

const COMMANDS = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "↑": "$\\uparrow$", "↓": "$\\downarrow$", "×": "$\\times$", "–": "--", "−": "$-$" };
const tex = (text) => text.replace(/[\\~^↑↓×–−]|[&%$#_{}]/g, (letter) => COMMANDS[letter] ?? `\\${letter}`);

const marked = (marks) => (marks.length ? `\\textsuperscript{${marks.join(",")}}` : "");

function latex() {
  const columns = shownColumns();
  const lines = view().panels.flatMap((panel, p) => {
    const shown = shownRows().filter((row) => row.p === p);
    const rank = new Map(columns.map((i) => [i, ranks(shown, i)]));
    const cell = (row, i) => {
      const { shown: value, spread, significant } = row.cells[i];
      const text = tex(value ?? "–");
      const ranked = { best: `\\textbf{${text}}`, second: `\\underline{${text}}` }[rank.get(i).get(row)] ?? text;
      return ranked + (spread ? ` $\\pm$ ${spread}` : "") + marked(significant ? ["\\textdagger{}"] : []);
    };
    const heading = view().panels.length > 1 ? [`\\multicolumn{${columns.length + 1}}{l}{\\emph{${tex(panel.heading)}}} \\\\`] : [];
    return [...heading, ...shown.map((row) => `${[tex(row.label) + marked(row.marks), ...columns.map((i) => cell(row, i))].join(" & ")} \\\\`)];
  });
  const head = ["Method", ...columns.map((i) => tex(view().columns[i].head))].join(" & ");
  return ["% needs \\usepackage{booktabs}", `\\begin{tabular}{l${"r".repeat(columns.length)}}`, "\\toprule", `${head} \\\\`, "\\midrule", ...lines, "\\bottomrule", "\\end{tabular}", `% ${view().legend}`, ""].join("\n");
}

// A plot in a file has no style sheet: what the page's sheet says is written into it.
const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "paint-order", "text-anchor"];

function standalone(drawn) {
  const copy = drawn.cloneNode(true);
  const originals = all("*", drawn);
  all("*", copy).forEach((node, i) => {
    const style = getComputedStyle(originals[i]);
    for (const name of STYLES) node.setAttribute(name, style.getPropertyValue(name));
    node.removeAttribute("class");
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const { width, height } = drawn.viewBox.baseVal;
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  return { text: new XMLSerializer().serializeToString(copy), width, height };
}

async function saveFigure(figure, format) {
  const { text, width, height } = standalone(one("svg.plot", figure));
  const name = `${page.suite}-${figure.dataset.name}`;
  if (format === "svg") return download(`${name}.svg`, new Blob([text], { type: "image/svg+xml" }));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * width, 2 * height];
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(document.body).backgroundColor;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toBlob((blob) => download(`${name}.png`, blob));
}
