"""Suites from Python: load, look at and plan what is to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench import registry
from vqbench.api.arguments import mapping, plain, text_or_path, whole_number, words
from vqbench.errors import UsageError, counted, shortened
from vqbench.system.paths import path_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from vqbench.planning.overrides import Override
    from vqbench.planning.plan import Plan, PlannedRun
    from vqbench.planning.suite import SuiteRow, SuiteSpec
    from vqbench.planning.yamlfile import Document
    from vqbench.store.results import ResultStore


@dataclass(frozen=True, repr=False)
class Suite:
    """A suite with its changes; :func:`load_suite` loads one.

    It is not changed by its use, nor by a later edit of its file.
    """

    spec: SuiteSpec  # all keys of the file, checked
    variant: bool  # whether it differs from its file
    plugins: tuple[Path, ...] = ()  # files whose plugins it may use
    source: str = ""  # its name or path; "": loaded from a mapping

    @property
    def name(self) -> str:
        """The name of the suite, by which its table and its plan are called."""
        return self.spec.name

    @property
    def title(self) -> str:
        """The title of its table, with its changes."""
        return self.spec.heading

    @property
    def rows(self) -> list[SuiteRow]:
        """The rows of its table, grids expanded."""
        return self.spec.rows()

    @property
    def datasets(self) -> list[str]:
        """The names of its data sets."""
        return [dataset.name for dataset in self.spec.datasets]

    @property
    def metrics(self) -> list[str]:
        """The names of its metrics."""
        return list(self.spec.metrics)

    @property
    def seeds(self) -> list[int]:
        """Its seeds."""
        return list(self.spec.seeds)

    @cached_property
    def runs(self) -> list[PlannedRun]:
        """Its runs in the order of the table, all arguments resolved.

        Each has a ``label`` and, in ``run``, what decides its weights, with its ``key``. Loads the classes of plugins,
        so torch. Raises UsageError for a run that cannot be carried out.
        """
        return self.resolve([]).entries

    def to_yaml(self) -> str:
        """Return the suite with its changes as a file that ``vqbench run`` takes."""
        return self.spec.dump()

    def resolve(self, stores: Sequence[ResultStore], refresh: bool = False) -> Plan:
        """Resolve the suite to its plan; see :func:`vqbench.planning.loading.load`."""
        from vqbench.planning import loading

        registry.add_files(self.plugins)  # again: a file may have been edited
        return loading.load_spec(self.spec, self.variant, stores, refresh)

    def __repr__(self) -> str:
        parts: dict[str, Sequence[Any]] = {"row": self.rows, "data set": self.datasets}
        parts |= {"seed": self.seeds, "metric": self.metrics}
        return f"<Suite {self.name}: {', '.join(counted(len(each), name) for name, each in parts.items())}>"


def load_suite(
    suite: str | Path | Mapping[str, Any],
    *,
    only: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
    metrics: str | Sequence[str] = (),
    set: Mapping[str, Any] | None = None,
    plugins: str | Path | Sequence[str | Path] = (),
    epochs: int | None = None,
    batch_size: int | None = None,
    subset: int | None = None,
    test_images: int | None = None,
) -> Suite:
    """Load a suite, with the changes that the options of ``vqbench run`` make.

    Args:
        suite: the name of a suite, the path of its YAML file, or the content of such a file as a mapping.
        only: labels or quantizers of the rows to keep, with ``*`` for any letters.
        skip: likewise, of rows to leave out.
        seeds: seeds, 0 or more, in place of the suite's; like all numbers here, plain or of numpy.
        metrics: names of metrics to add, or a group to measure instead: ``fast``, ``paper`` or ``all``.
        set: values by the path of their key, such as ``{"codebook.num_codes": 64}``.
        plugins: .py files with plugins; a quantizer gets a row.
        epochs: of a reduced copy, the number of epochs, at least 1.
        batch_size: likewise, images per update, at least 1.
        subset: likewise, the number of training images, at least 1.
        test_images: likewise, the number of test images, at least 2.

    Raises:
        UsageError: for whatever is wrong with the suite or a change, with its place.

    >>> import vqbench
    >>> suite = vqbench.load_suite("quick", only=["vq", "cvq*"], seeds=[1, 2], epochs=1)
    >>> suite
    <Suite quick_reduced: 4 rows, 1 data set, 2 seeds, 7 metrics>
    >>> [row.label for row in suite.rows], suite.metrics[:2]
    (['vq', 'cvq_offline', 'cvq_online', 'cvq'], ['l1', 'ssim'])
    """
    from vqbench.planning.suite_files import SuiteChanges

    values = mapping("set", {} if set is None else set, "{'codebook.num_codes': 64}").items()
    overrides = [_override(path, value) for path, value in values]
    if seeds is not None:
        several = plain(seeds)
        overrides.append(_override("seeds", several if isinstance(several, list) else [several]))
    sizes = {"epochs": epochs, "batch_size": batch_size, "subset": subset}
    changes = SuiteChanges(
        only=words("only", only),
        skip=words("skip", skip),
        overrides=overrides,
        metrics=words("metrics", metrics),
        metrics_origin="metrics=",
        plugins=[path_of(path).resolve() for path in words("plugins", plugins)],
        sizes={name: whole_number(name, size) for name, size in sizes.items() if size is not None},
        test_images=None if test_images is None else whole_number("test_images", test_images, 2),
    )
    spec, changed = changes.apply(_source(suite))
    placed = spec.placed({("reduced", name): f"{name}={size}" for name, size in changes.sizes.items()})
    return Suite(placed, changed, tuple(changes.plugins), "" if isinstance(suite, Mapping) else str(suite))


def plan(
    suite: Suite | str | Path | Mapping[str, Any], *, store: str | Path = "runs", results: str | Path = "results"
) -> DataFrame:
    """List the runs of a suite: what is done, what is left, and what it costs.

    Nothing is trained. Columns: ``key``, ``label``, what the run is made of (``dataset``, ``quantizer``, ``num_codes``,
    ``dim``, ``arguments`` as JSON, ``seed``, ``backbone``, ``recipe``, ``parent``), ``state`` (done, to do, to measure,
    failed, or what is damaged), ``updates`` of the optimizer, and ``seconds`` of training: measured, else expected from
    runs of the same kind, else NaN.

    Args:
        suite: a suite of :func:`load_suite`, or what it takes.
        store: folder of the runs.
        results: folder of published records; plans are kept in both.

    Raises:
        UsageError: for a suite whose runs cannot be carried out, with the place in its file.

    >>> import vqbench
    >>> frame = vqbench.plan("quick")
    >>> frame.loc[:1, ["label", "dataset", "seed", "state", "updates"]]
          label           dataset  seed  state  updates
    0  identity  fashion_mnist_5k    42  to do      330
    1        vq  fashion_mnist_5k    42  to do      330
    """
    from vqbench.assets import cache_folder
    from vqbench.reporting.data_frames import plan_frame
    from vqbench.reporting.run_matrix import run_matrix
    from vqbench.store.results import ResultStore

    runs = ResultStore(text_or_path("store", store, "the folder of the runs"), cache_folder() / "records")
    published = ResultStore(text_or_path("results", results, "the folder of published records"))
    resolved = as_suite(suite).resolve([runs, published])
    matrix = run_matrix(resolved, runs)
    warn_of_damage(matrix.damage)
    return plan_frame(resolved, matrix)


def as_suite(suite: Suite | str | Path | Mapping[str, Any]) -> Suite:
    """Return ``suite``, loaded if it is not yet."""
    return suite if isinstance(suite, Suite) else load_suite(suite)


def warn_of_damage(sentences: Sequence[str]) -> None:
    """Warn of files that could not be read, at most ten of them."""
    import warnings

    from vqbench.system.output import few

    for sentence in few(sentences):
        warnings.warn(sentence, stacklevel=3)


def _source(suite: str | Path | Mapping[str, Any]) -> str | Path | Document:
    """What the planning reads: a name, a path, or a document."""
    from vqbench.planning.yamlfile import Document

    if isinstance(suite, Mapping):
        return Document(plain(suite))
    if not isinstance(suite, str | Path):
        raise UsageError(f"a suite is a name, a path or a mapping, not of type {type(suite).__name__}")
    return suite


def _override(path: str, value: Any) -> Override:
    """Return the change of ``set`` at one path.

    Raises UsageError for what is no path.
    """
    from vqbench.planning.overrides import Override

    origin = f"seeds={shortened(str(value))}" if path == "seeds" else f"set={{{path!r}: {shortened(str(value))}}}"
    if not isinstance(path, str) or not all(path.split(".")):
        raise UsageError(f"{origin}: a path is keys joined by dots, such as 'codebook.num_codes'")
    return Override(path, plain(value), origin)
