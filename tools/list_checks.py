"""Print the checks of a kind of plugins as a Markdown table, for the documentation.

``python tools/list_checks.py metrics``
"""

from __future__ import annotations

import sys
from typing import cast

from vqbench.conformance.catalogue import CHECKS
from vqbench.registry import Kind


def main(kind: Kind) -> None:
    """Print name, property and public thread of each check of ``kind``."""
    print("| check | passes if |\n|---|---|")
    for check in CHECKS[kind]:
        thread = f" ([an issue of this kind]({check.link}))" if check.link else ""
        slow = " Only with `--slow`." if check.slow else ""
        print(f"| `{check.name}` | {' '.join(check.full.splitlines()).replace('|', '&#124;')}{slow}{thread} |")


if __name__ == "__main__":
    main(cast(Kind, sys.argv[1]))
