"""The options that commands share: which suites they are about, and what these are changed to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from vqbench.bounds import MOST
from vqbench.errors import UsageError
from vqbench.system.paths import path_of

if TYPE_CHECKING:
    from vqbench.execution.executors.executor_options import ExecutorOptions
    from vqbench.planning.overrides import Override
    from vqbench.planning.plan import Plan


@dataclass(frozen=True)
class Changes:
    """The options by which every command changes the suites that it is about."""

    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a key of the suite.")
    ] = None
    seeds: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Other seeds: the same as --set 'seeds=[N, N, ...]'.")
    ] = None
    metrics: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Add a metric to the suite.")] = None
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="Rows of this label or quantizer alone.")] = None
    skip: Annotated[list[str] | None, typer.Option(metavar="ROW", help="All but rows of this label or quantizer.")] = (
        None
    )
    plugin: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", parser=path_of, help="Offer the plugin of a .py file; a quantizer gets a row."),
    ] = None
    epochs: Annotated[int | None, typer.Option(min=1, max=MOST, help="Reduced copy: epochs.")] = None
    batch_size: Annotated[int | None, typer.Option(min=1, max=MOST, help="Reduced copy: images an update.")] = None
    subset: Annotated[int | None, typer.Option(min=1, max=MOST, help="Reduced copy: first training images.")] = None
    test_images: Annotated[int | None, typer.Option(min=2, max=MOST, help="Reduced copy: first test images.")] = None

    def resolve(self, suite: str, *folders: Path, refresh: bool = False) -> Plan:
        """The suite resolved, from what ``folders`` keep of it if that is current; see :func:`loading.load`."""
        from vqbench.planning import loading
        from vqbench.planning.changes import select_rows
        from vqbench.planning.suite_files import load_suite
        from vqbench.store.results import ResultStore

        add_plugins(self.plugin)
        overrides = self._overrides()
        if self.only or self.skip or self.plugin:
            overrides += select_rows(load_suite(suite, overrides), self.only or (), self.skip or ())
        sizes = {"epochs": self.epochs, "batch_size": self.batch_size, "subset": self.subset}
        reduced = {name: size for name, size in sizes.items() if size is not None}
        stores = [ResultStore(folder) for folder in folders]
        return loading.load(suite, stores, overrides, self.metrics or (), reduced, self.test_images, refresh)

    def _overrides(self) -> list[Override]:
        """``--set`` and ``--seeds`` as data. Raises UsageError for what is no YAML."""
        from vqbench.planning.overrides import Override
        from vqbench.planning.yamlfile import parse

        overrides = [Override.parse(text) for text in self.sets or ()]
        if self.seeds is not None:
            origin = f"--seeds {self.seeds}"
            overrides.append(Override("seeds", parse(f"[{self.seeds}]", origin).data, origin))
        return overrides


@dataclass(frozen=True)
class Chosen(Changes):
    """One suite, and what it is changed to."""

    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite's name, or the path of its YAML file.")] = (
        "quick"
    )

    def plan(self, *folders: Path) -> Plan:
        return self.resolve(self.suite, *folders)


@dataclass(frozen=True)
class Several(Changes):
    """Suites, all changed alike."""

    suites: Annotated[
        list[str] | None, typer.Argument(metavar="SUITE...", help="Suites' names, or paths of YAML files.")
    ] = None

    def plans(self, *folders: Path, refresh: bool = False) -> list[Plan]:
        return [self.resolve(suite, *folders, refresh=refresh) for suite in dict.fromkeys(self.suites or ["quick"])]


@dataclass(frozen=True)
class CarriedOut(Several):
    """Suites, and where they are carried out."""

    executor: Annotated[
        str, typer.Option(metavar="NAME", help="local: processes of this machine; ray, slurm: runs on a cluster.")
    ] = "local"
    address: Annotated[
        str | None, typer.Option(help="Ray: the cluster (auto: the one on this machine); otherwise one is started.")
    ] = None
    cpus_per_run: Annotated[int | None, typer.Option(min=1, help="Ray: cores, and threads, of each run (1).")] = None
    gpus_per_run: Annotated[
        float | None, typer.Option(min=0, help="Ray: GPUs of each run, or a fraction (1 where there are any).")
    ] = None
    slurm: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Slurm: partition=gpu, time=2h, gpus=1, ...")
    ] = None

    def where(self, device: str, places: int | None, devices: int | None) -> ExecutorOptions:
        """Raises UsageError for options that do not go together."""
        from vqbench.execution.executors.executor_options import ExecutorOptions

        where = ExecutorOptions(
            self.executor, self.address, self.cpus_per_run, self.gpus_per_run, tuple(self.slurm or ())
        )
        where.check(device, places, devices)
        return where


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command(chosen, ...)`` the options of its first argument's class in place of that argument."""
    hints = get_type_hints(command, include_extras=True)
    first, *own = inspect.signature(command).parameters.values()
    kind = hints[first.name]
    shared = inspect.signature(kind).parameters

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        command(kind(**{name: options.pop(name) for name in shared}), **options)

    hints = {**get_type_hints(kind, include_extras=True), **hints}
    options = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[option.name])
        for option in [*shared.values(), *own]
    ]
    wrapped.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # which inspect reads, and typer by it
    wrapped.__annotations__ = {option.name: option.annotation for option in options}
    return wrapped


def add_plugins(plugins: list[Path] | None) -> None:
    """Offer the plugins of files that the user named."""
    from vqbench import registry

    named: dict[str, Path] = {}
    for path in plugins or []:
        registry.add_file(path)
        if (same := named.setdefault(path.stem, path)).resolve() != path.resolve():
            raise UsageError(f"--plugin {path}: {same} has the same name; rename one of them")
