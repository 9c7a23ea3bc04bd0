"""The digest of a plugin's file: equal for every layout and every Python, different for every other code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from vqbench.system import source_digest

CODE = '''"""About."""

from __future__ import annotations


class A(Base, metaclass=M):
    """About it."""

    rate: float = 0.25

    def f(self, x, /, y=1, *, z: int | None = None, **more):
        "What it does."
        return f"{x!r:>{y}} and {z=}" + u"a" if x else [*more, b"1", 2j, ..., -1.5e-3]
'''
# By another editor: a comment, other quotes, blanks and lines, another docstring and none.
LAYOUT = """# Mine.

from __future__ import annotations
class A ( Base, metaclass = M ):

    rate: float = (0.25)  # as in the paper
    'the rate'
    def f(self, x, /, y=0x1, *,
          z: int | None = None, **more):
        return (f'{x!r:>{y}} ' f'and {z=}' + 'a' if x else [*more, b'1', 2j, ..., -0.0015,])
"""


def said(code: str) -> str:
    return source_digest.digest(code.encode(), Path("/nowhere"))


def test_layout_comments_and_docstrings_say_nothing() -> None:
    """The digest of a file does not change by what changes no code, so that runs stay done."""
    assert said(CODE) == said(LAYOUT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.25", "0.5"),
        ("y=1", "y=True"),
        ("y=1", "y=1.0"),
        ("!r", "!s"),
        (">", "<"),
        ('b"1"', '"1"'),
        ("Base, ", ""),
        ("class A", "class B"),
        ("/, y", "y"),
        ("= None", "= 0"),
        (" and ", " or "),
        ("[*more", "[more"),
    ],
)
def test_every_change_of_code_is_another_digest(old: str, new: str) -> None:
    """Whatever may change what is trained gives the file another digest."""
    assert old in CODE
    assert said(CODE) != said(CODE.replace(old, new))


def test_the_digest_is_the_same_under_every_python() -> None:
    """The digest that 3.11 gives is kept here, and trees as later versions make them have the same words."""
    assert said(CODE)[:16] == "de35d52fff54e0f0"
    ours = ast.parse("def f(x): return f'a{x:}b'")
    theirs = ast.parse("def f(x): return f'a{x}b'")
    for node in ast.walk(theirs):
        if isinstance(node, ast.FunctionDef):
            node._fields = (*node._fields, "type_params")  # type: ignore[misc]  # since 3.12
            node.type_params = []  # type: ignore[attr-defined]
        if isinstance(node, ast.JoinedStr):  # cut elsewhere
            node.values = [ast.Constant(""), *node.values[:-1], ast.Constant("b"), ast.Constant("")]
    assert list(source_digest.tokens(ours)) == list(source_digest.tokens(theirs))


def test_deep_and_odd_files_have_a_digest() -> None:
    """A sum of many terms, a number of many digits and a lone surrogate are no trouble."""
    assert said("x = " + " + ".join(["1"] * 900))
    assert said(f"x = 0x{'f' * 5000}") != said(f"x = 0x{'e' * 5000}")
    assert said(r"x = '\ud800'") != said(r"x = '\ud801'")


def test_a_file_beside_it_that_it_imports_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that it imports from its own folder are part of the digest; other files there are not."""
    monkeypatch.syspath_prepend(tmp_path)
    main = b"def f():\n    import helper_of_mine\n    return helper_of_mine"
    (tmp_path / "helper_of_mine.py").write_text("from deeper_of_mine.a import A")
    (tmp_path / "deeper_of_mine").mkdir()
    for name, text in {"__init__.py": "", "a.py": "A = 1"}.items():
        (tmp_path / "deeper_of_mine" / name).write_text(text)
    before = source_digest.digest(main, tmp_path)
    (tmp_path / "unused.py").write_text("B = 1")
    assert source_digest.digest(main, tmp_path) == before
    (tmp_path / "deeper_of_mine" / "a.py").write_text("A = 2  # another")
    assert source_digest.digest(main, tmp_path) != before
