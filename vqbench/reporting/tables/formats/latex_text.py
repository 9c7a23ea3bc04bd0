"""Escape plain text for LaTeX, and name the packages that it needs."""

from __future__ import annotations

import re

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row it would be an argument of the line break before it
    "*": "{*}",  # likewise
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "†": r"\textdagger{}",
    "’": "'",
    "“": "``",
    "”": "''",
}
_FORMULAS = {
    "±": r"\pm",
    "−": "-",
    "×": r"\times",
    "·": r"\cdot",
    "÷": r"\div",
    "≤": r"\leq",
    "≥": r"\geq",
    "≈": r"\approx",
    "≠": r"\neq",
    "∞": r"\infty",
    "√": r"\surd",
    "∈": r"\in",
    "‖": r"\Vert",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "←": r"\leftarrow",
    "→": r"\rightarrow",
    "µ": r"\mu",
    "ε": r"\varepsilon",
    "φ": r"\varphi",
}
_GREEK = "α alpha β beta γ gamma δ delta ζ zeta η eta θ theta κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho σ sigma τ tau"
_MORE_GREEK = "χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Φ Phi Ψ Psi Ω Omega"
_LETTERS = f"{_GREEK} {_MORE_GREEK}".split()
_CHARACTERS = str.maketrans(
    _SPECIAL
    | {character: f"${formula}$" for character, formula in _FORMULAS.items()}
    | {letter: rf"$\{name}$" for letter, name in zip(_LETTERS[::2], _LETTERS[1::2], strict=True)}
    | {digit: rf"\textsuperscript{{{i}}}" for i, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
    | {digit: rf"\textsubscript{{{i}}}" for i, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")}
)
_NEEDS = r"% needs \usepackage{booktabs}, \usepackage{textcomp} and \usepackage[T1]{fontenc}"
_NEEDS_UNICODE = r"% needs \usepackage{booktabs}, \usepackage{fontspec}, lualatex or xelatex, and a font that has"
_SHOWN = 5  # characters that the comment names


def escape(text: str) -> str:
    """Escape everything in ``text`` that LaTeX would read as a command or a ligature.

    >>> print(escape("50 % of [α] --set"))
    50 \\% of {[}$\\alpha$] -{}-set
    """
    # Two hyphens, as in the option of a command, would become a dash, and two commas a quotation mark.
    return re.sub(r"([-,])(?=\1)", r"\1{}", text.translate(_CHARACTERS))


def needs(text: str) -> str:
    """Return a comment on what a document must load for ``text``.

    Every engine has the letters of Latin-1.
    """
    others = list(dict.fromkeys(character for character in text if ord(character) > 0xFF))
    return f"{_NEEDS_UNICODE}: {' '.join(others[:_SHOWN])}" if others else _NEEDS
