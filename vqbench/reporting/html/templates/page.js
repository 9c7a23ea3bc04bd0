"use strict";

// Sorting: rows move within their block, each with the lines below it that belong to it.
function units(body) {
  const groups = [];
  for (const line of body.querySelectorAll("tr:not(.heading)")) {
    if (line.classList.contains("part") && groups.length) groups[groups.length - 1].push(line);
    else groups.push([line]);
  }
  return groups;
}

function valueOf(group, column) {
  const cell = group[0].cells[column];
  if (!cell || cell.dataset.value === undefined) return null;
  const number = Number(cell.dataset.value.replace("inf", "Infinity"));
  return Number.isNaN(number) || column === 0 ? cell.dataset.value : number;
}

function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null); // what has no value comes last, either way
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sort(button) {
  const head = button.closest("th");
  const table = button.closest("table");
  const column = head.cellIndex;
  const now = head.getAttribute("aria-sort");
  const first = button.dataset.better === "max" ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const next = now === first ? other : now === other ? "none" : first;
  for (const each of table.querySelectorAll("th[aria-sort]")) each.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", next);
  for (const body of table.tBodies) {
    const groups = units(body);
    groups.forEach((group) => { group[0].dataset.place ??= String(groups.indexOf(group)); });
    if (next === "none") groups.sort((a, b) => a[0].dataset.place - b[0].dataset.place);
    else groups.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), next === "ascending" ? 1 : -1));
    for (const group of groups) body.append(...group);
  }
}

// Switching: one set of images at a time; error maps on demand.
function show(button) {
  const box = button.closest("[data-switch]");
  for (const each of box.querySelectorAll("[aria-controls]")) {
    const chosen = each === button;
    each.setAttribute("aria-pressed", String(chosen));
    document.getElementById(each.getAttribute("aria-controls")).hidden = !chosen;
  }
}

function toggleErrors(button) {
  const on = button.closest("[data-switch]").classList.toggle("show-errors");
  button.setAttribute("aria-pressed", String(on));
}

// A link to a run opens what is folded around it.
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  if (target) target.scrollIntoView();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("sort")) sort(button);
  else if (button.dataset.errors !== undefined) toggleErrors(button);
  else if (button.hasAttribute("aria-controls")) show(button);
});
window.addEventListener("hashchange", unfold);
if (location.hash) unfold();
