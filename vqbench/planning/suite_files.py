"""Find suite files by name, and load a suite with its changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vqbench import registry
from vqbench.errors import UsageError, nearest
from vqbench.planning import yamlfile
from vqbench.planning.changes import narrowed, of_headings, select_rows
from vqbench.planning.overrides import Override, override
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.yamlfile import Document
from vqbench.registry import metric_groups
from vqbench.system.paths import is_file

PACKAGE = Path(__file__).resolve().parents[1]


def folders() -> list[Path]:
    """The folders of suites, in the order of search.

    The working directory's comes first, then a checkout's, then the installed one.
    """
    beside = [PACKAGE.parent / "suites"] if (PACKAGE.parent / "pyproject.toml").is_file() else []
    return [Path("suites"), *beside, PACKAGE / "suites"]


def known_suites() -> dict[str, Path]:
    """All suites that have a name: name -> file."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_suite(name_or_path: str | Path) -> Path:
    """Find the file of a suite by its path or name.

    A path is used as given; a name is searched for in :func:`folders`, with or without ``.yaml``.

    Raises UsageError with the places searched and the known suites.
    """
    given = str(name_or_path)
    bases = [Path(), *(folders() if Path(given).name == given else [])]
    tried = [base / name for base in bases for name in dict.fromkeys((given, given.removesuffix(".yaml") + ".yaml"))]
    for path in tried:
        if given and is_file(path):
            return path
    looked = ", ".join(dict.fromkeys(str(base / given) for base in bases))
    raise UsageError(f"{given!r}: no such suite; looked for {looked} (or .yaml); {nearest(given, known_suites())}")


def load_suite(source: str | Path | Document, overrides: Iterable[Override] = ()) -> SuiteSpec:
    """Load the suite of a name, a path or a document, changed by ``overrides``.

    A relative folder of images in a file is looked for beside the file, then in the current folder; one in an override
    is in the current folder.

    Raises UsageError with the place of a wrong value.
    """
    document = source if isinstance(source, Document) else _read(find_suite(source))
    overrides = list(overrides)
    changed = override(document, overrides, SuiteSpec.model_fields)
    suite = SuiteSpec.from_document(narrowed(document, changed, overrides))
    if not overrides:
        return suite
    return suite.model_copy(update=of_headings(document, suite, overrides))


def _read(path: Path) -> Document:
    """Read the file of a suite, with its folders as seen from the current one."""
    document = yamlfile.read(path)
    if path.parent.resolve() == Path.cwd() or not isinstance(document.data, dict):
        return document
    data = dict(document.data)
    if "data" in data:
        data["data"] = _beside(path, data["data"])
    if isinstance(data.get("datasets"), list):
        data["datasets"] = [_dataset_beside(path, each) for each in data["datasets"]]
    return Document(data, document.places)


def _dataset_beside(path: Path, written: Any) -> Any:
    """Return a data set of the suite at ``path`` with its folder as seen from here."""
    if not isinstance(written, dict):
        return written
    return {
        name: {**args, "folder": _beside(path, args["folder"])} if isinstance(args, dict) and "folder" in args else args
        for name, args in written.items()
    }


def _beside(path: Path, folder: Any) -> Any:
    """Return ``folder`` as beside the file at ``path`` if it exists there."""
    if not isinstance(folder, str) or not folder:
        return folder
    with suppress(OSError, ValueError):
        if (path.parent / folder).is_dir():
            return str(path.parent / folder)
    return folder


def changed_suite(
    source: str | Path | Document,
    overrides: Sequence[Override] = (),
    metrics: Sequence[str] = (),
    reduced: Mapping[str, int] = MappingProxyType({}),
    test_images: int | None = None,
    metrics_origin: str = "--metrics ",
) -> SuiteSpec:
    """Load a suite with all its changes; see :func:`vqbench.planning.loading.load`."""
    spec = load_suite(source, overrides)
    if metrics:
        smaller = spec.reduce(test_images, **reduced) if reduced or test_images else spec
        changes = _of_metrics(smaller, _wanted_metrics(smaller, metrics, metrics_origin), metrics, metrics_origin)
        spec = load_suite(source, [*overrides, *changes])
    return spec.reduce(test_images, **reduced) if reduced or test_images else spec


def _wanted_metrics(spec: SuiteSpec, given: Sequence[str], named: str) -> list[str]:
    """Add metrics of ``given`` names to those of a suite.

    A group takes the place of the suite's own. ``named`` is what an error calls them.
    """
    from vqbench.planning.feasibility import applicable_metrics

    if not metric_groups.GROUPS.keys() & set(given):
        return list(dict.fromkeys([*spec.metrics, *given]))
    try:
        return metric_groups.expanded(given, lambda group: applicable_metrics(spec, group))
    except UsageError as error:
        raise UsageError(f"{named}{', '.join(given)}: {error}") from None


def _of_metrics(spec: SuiteSpec, wanted: Sequence[str], given: Sequence[str], named: str) -> list[Override]:
    """Return the overrides that give a suite and its table ``wanted`` metrics."""
    origin = f"{named}{', '.join(given)}"
    changes = [Override("metrics", list(wanted), origin)]
    if spec.table.columns:
        kept = [name for name in spec.table.columns if name not in spec.metrics or name in wanted]
        added = [name for name in wanted if name in given or name not in spec.metrics]
        changes.append(Override("table.columns", list(dict.fromkeys([*kept, *added])), origin))
    return changes


@dataclass(frozen=True)
class SuiteChanges:
    """Rows, values, metrics and sizes that differ from a suite's file."""

    only: Sequence[str] = ()  # labels or quantizers of the rows to keep, with * and ?
    skip: Sequence[str] = ()  # likewise, of rows to leave out
    overrides: Sequence[Override] = ()
    metrics: Sequence[str] = ()  # added to the suite's; a group takes their place
    plugins: Sequence[Path] = ()  # files; their quantizers get a row
    sizes: Mapping[str, int] = field(default_factory=dict)  # arguments of the recipe that make a reduced copy
    test_images: int | None = None  # likewise
    metrics_origin: str = "--metrics "  # what an error calls ``metrics``

    def apply(self, source: str | Path | Document) -> tuple[SuiteSpec, bool]:
        """Load the plugins and the changed suite.

        Also returns whether the suite differs from ``source``. Raises UsageError for whatever is wrong.
        """
        registry.add_files(self.plugins)
        overrides = [*self.overrides]
        if self.only or self.skip or self.plugins:
            added = [path.stem for path in self.plugins]
            overrides += select_rows(load_suite(source, overrides), self.only, self.skip, added)
        spec = changed_suite(source, overrides, self.metrics, self.sizes, self.test_images, self.metrics_origin)
        return spec, bool(overrides or self.metrics or self.sizes or self.test_images)
