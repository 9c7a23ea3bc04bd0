// The script of a page. On a page of a suite, the parts draw again whenever the state changes.

import * as atlas from "./atlas.js";
import * as compare from "./compare.js";
import * as exports from "./exports.js";
import * as plots from "./plots.js";
import * as popover from "./popover.js";
import * as sections from "./sections.js";
import { change, read } from "./model.js";
import { one } from "./dom.js";

if (one("#atlas table")) {
  read();
  for (const part of [atlas, compare, exports, plots, popover, sections]) part.start();
  change({});
  window.addEventListener("hashchange", () => { if (read()) change({}); });
}
