"""Print a table of the documentation from what the program itself uses, as Markdown.

``python tools/doc_tables.py protocols``: every setting of the two protocols, with its reason.
``python tools/doc_tables.py tolerances``: how far a value may be from a printed one.
``python tools/doc_tables.py claims SUITE ...``: who is ahead, from ``vqbench report SUITE ... --format json``.
``python tools/doc_tables.py console COMMAND ...``: what ``vqbench COMMAND ...`` prints, as a fenced block.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Mapping

from tabulate import tabulate

from vqbench import protocol
from vqbench.cli import app
from vqbench.protocol import Knob
from vqbench.reporting.paper.tolerances import TOLERANCES


def protocols() -> str:
    """The settings of training and of evaluation under both protocols, two tables."""
    training = [protocol.TRAIN[name].settings for name in ("official", "clean")]
    evaluation = [protocol.MEASURE[name].knobs() for name in ("official", "clean")]
    return f"Training:\n\n{_knobs(*training)}\n\nEvaluation:\n\n{_knobs(*evaluation)}"


def _knobs(official: Mapping[str, Knob], clean: Mapping[str, Knob]) -> str:
    rows = []
    for name in official:
        cells = [f"`{_value(each[name])}`: {each[name].reason}" for each in (official, clean)]
        rows.append([f"`{name}`", cells[0], "the same" if cells[0] == cells[1] else cells[1]])
    return tabulate(rows, ["setting", "official", "clean"], "github", disable_numparse=True)


def _value(knob: Knob) -> str:
    return "none" if knob.value is None else f"{knob.value:g}" if isinstance(knob.value, float) else str(knob.value)


def tolerances() -> str:
    """The tolerance of each metric, and why it is that large."""
    rows = [[f"`{name}`", each.shown, each.reason] for name, each in TOLERANCES.items()]
    return tabulate(rows, ["metric", "tolerance", "for comparison"], "github", disable_numparse=True)


def claims(words: list[str]) -> str:
    """The best row of each column against every other: difference, interval, p-value, share of resamples."""
    report = json.loads(_printed(["report", *words, "--format", "json"]))
    rows = []
    for column in (column for table in report["tables"] for column in table["statistics"]):
        for pair in column["comparisons"]:
            interval = f"{pair['difference']:+#.3g} ({pair['low']:+#.3g} to {pair['high']:+#.3g})"
            p = f"{pair['p_value_holm']:.3f}" if pair["p_value_holm"] >= 0.001 else "< 0.001"
            ahead = "" if pair["ahead"] is None else f"{100 * pair['ahead']:.0f} %"
            claim = "ahead" if column["claim"] == "significant" else "no claim"
            rows.append([column["metric"], column["best"], pair["other"], interval, p, ahead, claim])
    head = ["metric", "best", "other", "best − other (95 % interval)", "p (Holm)", "resamples", "best row"]
    return tabulate(rows, head, "github", disable_numparse=True)


def console(words: list[str]) -> str:
    """What a command prints, as a fenced block."""
    return f"```text\n{_printed(words).rstrip()}\n```"


def _printed(words: list[str]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        if code := app.run_words(words):
            sys.exit(f"vqbench {shlex.join(words)}: exit code {code}")
    return stream.getvalue()


def main() -> None:
    """Print the table that the command line names."""
    name, *words = sys.argv[1:]
    of_words = {"claims": claims, "console": console}
    print(of_words[name](words) if name in of_words else {"protocols": protocols, "tolerances": tolerances}[name]())


if __name__ == "__main__":
    main()
