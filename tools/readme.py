"""Update Markdown files with the output of the commands that they name.

A region begins with ``<!-- $ vqbench ... -->`` or ``<!-- $ python ... -->`` and ends with ``<!-- end -->``; its content
is replaced by the output of the command. A folder means every Markdown file in it; without a name, all documents of the
project. With ``--check`` nothing is written, and the exit code is not 0 if a region is out of date.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REGION = re.compile(r"(<!-- \$ (?P<words>(?:vqbench|python) .*?) -->\n).*?(<!-- end -->)", re.DOTALL)
FIGURE_OF_PAGE = re.compile(r"python tools/page_output\.py (?P<page>\S+) (?P<number>\d+)")


def documents(names: list[str]) -> list[Path]:
    """Return the files that ``names`` mean, which have regions."""
    paths = [Path(name).resolve() for name in names] or [ROOT / "README.md", ROOT / "results", ROOT / "docs"]
    files = [file for path in paths for file in (sorted(path.rglob("*.md")) if path.is_dir() else [path])]
    return [file for file in files if REGION.search(file.read_text(encoding="utf-8"))]


def filled(text: str) -> str:
    """Replace every region of ``text`` by the output of its command."""
    commands = [match["words"] for match in REGION.finditer(text)]
    shown = printed_by_pages(commands)
    shown |= printed([command for command in commands if command not in shown])
    return REGION.sub(lambda match: f"{match[1]}{shown[match['words']]}{match[3]}", text)


def printed_by_pages(commands: Sequence[str]) -> dict[str, str]:
    """Run the Python of every page once, and return what the commands for its figures would print."""
    numbers: dict[str, dict[str, str]] = {}  # page to number of a block to command
    for command in commands:
        if found := FIGURE_OF_PAGE.fullmatch(command):
            numbers.setdefault(found["page"], {})[found["number"]] = command
    shown = {}
    for page, of_page in numbers.items():
        printed = json.loads(_run(["tools/page_output.py", page, *of_page, "--each"]))
        shown.update({command: f"{printed[number]}\n" for number, command in of_page.items()})
    return shown


def printed(commands: Sequence[str]) -> dict[str, str]:
    """Run ``commands`` in one other process, which imports libraries once, and return what each prints."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools import readme; readme.answer()"
    shown: dict[str, str] = json.loads(_run(["-c", code], json.dumps(commands))) if commands else {}
    return shown


def answer() -> None:
    """Run the commands in stdin, a JSON list, and print what each prints, as a JSON object."""
    shown = {}
    for command in json.load(sys.stdin):
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            carry_out(*shlex.split(command))
        shown[command] = stream.getvalue()
    print(json.dumps(shown))


def carry_out(program: str, *words: str) -> None:
    """Run ``vqbench ...`` or ``python SCRIPT ...`` in this process."""
    if program == "vqbench":
        from vqbench.cli import app

        if code := app.run_words(list(words)):
            sys.exit(f"vqbench {shlex.join(words)}: exit code {code}")
    else:
        before, sys.argv = list(sys.path), list(words)
        sys.path.insert(0, str(Path(words[0]).parent))  # as Python does for a script
        runpy.run_path(words[0], run_name="__main__")
        sys.path[:] = before


def _run(words: Sequence[str], given: str = "") -> str:
    """Run Python with ``words`` and this text as stdin, and return its stdout."""
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=ROOT, check=True, input=given, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Update the files named on the command line, or check them."""
    check = "--check" in sys.argv
    stale = []
    for path in documents([word for word in sys.argv[1:] if word != "--check"]):
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if before != after:
            stale.append(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))
            if not check:
                path.write_text(after, encoding="utf-8")
    if check and stale:
        sys.exit(
            f"differs from the output of its commands: {', '.join(stale)}; run python tools/readme.py {' '.join(stale)}"
        )


if __name__ == "__main__":
    main()
