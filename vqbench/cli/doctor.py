"""``vqbench doctor``: whether an installation reproduces the golden values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vqbench.cli import options as shared
from vqbench.cli.output import print_json
from vqbench.errors import VqbenchError

if TYPE_CHECKING:
    from vqbench.execution.installation import Installation


def doctor(as_json: shared.Json = False) -> None:
    """Show versions, devices and assets, and check golden values.

    The exit code is 1 if golden values are not reproduced.
    """
    from vqbench.execution import installation

    described = installation.describe()
    if as_json:
        print_json(installation_data(described))
    else:
        print(installation_text(described))
    if failed := [group.name for group in described.golden if group.state == "FAIL"]:
        raise VqbenchError(
            f"golden check: {', '.join(failed)} fail, so values of this installation are not comparable with others; "
            "install the versions that pyproject.toml names"
        )


def installation_data(described: Installation) -> dict[str, Any]:
    """Convert the facts to JSON data."""
    torch = {} if described.threads is None else {"threads": described.threads, "gpus": list(described.gpus)}
    return {
        "versions": dict(described.versions),
        "processor": described.processor,
        **torch,
        "commit": described.commit,
        "assets": dict(described.assets),
        "cache": str(described.cache),
        "broken_plugins": list(described.broken_plugins),
        "problems": list(described.problems),
        "golden_check": [vars(group) for group in described.golden],
    }


def installation_text(described: Installation) -> str:
    """Write one line per fact, and which suites would run offline."""
    lines = []
    for fact, value in installation_data(described).items():
        words = fact.replace("_", " ")
        if fact == "golden_check":
            lines += [f"{words}:", *(f"  {group.state}  {group.name}: {group.about}" for group in described.golden)]
        elif isinstance(value, dict):
            lines += [f"{words}:", *(f"  {key}: {item}" for key, item in value.items())]
        else:
            lines.append(f"{words}: {', '.join(map(str, value)) or 'none' if isinstance(value, list) else value}")
    absent = [name for name, state in described.assets.items() if state == "missing"]
    works = f"every suite that does not need {', '.join(absent)}" if absent else "every suite"
    return "\n".join([*lines, f"runs offline: {works}"])
