"""Update a Markdown file with the output of the commands that it names.

A region begins with ``<!-- $ vqbench ... -->`` or ``<!-- $ python ... -->`` and ends with ``<!-- end -->``; its content
is replaced by the output of the command. With ``--check`` nothing is written, and the exit code is not 0 if a region is
out of date.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

REGION = re.compile(r"(<!-- \$ (?P<words>(?:vqbench|python) .*?) -->\n).*?(<!-- end -->)", re.DOTALL)
PROGRAMS = {"vqbench": ["-m", "vqbench"], "python": []}  # arguments of the interpreter


def filled(text: str, folder: Path) -> str:
    """Replace every region of ``text`` by the output of its command in ``folder``."""

    def replace(match: re.Match[str]) -> str:
        program, *words = shlex.split(match["words"])
        words = [sys.executable, *PROGRAMS[program], *words]
        printed = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout
        return f"{match[1]}{printed}{match[3]}"

    return REGION.sub(replace, text)


def main() -> None:
    """Update the files named on the command line, or check them."""
    check = "--check" in sys.argv
    stale = []
    for name in (word for word in sys.argv[1:] if word != "--check"):
        path = Path(name).resolve()
        before = path.read_text(encoding="utf-8")
        after = filled(before, Path(__file__).resolve().parents[1])
        if before != after:
            stale.append(name)
            if not check:
                path.write_text(after, encoding="utf-8")
    if check and stale:
        sys.exit(
            f"differs from the output of its commands: {', '.join(stale)}; run python tools/readme.py {' '.join(stale)}"
        )


if __name__ == "__main__":
    main()
