"""Fill the figures of a Markdown file with what the commands named in it print.

A region begins with ``<!-- $ vqbench ... -->`` or ``<!-- $ python ... -->`` and ends with ``<!-- end -->``; what
stands between is replaced by what the command prints. With ``--check`` nothing is written, and the exit code tells
whether all is current.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

REGION = re.compile(r"(<!-- \$ (?P<words>(?:vqbench|python) .*?) -->\n).*?(<!-- end -->)", re.DOTALL)
PROGRAMS = {"vqbench": ["-m", "vqbench"], "python": []}  # what the interpreter is called with


def filled(text: str, folder: Path) -> str:
    """``text`` with every region as its command prints it now, run in ``folder``."""

    def replace(match: re.Match[str]) -> str:
        program, *words = shlex.split(match["words"])
        words = [sys.executable, *PROGRAMS[program], *words]
        printed = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout
        return f"{match[1]}{printed}{match[3]}"

    return REGION.sub(replace, text)


def main() -> None:
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
        sys.exit(f"not what its commands print: {', '.join(stale)}; run python tools/readme.py {' '.join(stale)}")


if __name__ == "__main__":
    main()
