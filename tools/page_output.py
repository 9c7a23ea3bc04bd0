"""Print what a Python block of a Markdown page prints, as a fenced block.

``python tools/page_output.py PAGE N`` reads the page from its top as a reader does: it runs the Python blocks before
the Nth but those marked ``<!-- not run: ... -->``, then the Nth, in a folder that has only results/ and suites/, and
prints the output of the Nth. In a page, ``tools/readme.py`` keeps it:
``<!-- $ python tools/page_output.py PAGE N -->``. With ``--each`` it runs the whole page once, and prints the output of
every N given, as one JSON object; ``tools/readme.py`` asks for all figures of a page in this way.

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
BLOCK = re.compile(r"(<!-- not run: .*? -->\n)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(page: Path, asked: Sequence[int], whole: bool) -> dict[int, str]:
    """Return the Python blocks to run, by number.

    These are the ``asked`` ones and all unmarked ones, up to the last asked one unless ``whole``.
    """
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    if wrong := [number for number in asked if not 1 <= number <= len(found)]:
        sys.exit(f"{page} has {len(found)} Python blocks, and no block {wrong[0]}")
    last = len(found) if whole else max(asked)
    return {
        number: code
        for number, (marked, code) in enumerate(found, start=1)
        if number in asked or (not marked and number <= last)
    }


def outputs(page: Path, blocks: dict[int, str]) -> dict[int, str]:
    """Run ``blocks`` of a page, and return the output of each."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    before, printed = Path.cwd(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("results", "suites"):
            (Path(folder) / name).symlink_to(ROOT / name)
        os.chdir(folder)
        try:
            for number, code in blocks.items():
                with contextlib.redirect_stdout(io.StringIO()) as stream:
                    exec(compile(code, f"{page}, Python block {number}", "exec", dont_inherit=True), namespace)
                printed[number] = stream.getvalue()
        finally:
            os.chdir(before)
    return printed


def keep(file: Path, page: Path, blocks: dict[int, str], printed: str) -> None:
    """Store an output, and what it was made by."""
    import torch

    from vqbench.system.provenance import current_provenance

    made = current_provenance(torch.device("cpu"))
    about = {name: made[name] for name in ("commit", "date", "device", "threads", "versions")}
    place = page.resolve().relative_to(ROOT).as_posix()
    data = {"page": place, "blocks": list(blocks), "code": list(blocks.values()), **about}
    file.write_text(json.dumps({**data, "output": printed.splitlines()}, indent=1) + "\n", encoding="utf-8")


def kept(file: Path) -> str:
    """Return a stored output, whose code is still that of the page."""
    data = json.loads(file.read_text(encoding="utf-8"))
    page = ROOT / data["page"]
    now = blocks_of(page, data["blocks"], whole=False)
    if [now[number] for number in data["blocks"]] != data["code"]:
        again = f"python tools/page_output.py {data['page']} {data['blocks'][-1]} --keep {file}"
        sys.exit(f"{file} was printed by other code than {data['page']} has; run {again}")
    return "\n".join(data["output"])


def fenced(text: str) -> str:
    return "\n".join(["```text", *(line.rstrip() for line in text.splitlines()), "```"])


def main(words: Sequence[str] | None = None) -> None:
    """Print the fenced block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, nargs="?", help="a Markdown page")
    parser.add_argument(
        "numbers", type=int, nargs="*", metavar="N", help="its Python block whose output to print, from 1"
    )
    parser.add_argument("--each", action="store_true", help="run the whole page, print the outputs of all N as JSON")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="store the output as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a stored output instead")
    given = parser.parse_args(words)
    if given.show:
        print(fenced(kept(given.show)))
        return
    if not given.page or not given.numbers or (len(given.numbers) > 1 and not given.each):
        parser.error("give a page and the number of a block, several numbers with --each, or --show FILE")
    blocks = blocks_of(given.page, given.numbers, given.each)
    printed = outputs(given.page, blocks)
    if given.keep:
        keep(given.keep, given.page, blocks, printed[given.numbers[-1]])
    if given.each:
        print(json.dumps({number: fenced(printed[number]) for number in given.numbers}))
    else:
        print(fenced(printed[given.numbers[0]]))


if __name__ == "__main__":
    main()
