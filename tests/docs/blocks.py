"""The fenced blocks of the documents, and why some of them cannot run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?"
    r"^(?P<fence>`{3,})(?P<language>\S*).*\n"
    r"(?P<code>(?:.*\n)*?)"
    r"^(?P=fence)`*[ ]*$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a document."""

    language: str
    code: str
    line: int  # of the first line of its code, from 1
    reason: str | None  # why it is not run


def documents() -> list[Path]:
    """The Markdown files for people, without what a build left behind."""
    folders = [ROOT / name for name in ("docs", "results", "examples") if (ROOT / name).is_dir()]
    files = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))]
    return sorted(path for path in files if "_build" not in path.parts)


def blocks(path: Path, *languages: str) -> list[Block]:
    """The blocks of a document in these languages, or all."""
    text = path.read_text(encoding="utf-8")
    found = [
        Block(match["language"], match["code"], text.count("\n", 0, match.start("code")) + 1, match["reason"])
        for match in FENCE.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]
