"""Update Markdown files with the output of the commands that they name.

A region begins with ``<!-- $ vqbench ... -->`` or ``<!-- $ python ... -->`` and ends with ``<!-- end -->``; its content
is replaced by the output of the command. A folder means every Markdown file in it; without a name, all documents of the
project. With ``--check`` nothing is written, and the exit code is not 0 if a region is out of date.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REGION = re.compile(r"(<!-- \$ (?P<words>(?:vqbench|python) .*?) -->\n).*?(<!-- end -->)", re.DOTALL)
PROGRAMS = {"vqbench": ["-m", "vqbench"], "python": []}  # arguments of the interpreter


def documents(names: list[str]) -> list[Path]:
    """Return the files that ``names`` mean, which have regions."""
    paths = [Path(name).resolve() for name in names] or [ROOT / "README.md", ROOT / "results", ROOT / "docs"]
    files = [file for path in paths for file in (sorted(path.rglob("*.md")) if path.is_dir() else [path])]
    return [file for file in files if REGION.search(file.read_text(encoding="utf-8"))]


def filled(text: str) -> str:
    """Replace every region of ``text`` by the output of its command."""
    return REGION.sub(lambda match: f"{match[1]}{_output(match['words'])}{match[3]}", text)


@cache
def _output(command: str) -> str:
    program, *words = shlex.split(command)
    words = [sys.executable, *PROGRAMS[program], *words]
    return subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


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
