"""Print what a Python block of a Markdown page prints, as a fenced block.

``python tools/page_output.py PAGE N ...`` runs these Python blocks of the page, counted from 1, one after the other in
a folder that has only results/ and suites/, and prints the output of the last. In a page, ``tools/readme.py`` keeps it:
``<!-- $ python tools/page_output.py PAGE N ... -->``.

Of blocks that take minutes, ``--keep FILE`` stores the output, with the code that printed it, commit, date and device.
``python tools/page_output.py --show FILE`` prints what is stored, and fails if the page has other code by now.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_of(page: Path, numbers: Sequence[int]) -> list[str]:
    """Return the Python blocks of these ``numbers``."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    if wrong := [number for number in numbers if not 1 <= number <= len(found)]:
        sys.exit(f"{page} has {len(found)} Python blocks, and no block {wrong[0]}")
    return [found[number - 1] for number in numbers]


def output(page: Path, blocks: Sequence[str]) -> str:
    """Run ``blocks`` of a page and return the output of the last."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    before, printed = Path.cwd(), ""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("results", "suites"):
            (Path(folder) / name).symlink_to(ROOT / name)
        os.chdir(folder)
        try:
            for code in blocks:
                with contextlib.redirect_stdout(io.StringIO()) as stream:
                    exec(compile(code, str(page), "exec", dont_inherit=True), namespace)
                printed = stream.getvalue()
        finally:
            os.chdir(before)
    return printed


def keep(file: Path, page: Path, numbers: Sequence[int], blocks: Sequence[str], printed: str) -> None:
    """Store an output, and what it was made by."""
    import torch

    from vqbench.system.provenance import current_provenance

    made = current_provenance(torch.device("cpu"))
    about = {name: made[name] for name in ("commit", "date", "device", "threads", "versions")}
    data = {"page": page.resolve().relative_to(ROOT).as_posix(), "blocks": list(numbers), "code": list(blocks), **about}
    file.write_text(json.dumps({**data, "output": printed.splitlines()}, indent=1) + "\n", encoding="utf-8")


def kept(file: Path) -> str:
    """Return a stored output, whose code is still that of the page."""
    data = json.loads(file.read_text(encoding="utf-8"))
    if code_of(ROOT / data["page"], data["blocks"]) != data["code"]:
        again = " ".join(["python tools/page_output.py", data["page"], *map(str, data["blocks"]), "--keep", str(file)])
        sys.exit(f"{file} was printed by other code than {data['page']} has; run {again}")
    return "\n".join(data["output"])


def main(words: Sequence[str] | None = None) -> None:
    """Print the fenced block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, nargs="?", help="a Markdown page")
    parser.add_argument("numbers", type=int, nargs="*", metavar="N", help="its Python blocks to run, from 1")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="store the output as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a stored output instead")
    given = parser.parse_args(words)
    if given.show:
        text = kept(given.show)
    elif given.page and given.numbers:
        blocks = code_of(given.page, given.numbers)
        text = output(given.page, blocks)
        if given.keep:
            keep(given.keep, given.page, given.numbers, blocks, text)
    else:
        parser.error("give a page and the numbers of blocks, or --show FILE")
    print("```text", *(line.rstrip() for line in text.splitlines()), "```", sep="\n")


if __name__ == "__main__":
    main()
