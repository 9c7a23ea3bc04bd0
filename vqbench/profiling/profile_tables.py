"""Read and print kept profiles.

Everything printed comes from the kept file, so it can be printed again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from vqbench.errors import StoreError, UsageError, counted, nearest
from vqbench.system import stored_files
from vqbench.system.console import one_line
from vqbench.system.provenance import origins_of

FORMAT = 1  # of the file
STYLES = {"text": "simple", "markdown": "pipe"}
DASH = "–"
RATIOS = ("forward", "forward_backward", "evaluation")  # compared with the bare product


def finished(row: dict[str, Any]) -> dict[str, Any]:
    """Add to a measured ``row`` its ratios to the bare product, and its share.

    That is the quantizer's share of the training step.
    """
    seconds = row["seconds"]
    ratios = {name: seconds[name] / seconds["product"] for name in RATIOS}
    share = seconds["forward_backward"] / seconds["step"] if "step" in seconds else None
    return {**row, "ratios": ratios, "share": share}


def read(path: Path) -> dict[str, Any]:
    """Read a kept profile. Raises StoreError."""
    try:
        profile = stored_files.json_of(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); `vqbench profile -o {path}` writes one") from None
    except ValueError:
        profile = None
    if not isinstance(profile, dict) or profile.get("profile") != FORMAT:
        raise StoreError(f"{path}: not a profile of this version; name a file that `vqbench profile -o FILE` wrote")
    return profile


def text(profile: dict[str, Any], style: str, cost: bool, methods: bool = False) -> str:
    """Return the table of quantizers and, with ``cost``, the limit of each step.

    With ``methods`` the table shows what each method is instead of its times.
    """
    if style not in STYLES:
        raise UsageError(f"unknown format {style!r}; {nearest(style, STYLES)}")
    if methods:
        return "\n".join([_head(profile), "", _methods(profile, style), "", *_listed(METHOD_NOTES, style)])
    pieces = [_head(profile), "", _rows(profile, style), "", *_listed(_notes(profile, style), style)]
    if cost:
        priced = [row for row in profile["rows"] if "parts" in row]
        if not priced:
            raise UsageError("this profile has no costs; measure them with --cost, at an N of whole images")
        pieces += ["", _peak_rates(profile)]
        for row in priced:
            pieces += ["", _cost(profile, row, style)]
    return "\n".join(pieces)


def _head(profile: dict[str, Any]) -> str:
    machines = [
        f"{device}: {origins_of(machine)[0]}, torch {machine['versions']['torch']}"
        for device, machine in profile["machines"].items()
    ]
    made: dict[str, Any] = next(iter(profile["machines"].values()), {})
    commit = f"; commit {made['commit']}" if made.get("commit") else ""
    return f"{'; '.join(machines)}{commit}; quantizers in {profile['dtype']}, the step in {profile['precision']}."


def _rows(profile: dict[str, Any], style: str) -> str:
    """Return one line per quantizer, size and device.

    A row that could not be measured shows why.
    """
    several = len({row["device"] for row in profile["rows"]}) > 1
    heads = ["quantizer", "N", "K", "D", *(["device"] if several else [])]
    heads += ["product\n[ms]", "forward\n[ms]", "forward +\nbackward\n[ms]", "evaluation\n[ms]"]
    heads += ["forward +\nbackward ÷\nproduct", "peak\n[MB]", "step\n[ms]", "share of\nstep [%]"]
    lines = []
    for row in profile["rows"]:
        cells = [_code(row["label"], style), f"{row['N']:,}", f"{row['K']:,}", f"{row['D']:,}"]
        cells += [row["device"]] if several else []
        lines.append(cells + (["failed", *[DASH] * 7] if "error" in row else _numbers(row)))
    return _grid(heads, lines, style)


def _numbers(row: dict[str, Any]) -> list[str]:
    seconds = row["seconds"]
    times = [milliseconds(seconds[name]) for name in ("product", *RATIOS)]
    step = milliseconds(seconds["step"]) if "step" in seconds else DASH
    share = DASH if row["share"] is None else f"{100 * row['share']:.1f}"
    return [*times, f"{row['ratios']['forward_backward']:.2f}", f"{row['peak_bytes'] / 1e6:.0f}", step, share]


def _notes(profile: dict[str, Any], style: str) -> list[str]:
    rounds = profile["repeat"]
    notes = [
        f"Medians of {counted(rounds, 'round')}; in each round everything in a line was timed in turn; "
        "product: features (N, D) times codebook (D, K).",
        "Peak: memory of two steps of the quantizer alone (forward, backward, Adam), beyond the process before them.",
    ]
    steps = {tuple(row["batch"]) for row in profile["rows"] if row.get("batch")}
    if steps:
        shown = " and ".join("x".join(map(str, shape)) for shape in sorted(steps))
        notes.append(f"Step: the whole update of the autoencoder on {shown} images with the same quantizer.")
    notes += [
        f"{_code(row['label'], style)}: {_code(row['error'], style)}" for row in profile["rows"] if "error" in row
    ]
    return notes


# Methods --------------------------------------------------------------------------------------------------------------

METHOD_NOTES = (
    "Bits per position, for uniformly used codes. Learns by: the gradient, a rule of its own (running means, k-means, "
    "relocation, resets), or both. Ranks: may be trained on several devices.",
    "Step: the whole update of the autoencoder with this quantizer, and the quantizer's forward and backward in it.",
)


def _methods(profile: dict[str, Any], style: str) -> str:
    """Return one line per method: source, cost, and what its codes learn by."""
    heads = ["quantizer", "source", "bits", "learns by", "ranks", "step [ms]", "its part [ms]"]
    lines = []
    for row in profile["rows"]:
        method = row.get("method")
        if method is None:
            lines.append([_code(row["label"], style), "failed", *[DASH] * 5])
            continue
        bits = DASH if method["bits"] is None else f"{method['bits']:.2f}".removesuffix(".00")
        learns = " and ".join(method["learns"]) or "nothing"
        ranks = "yes" if method["distributed"] else "no"
        step = milliseconds(row["seconds"]["step"]) if "step" in row["seconds"] else DASH
        part = milliseconds(row["seconds"]["forward_backward"])
        lines.append([_code(row["label"], style), source(method["paper"]), bits, learns, ranks, step, part])
    return _grid(heads, lines, style, left=2)


def source(paper: str) -> str:
    """Return the first author's last name and the year of a reference.

    If it has none, the reference itself.

    >>> source("C. Zheng, A. Vedaldi, Online Clustered Codebook, ICCV 2023, arXiv 2307.15139")
    'Zheng 2023'
    """
    author = re.match(r"(?:[^\W\d_]\.[ -]?)+(?P<name>[^,;(]+?)(?: et al\.)?,", paper)
    year = re.search(r"\b(?:19|20)\d\d\b(?!\.\d)", paper)
    return f"{author['name']} {year[0]}" if author and year else paper


# Cost -----------------------------------------------------------------------------------------------------------------


def _peak_rates(profile: dict[str, Any]) -> str:
    """Return a sentence on the peak rates of every measured device."""
    sentences = []
    for device, peaks in profile["ceilings"].items():
        types = ("float32", *(["tf32"] if device != "cpu" else []), "bf16")
        rates = ", ".join(f"{peaks[name] / 1e9:,.0f} GFLOP/s in {name}" for name in types)
        launch = f", {peaks['launch'] * 1e6:.1f} µs per kernel launch" if "launch" in peaks else ""
        sentences.append(f"Peak rates measured on {device}: {rates}, {peaks['bytes'] / 1e9:,.1f} GB/s{launch}.")
    return " ".join(sentences)


def costs(row: dict[str, Any], ceilings: dict[str, float]) -> list[dict[str, Any]]:
    """Return every part of the row's step, the rest, and their sum.

    Each with operations, bytes, seconds by the roofline model (``limit``) and measured seconds, of the update of median
    length.
    """
    lines = []
    for part in row["parts"]:
        limit = max(part["operations"] / ceilings[part["type"]], part["bytes"] / ceilings["bytes"])
        lines.append({**part, "limit": limit})
    step = row.get("update_seconds", row["seconds"]["step"])  # profiles saved earlier have medians of each part
    rest = step - sum(part["seconds"] for part in row["parts"])
    moved = row["rest_bytes"]
    lines.append({"part": "rest", "operations": 0, "bytes": moved, "limit": moved / ceilings["bytes"], "seconds": rest})
    total = {key: sum(line[key] for line in lines) for key in ("operations", "bytes", "limit")}
    return [*lines, {"part": "step", **total, "seconds": step}]


def _cost(profile: dict[str, Any], row: dict[str, Any], style: str) -> str:
    """Return the table of one row's step: work, roofline and measured time."""
    lines = costs(row, profile["ceilings"][row["device"]])
    heads = ["part", "GFLOP", "MB", "roofline\n[ms]", "measured\n[ms]", "roofline ÷\nmeasured [%]"]
    cells = [
        [
            line["part"],
            f"{line['operations'] / 1e9:,.2f}",
            f"{line['bytes'] / 1e6:,.1f}",
            milliseconds(line["limit"]),
            milliseconds(line["seconds"]),
            f"{100 * line['limit'] / line['seconds']:.0f}" if line["seconds"] > 0 else DASH,
        ]
        for line in lines
    ]
    shape = "x".join(map(str, row["batch"]))
    facts = f"{shape} images, K = {row['K']:,}, D = {row['D']:,}, {row['device']}, {profile['precision']}"
    launches = [part["launches"] for part in row["parts"] if part["launches"]]
    starts = ""
    if launches:
        floor = sum(launches) * profile["ceilings"][row["device"]]["launch"]
        starts = f"\n\n{sum(launches):,} kernel launches of the parts take at least {milliseconds(floor)} ms to start."
    return f"{_code(row['label'], style)}, {facts}:\n\n{_grid(heads, cells, style)}{starts}"


def _grid(heads: list[str], lines: list[list[str]], style: str, left: int = 1) -> str:
    if style == "markdown":
        heads = [head.replace("\n", " ") for head in heads]
    alignment = ["left"] * left + ["right"] * (len(heads) - left)
    return tabulate(lines, heads, STYLES[style], disable_numparse=True, colalign=alignment)


# Words ----------------------------------------------------------------------------------------------------------------


def milliseconds(seconds: float) -> str:
    """Format milliseconds with three digits, or all before the point."""
    value = 1e3 * seconds
    return f"{value:,.{max(0, 2 - max(0, len(str(int(abs(value)))) - 1))}f}" if abs(value) >= 1 else f"{value:.3f}"


def _code(words: str, style: str) -> str:
    """Format ``words`` as code within one table cell, if the style has code."""
    words = one_line(words)
    if style != "markdown":
        return words
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    space = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{space}{words.replace('|', chr(92) + '|')}{space}{fence}"


def _listed(notes: Iterable[str], style: str) -> list[str]:
    return [f"- {note}" if style == "markdown" else note for note in notes]
