import { all } from "./dom.js";
import { concerns, isShown, onChange } from "./model.js";

// The sections below the atlas: sets of images, and what is folded around a linked run.

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
  if (location.hash.startsWith("#view:")) return;
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  if (target) target.scrollIntoView();
}

// Rows hidden in the atlas are hidden in the sections below, too.
function follow(changed) {
  if (!concerns(changed, "hide", "query")) return;
  for (const each of all("[data-label]")) each.hidden = !isShown(each.dataset.label);
}

export function start() {
  onChange(follow);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.errors !== undefined) toggleErrors(button);
    else if (button.hasAttribute("aria-controls") && button.closest("[data-switch]")) show(button);
  });
  window.addEventListener("hashchange", unfold);
  if (location.hash) unfold();
}
