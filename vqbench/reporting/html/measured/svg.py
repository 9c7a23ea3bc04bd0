"""Convert figures of Matplotlib to SVG that fits into a page.

Colours come from the styles of the page, light or dark; style attributes, which its security policy forbids, go.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqbench.system.console import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES = 8  # colours of the page; later series repeat them
INK, FAINT = "#0000f0", "#0000f1"  # placeholders for colours of the page
_PAGE = {INK: "currentColor", FAINT: "var(--line)"} | {f"#0001{i:02x}": f"var(--series-{i})" for i in range(SERIES)}
_SKIPPED = ("font-family", "font", "-inkscape-font-specification")


@dataclass(frozen=True)
class Plot:
    """A figure as SVG, its title and the note below it."""

    svg: str
    title: str
    note: str = ""


def colour(i: int) -> str:
    """Return the colour of series ``i`` for Matplotlib."""
    return f"#0001{i % SERIES:02x}"


def panel(width: float = 3.6, height: float = 2.5) -> tuple[Figure, Any]:
    """Create an empty figure with one pair of axes, coloured by the page.

    ``width`` and ``height`` in inches of 100 pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    left, bottom = 0.55 / width, 0.42 / height  # by hand, since automatic layout takes as long as drawing
    axes = figure.add_axes((left, bottom, 0.97 - left, 0.96 - bottom))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", colors=INK, labelsize=8, color=FAINT)
    axes.grid(True, color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def label(axes: Any, x: str, y: str) -> None:
    """Name both axes."""
    axes.set_xlabel(visible(x), color=INK, fontsize=8.5, parse_math=False)  # names in a suite are no formulas
    axes.set_ylabel(visible(y), color=INK, fontsize=8.5, parse_math=False)


def inline(figure: Figure, text: str) -> str:
    """Convert the figure to an ``<svg>`` element with ``text`` as its alternative.

    ``text`` is escaped here.
    """
    import matplotlib
    from markupsafe import escape

    buffer, text = io.StringIO(), visible(text)
    salt = hashlib.sha256(text.encode()).hexdigest()[:12]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    drawn = buffer.getvalue()
    drawn = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", drawn, flags=re.S)
    drawn = re.sub(r'\sstyle="([^"]*)"', _attributes, drawn[drawn.index("<svg") :])
    # A hundredth of a pixel is invisible. Text between tags is left alone: readers see its numbers.
    drawn = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d\d)\d+", r"\1", tag[0]), drawn)
    width, height = (round(size * 72) for size in figure.get_size_inches())
    head = f'<svg class="plot" role="img" aria-label="{escape(text)}" viewBox="0 0 {width} {height}">'
    drawn = re.sub(r"^<svg.*?>", lambda _: head, drawn, count=1, flags=re.S)
    return re.sub(r">\s+<", "><", drawn).strip()


def _attributes(match: re.Match[str]) -> str:
    """Convert ``style="fill: none; …"`` to separate attributes."""
    pairs = [part.partition(":") for part in match[1].split(";") if part.strip()]
    style = {name.strip(): value.strip() for name, _, value in pairs}
    if "font" in style and (size := re.search(r"[\d.]+px", style["font"])):
        style["font-size"] = size[0]
    kept = [(name, _PAGE.get(value, value)) for name, value in style.items() if name not in _SKIPPED]
    return "".join(f' {name}="{value}"' for name, value in kept)
