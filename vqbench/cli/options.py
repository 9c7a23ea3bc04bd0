"""Options that several commands share, and the selection that they describe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.bounds import MOST
from vqbench.cli.output import note
from vqbench.errors import UsageError, shortened
from vqbench.system.paths import path_of, require_writable

if TYPE_CHECKING:
    from vqbench.planning.plan import Plan
    from vqbench.planning.suite_files import SuiteChanges

RUNS, RESULTS = Path("runs"), Path("results")
DEFAULT_SUITE = "quick"


def whole_number(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``least`` to :data:`MOST`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise typer.BadParameter(f"{shortened(text)!r} is not a whole number") from None
        if not least <= number <= MOST:
            raise typer.BadParameter(f"{shortened(text)} is not between {least} and {MOST:,}")
        return number

    return parse


def given_path(text: str) -> Path:
    """Parse a path of the command line; an empty one is an unset shell variable."""
    if not text:
        raise typer.BadParameter("it is empty, as a shell variable is that is not set; write . for the current folder")
    return path_of(text)


def output_path(text: str) -> Path:
    """Parse a path that is written at the end of a command.

    So that no work is lost, it is refused at the beginning if nothing can be written there.
    """
    path = given_path(text)
    require_writable(path)
    return path


def output_file(text: str) -> Path:
    """Parse the path of a file that is written, see :func:`output_path`."""
    path = output_path(text)
    if path.is_dir():
        raise UsageError(f"{path}: a folder; name a file in it, to be written")
    return path


def output_folder(text: str) -> Path:
    """Parse the path of a folder that is written to, see :func:`output_path`."""
    path = output_path(text)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: a file; name a folder, to be written to")
    return path


# Which suites ---------------------------------------------------------------------------------------------------------

Suite = Annotated[
    str | None,
    typer.Argument(metavar="SUITE", show_default="quick", help="Name of a suite, or path of its YAML file."),
]
Suites = Annotated[
    list[str] | None,
    typer.Argument(metavar="SUITE", show_default="quick", help="Names of suites, or paths of YAML files."),
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="ROW", help="Only rows of this label or quantizer; * for any letters.")
]
Skip = Annotated[list[str] | None, typer.Option(metavar="ROW", help="All but rows of this label or quantizer.")]
Seeds = Annotated[str | None, typer.Option(metavar="N,N,...", help="Replace the seeds, such as 1,2,3.")]
Metrics = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Add a metric, or measure a group alone: fast, paper, all.")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a key, such as codebook.num_codes=64.")
]
RowPlugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", metavar="FILE", parser=given_path, help="Load plugins of a .py file; quantizers get a row."
    ),
]
Epochs = Annotated[
    int | None, typer.Option(metavar="N", parser=whole_number(1), help="Number of epochs, of both stages.")
]
BatchSize = Annotated[int | None, typer.Option(metavar="N", parser=whole_number(1), help="Images per update.")]
Subset = Annotated[int | None, typer.Option(metavar="N", parser=whole_number(1), help="Number of training images.")]
TestImages = Annotated[int | None, typer.Option(metavar="N", parser=whole_number(2), help="Number of test images.")]

# Everything else ------------------------------------------------------------------------------------------------------

Store = Annotated[
    Path, typer.Option("--store", metavar="FOLDER", parser=given_path, help="Folder of runs, read and written.")
]
StoreToRead = Annotated[
    Path, typer.Option("--store", metavar="FOLDER", parser=given_path, help="Folder that runs are read from.")
]
Results = Annotated[
    Path, typer.Option("--results", metavar="FOLDER", parser=given_path, help="Published records, read after --store.")
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", parser=given_path, help="Load plugins of a .py file.")
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:N.")]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch nothing; fail early and name what is missing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@dataclass(frozen=True)
class Selection:
    """The changes of the command line that apply to every suite a command is about."""

    only: Sequence[str] | None = None
    skip: Sequence[str] | None = None
    seeds: str | None = None
    metrics: Sequence[str] | None = None
    sets: Sequence[str] | None = None
    plugins: Sequence[Path] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    subset: int | None = None
    test_images: int | None = None

    def plan(self, suite: str, *folders: Path, refresh: bool = False) -> Plan:
        """Resolve ``suite`` with these changes.

        What ``folders`` have cached of it is used if it is current; see :func:`vqbench.planning.loading.load`.
        """
        from vqbench.planning import loading
        from vqbench.store.results import ResultStore

        spec, variant = self._changes().apply(suite)
        plan = loading.load_spec(spec, variant, [ResultStore(folder) for folder in folders], refresh)
        for sentence in self._beyond(plan):
            note(sentence)
        return plan

    def _beyond(self, plan: Plan) -> Iterator[str]:
        """Yield a sentence for each data set with fewer images than this selection takes."""
        for info in plan.datasets.values():
            if self.subset is not None and self.subset > info.train:
                yield f"--subset {self.subset}: {info.title} has {info.train:,} training images, all of which are used"
            if self.test_images is not None and self.test_images > info.test:
                yield f"--test-images {self.test_images}: {info.title} has {info.test:,}, all of which are used"

    def _changes(self) -> SuiteChanges:
        """Parse ``--set`` and ``--seeds``. Raises UsageError for invalid YAML."""
        from vqbench.planning.overrides import Override
        from vqbench.planning.suite_files import SuiteChanges
        from vqbench.planning.yamlfile import parse

        overrides = [Override.parse(text) for text in self.sets or ()]
        if self.seeds is not None:
            origin = f"--seeds {self.seeds}"
            overrides.append(Override("seeds", parse(f"[{self.seeds}]", origin).data, origin))
        sizes = {"epochs": self.epochs, "batch_size": self.batch_size, "subset": self.subset}
        return SuiteChanges(
            only=self.only or (),
            skip=self.skip or (),
            overrides=overrides,
            metrics=self.metrics or (),
            plugins=self.plugins or (),
            sizes={name: size for name, size in sizes.items() if size is not None},
            test_images=self.test_images,
        )

    def options(self) -> list[str]:
        """The words of a command line that make this selection."""
        several = {"--set": self.sets, "--metrics": self.metrics, "--only": self.only, "--skip": self.skip}
        words = [
            word
            for option, values in (several | {"--plugin": self.plugins}).items()
            for value in values or ()
            for word in (option, str(value))
        ]
        single = {
            "--seeds": self.seeds,
            "--epochs": self.epochs,
            "--batch-size": self.batch_size,
            "--subset": self.subset,
            "--test-images": self.test_images,
        }
        return [
            *words,
            *(word for option, value in single.items() if value is not None for word in (option, str(value))),
        ]


def suite_or_default(suite: str | None, doing: str) -> str:
    """Return ``suite``, or the default one after printing that it is used."""
    if suite is None:
        note(f"No suite given: {doing} {DEFAULT_SUITE}")
        return DEFAULT_SUITE
    return suite


def suites_or_default(suites: Sequence[str] | None, doing: str) -> list[str]:
    """Return each of ``suites`` once, or the default one and say so."""
    return list(dict.fromkeys(suites or [suite_or_default(None, doing)]))


def require_folder(store: Path, default_too: bool = False) -> None:
    """Raise UsageError for a --store that does not exist.

    The default one may not exist yet, unless ``default_too``.
    """
    if (default_too or store != RUNS) and not store.exists():
        raise UsageError(f"--store {store}: this folder does not exist; name one that `vqbench run` has written to")


def add_plugins(plugins: Sequence[Path] | None) -> None:
    """Load the plugins of files.

    Raises UsageError where two files have the same name.
    """
    from vqbench import registry

    registry.add_files(plugins or ())
