"""Arguments of the commands that take a finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli.options import add_plugins
from vqbench.errors import Interrupted, UsageError, counted

if TYPE_CHECKING:
    from vqbench.api.trained_run import TrainedRun
    from vqbench.spec import RunSpec

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Key of a run, the beginning of a key, a run's folder, or a suite: then give ROW."
    ),
]
Row = Annotated[
    str | None, typer.Argument(metavar="ROW", show_default=False, help="Label or quantizer of a row, after a suite.")
]


def load(words: Sequence[str], store: Path, device: str, plugins: Sequence[Path] | None) -> TrainedRun:
    """Load the run that one or two words name."""
    from vqbench.api.trained_run import load_run

    add_plugins(plugins)
    return load_run(*words, store=store, device=device)


def run_and_rest(words: Sequence[str], rest: str) -> tuple[list[str], Path]:
    """Split ``RUN [ROW] REST`` into the words for the run, and the path.

    Raises UsageError for fewer or more words.
    """
    from vqbench.system.paths import path_of

    if len(words) not in (2, 3):
        raise UsageError(
            f"{counted(len(words), 'word')}: give RUN {rest}, or SUITE ROW {rest}; quote a label that has spaces"
        )
    return list(words[:-1]), path_of(words[-1])


@contextmanager
def progress_of(run: RunSpec, activity: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; yields the function that receives images done and in all.

    It raises Interrupted after a signal.
    """
    from vqbench.execution.progress import run_progress
    from vqbench.execution.stopping import Stop
    from vqbench.spec import Job

    with Stop() as stop, run_progress([Job(run, {})], quiet) as listener:

        def on_progress(done: int, total: int) -> None:
            listener.run_advanced(run, done, total)
            if stop():
                raise Interrupted(f"stopped while {activity}; run the same command again")

        listener.run_started(run, activity)
        yield on_progress
