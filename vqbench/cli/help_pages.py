"""The layout of help: commands and options under headings, in plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from typer.core import TyperCommand, TyperGroup

# Headings and the commands below them. A command without a heading is listed last.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "Compare quantizers": ("init", "run", "plan", "status", "table", "report", "diff"),
    "Use images and trained runs": ("measure", "codecs", "explain", "sample", "encode", "decode", "export"),
    "Look up": ("list", "info"),
    "Add your own": ("new", "check", "profile"),
    "Look after": ("prepare", "doctor", "publish", "verify", "merge", "clean", "completion"),
}
# Headings and the options below them, by their parameters' names. An option without a heading is under "Options".
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "Change the suite": ("only", "skip", "seeds", "metrics", "sets", "plugin"),
    "Reduce it (a copy, not comparable with full runs)": ("epochs", "batch_size", "subset", "test_images"),
    "How images are read": ("by_order", "originals_as", "value_range", "array", "skip_damaged", "as_rgb"),
    "Where it runs": ("device", "jobs", "devices", "executor", "address", "cpus_per_run", "gpus_per_run", "slurm"),
    "When it stops": ("time_limit", "timeout", "retry_failed"),
}
FEW = 8  # options that need no headings


class SectionedGroup(TyperGroup):
    """A group of commands whose help lists them under :data:`COMMANDS`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write every visible command with its summary, under its heading."""
        sections = self.sections()
        width = max(len(name) for _, names in sections for name in names)
        for heading, names in sections:
            summaries = {name: self.commands[name].get_short_help_str(formatter.width - 6 - width) for name in names}
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in summaries.items()])

    def sections(self) -> list[tuple[str, list[str]]]:
        """Return the names of all visible commands under their headings."""
        visible = [name for name, command in self.commands.items() if not command.hidden]
        return _sections(COMMANDS, visible, "Further commands")


class SectionedCommand(TyperCommand):
    """A command whose help lists many options under :data:`OPTIONS`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Write required arguments plainly: newer versions of typer put them in braces."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options under their headings."""
        for heading, entries in self.sections(ctx):
            with formatter.section(heading):
                formatter.write_dl(entries)

    def sections(self, ctx: Any) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return headings with entries, a name and its meaning.

        Arguments come first, then own options, then those shared with other commands.
        """
        records = {param: param.get_help_record(ctx) for param in self.get_params(ctx)}
        shown = {str(param.name): record for param, record in records.items() if record}
        arguments = {str(param.name) for param in records if param.param_type_name == "argument"}
        options = [name for name in shown if name not in arguments]
        selects = "SUITE" in {param.metavar for param in records}  # else --only and --set mean other things
        headings = OPTIONS if selects and len(options) > FEW else {}
        *shared, own = _sections(headings, options, "Options")
        sections = [("Arguments", [name for name in shown if name in arguments]), own, *shared]
        return [
            (heading, [(_without_type(shown[name][0]), shown[name][1]) for name in names])
            for heading, names in sections
            if names
        ]


def _without_type(name: str) -> str:
    """Remove what newer versions of typer add to an argument, as in ``SUITE <str>``."""
    return name.partition(" <")[0]


def _sections(
    headings: Mapping[str, tuple[str, ...]], present: Iterable[str], other: str
) -> list[tuple[str, list[str]]]:
    """Sort the names that are ``present`` under their headings.

    A heading has two names or more. The others come last, under ``other``.
    """
    left = list(present)
    sections = []
    for heading, names in headings.items():
        if len(here := [name for name in names if name in left]) > 1:
            sections.append((heading, here))
            left = [name for name in left if name not in here]
    return [*sections, *([(other, left)] if left else [])]
