"""Print what docs/reference/json.md says of the JSON of every command."""

from __future__ import annotations

from typing import Any

from vqbench.cli.json_output import OUTPUTS, schema


def type_of(part: dict[str, Any]) -> str:
    """Write the type of a value in words."""
    if "$ref" in part:
        return f"object [{part['$ref'].rpartition('/')[2].removesuffix('Json')}]"
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(type_of(each) for each in part["anyOf"]))
    if "enum" in part or "const" in part:
        return " or ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array":
        return f"array of {type_of(part['items'])}"
    if part.get("type") == "object" and isinstance(part.get("additionalProperties"), dict):
        return f"object of {type_of(part['additionalProperties'])}"
    return str(part.get("type", "any"))


def table(part: dict[str, Any]) -> list[str]:
    """Write a Markdown table of the keys of an object."""
    lines = ["| key | type | meaning |", "|---|---|---|"]
    for key, value in part["properties"].items():
        optional = "" if key in part.get("required", []) else " (may be absent)"
        lines.append(f"| `{key}` | {type_of(value)} | {value.get('description', '')}{optional} |")
    return lines


def main() -> None:
    """Print a section per command."""
    for command in OUTPUTS:
        parts = schema(command)
        definitions = dict(parts.get("$defs", {}))
        main_name = parts.get("items", {}).get("$ref", "").rpartition("/")[2]
        objects = {"": definitions.pop(main_name) if main_name else parts, **definitions}
        print(f"## {command}\n")
        for name, part in objects.items():
            about = " ".join(part.get("description", "").replace("``", "`").split())
            print(f"**{name.removesuffix('Json')}.** {about}\n" if name else f"{about}\n")
            print("\n".join(table(part)) + "\n")


if __name__ == "__main__":
    main()
