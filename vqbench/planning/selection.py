"""The changes of a suite that a command line or a Python call makes, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqbench import registry
from vqbench.planning.changes import select_rows
from vqbench.planning.overrides import Override
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import changed_suite, load_suite
from vqbench.planning.yamlfile import Document


@dataclass(frozen=True)
class SuiteChanges:
    """Rows, values, metrics and sizes that differ from a suite's file."""

    only: Sequence[str] = ()  # labels or quantizers of the rows to keep, with * and ?
    skip: Sequence[str] = ()  # likewise, of rows to leave out
    overrides: Sequence[Override] = ()
    metrics: Sequence[str] = ()  # added to the suite's
    plugins: Sequence[Path] = ()  # files; their quantizers get a row
    sizes: Mapping[str, int] = field(default_factory=dict)  # arguments of the recipe that make a reduced copy
    test_images: int | None = None  # likewise

    def apply(self, source: str | Path | Document) -> tuple[SuiteSpec, bool]:
        """Load the plugins and the changed suite.

        Also returns whether the suite differs from ``source``. Raises UsageError for whatever is wrong.
        """
        registry.add_files(self.plugins)
        overrides = [*self.overrides]
        if self.only or self.skip or self.plugins:
            added = [path.stem for path in self.plugins]
            overrides += select_rows(load_suite(source, overrides), self.only, self.skip, added)
        spec = changed_suite(source, overrides, self.metrics, self.sizes, self.test_images)
        return spec, bool(overrides or self.metrics or self.sizes or self.test_images)
