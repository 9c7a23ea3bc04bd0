"""Write tables as LaTeX, for booktabs."""

from __future__ import annotations

from vqbench.reporting.tables.formats.latex_text import escape, needs
from vqbench.reporting.tables.formats.layout import Layout
from vqbench.reporting.tables.formats.style import Style, joined
from vqbench.reporting.tables.table import Table
from vqbench.system.console import one_line

_STYLE = Style(
    escape=escape,
    best=r"\textbf{{{}}}",
    second=r"\underline{{{}}}",
    mark=r"\textsuperscript{{{}}}",
    marks=r"\textsuperscript{{{}}}",
    part=r"\quad {}",
    ranks="Bold best, underlined second",
)


def latex(page: Layout, all_notes: bool) -> str:
    table = page.table
    width = 1 + len(table.slots)
    body: list[str] = []
    for line in page.lines:
        if line.kind == "block":
            body += [r"\midrule"] if body else []
            body.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_STYLE.label(line)}}}}} \\")
        else:
            body.append(" & ".join(_STYLE.cells(line)) + r" \\")
    below = [escape(one_line(text)) for text in table.caption]
    below += _STYLE.notes(page, all_notes)
    text = joined(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(one_line(table.title))}}}",
            rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        ],
        [r"\toprule", *_heads(table), r"\midrule", *body, r"\bottomrule", r"\end{tabular}"],
        [r"\begin{flushleft}\footnotesize", " \\par\n".join(below), r"\end{flushleft}"] if below else [],
        [r"\end{table}"],
    )
    return f"{needs(text)}\n{text}"


def _heads(table: Table) -> list[str]:
    lines = []
    if table.groups:
        span = len(table.columns)
        labels = [rf"\multicolumn{{{span}}}{{c}}{{{escape(one_line(group.label))}}}" for group in table.groups]
        rules = [rf"\cmidrule(lr){{{2 + i * span}-{1 + (i + 1) * span}}}" for i in range(len(table.groups))]
        lines += [" & ".join(["", *labels]).lstrip() + r" \\", " ".join(rules)]
    heads = [escape(one_line(column.head)) for _, column in table.slots]
    return [*lines, " & ".join(["", *heads]).lstrip() + r" \\"]
