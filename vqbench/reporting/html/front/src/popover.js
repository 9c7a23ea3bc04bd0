// The details of one value: interval, seeds, printed value, verdict, run.

import { el, one } from "./dom.js";
import { view } from "./model.js";

export function start() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".value");
    if (button) open(button);
  });
}

function open(button) {
  const line = button.closest("tr.row");
  const [, , p, r] = line.id.split("-");
  const panel = view().panels[p];
  const i = Number(button.closest("td").dataset.cell);
  const box = one("#details");
  box.replaceChildren(...content(panel.rows[r], panel.rows[r].cells[i], view().columns[i], panel.heading, panel.findings[i]));
  box.showPopover();
  const at = button.getBoundingClientRect();
  box.style.left = `${Math.max(8, Math.min(at.left, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${at.bottom + box.offsetHeight + 8 > innerHeight ? Math.max(8, at.top - box.offsetHeight - 6) : at.bottom + 6}px`;
  box.addEventListener("toggle", (event) => { if (event.newState === "closed" && box.contains(document.activeElement)) button.focus(); }, { once: true });
}

function content(row, cell, column, heading, finding) {
  const digits = (value) => `${value.toFixed(column.digits + 1)}`;
  const facts = [
    ["mean", cell.mean === null ? null : `${cell.shown} ${column.unit}`],
    ["95 % interval", cell.low === null ? null : `${digits(cell.low)} … ${digits(cell.high)}, ${cell.basis}`],
    ["test images", cell.images?.toLocaleString("en-US")],
    ["seeds", cell.values.map((value, k) => `${cell.seeds[k] ?? ""}: ${typeof value === "number" ? digits(value) : value}`).join("; ")],
    ["printed", cell.paper],
    ["ours − printed", cell.difference],
    ["verdict", cell.verdict && [cell.verdict, cell.why].filter(Boolean).join(": ")],
    ["status", cell.status === "ok" ? null : [{ missing: "not run", failed: "failed", none: "undefined for this row" }[cell.status], cell.reason].filter(Boolean).join(": ")],
    ["not ranked", cell.unranked || column.unranked],
    ["notes", [...cell.notes, ...row.notes].join("; ")],
    ["column", finding],
  ];
  const links = Object.entries(cell.runs).map(([seed, key]) => el("a", { href: `#run-${key}`, onclick: () => one("#details").hidePopover() }, `seed ${seed}`));
  return [
    el("h3", {}, `${column.label} of ${row.label}`),
    heading && el("p", { class: "fine" }, heading),
    el("dl", {}, facts.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
      links.length ? [el("dt", {}, "run"), el("dd", {}, links.flatMap((link, k) => (k ? [", ", link] : [link])))] : []),
    el("button", { type: "button", class: "tool", onclick: () => one("#details").hidePopover() }, "close"),
  ].filter(Boolean);
}
