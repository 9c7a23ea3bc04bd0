"""Print what a Python block of a Markdown page prints, as a fenced block.

``python tools/page_output.py PAGE N ...`` runs these Python blocks of the page, counted from 1, one after the other in
a folder that has only results/ and suites/, and prints the output of the last. In a page, ``tools/readme.py`` keeps it:
``<!-- $ python tools/page_output.py PAGE N ... -->``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def output(page: Path, numbers: Sequence[int]) -> str:
    """Run the Python blocks of these ``numbers`` and return the output of the last."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    if wrong := [number for number in numbers if not 1 <= number <= len(found)]:
        sys.exit(f"{page} has {len(found)} Python blocks, and no block {wrong[0]}")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    before, printed = Path.cwd(), ""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("results", "suites"):
            (Path(folder) / name).symlink_to(ROOT / name)
        os.chdir(folder)
        try:
            for code in (found[number - 1] for number in numbers):
                with contextlib.redirect_stdout(io.StringIO()) as stream:
                    exec(compile(code, str(page), "exec", dont_inherit=True), namespace)
                printed = stream.getvalue()
        finally:
            os.chdir(before)
    return printed


def main() -> None:
    """Print the fenced block."""
    text = output(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])
    print("```text", *(line.rstrip() for line in text.splitlines()), "```", sep="\n")


if __name__ == "__main__":
    main()
