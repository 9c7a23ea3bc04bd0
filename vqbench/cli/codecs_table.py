"""The table of ``vqbench codecs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vqbench.errors import counted

NONE = "–"  # what a target out of reach has in place of values


def codecs_table(found: Sequence[Mapping[str, Any]], style: str = "text") -> str:
    """Format JSON data of targets: one table per protocol, and sentences below."""
    from vqbench.protocol import measuring
    from vqbench.system.output import fold

    def sentence(text: str) -> str:
        return f"{text}  " if style == "markdown" else fold(text)  # two spaces: a line of its own

    lines = []
    protocols = dict.fromkeys(value["protocol"] for each in found for value in each["values"])
    for protocol in protocols or [""]:
        lines += [*_drawn(found, protocol, style), ""]
        lines += [sentence(f"{protocol}: {measuring(protocol).summary}.")] if protocol else []
    notes = dict.fromkeys(value["note"] for each in found for value in each["values"] if value["note"])
    lines += map(sentence, [*_about(found), *notes])
    return "\n".join(lines)


def _drawn(found: Sequence[Mapping[str, Any]], protocol: str, style: str) -> list[str]:
    """Return the lines of one protocol's table."""
    values = [[value for value in each["values"] if value["protocol"] == protocol] for each in found]
    heads = next(([_head(value) for value in own] for own in values if own), [])
    over = any(each["over"] for each in found)
    rows = [
        [
            each["row"],
            f"{each['bits']:,.0f}",
            *([f"{each['over']:,}"] if over else []),
            _settings(each),
            *([f"{value['value']:.{value['digits']}f}" for value in own] or [NONE] * len(heads)),
        ]
        for each, own in zip(found, values, strict=True)
    ]
    return STYLES[style](["row", "bits", *(["over"] if over else []), "setting", *heads], rows)


def _text(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns, the first to the left."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [heads, ["-" * width for width in widths], *rows]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    from tabulate import tabulate

    align = ["left", *["right"] * (len(heads) - 1)]
    return tabulate(rows, heads, "pipe", disable_numparse=True, colalign=align).splitlines()


STYLES = {"text": _text, "markdown": _markdown}


def _head(value: Mapping[str, Any]) -> str:
    return f"{value['label']} {value['unit']}" if value["unit"] else str(value["label"])


def _settings(each: Mapping[str, Any]) -> str:
    low, high = each["settings"]
    return f"{low}-{high}" if low < high else f"{low}"


def _about(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what bits are, which images are over the target, and what is out of reach."""
    sentences = ["Bits are means over images; each image has the best setting within the target."]
    if any(each["over"] for each in found):
        images = counted(max(each["images"] for each in found), "image")
        sentences.append(f"Over: how many of {images} need more than the target even by the lowest setting.")
    if not all(each["reached"] for each in found):
        sentences.append(f"{NONE} in place of values: out of reach, since the mean of bits is over the target.")
    return sentences
