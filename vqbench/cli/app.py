"""The commands: thin, and quick to start, since whatever is heavy is imported inside them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vqbench import __version__
from vqbench.bounds import MOST
from vqbench.cli.options import CarriedOut, Chosen, Several, add_plugins, choosing
from vqbench.cli.profile import profile
from vqbench.cli.report import diff, report
from vqbench.cli.sample import sample
from vqbench.errors import UsageError, VqbenchError, sentence
from vqbench.execution.wait_policy import waiting
from vqbench.system import console
from vqbench.system.paths import path_of

EXIT_CODES = {
    0: "all done",
    1: "some runs failed, or something could not be read, written or fetched",
    2: "wrong usage or suite, and nothing was started",
    3: "the time of --for is up and work is left",
    75: "told to stop by SIGTERM or SIGUSR1, so that a scheduler may queue the same command again",
    130: "stopped by Ctrl-C",
}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Compare vector quantizers for images under one protocol.",
    epilog=f"Exit codes: {'; '.join(f'{code} {what}' for code, what in EXIT_CODES.items())}.",
)

Store = Annotated[
    Path, typer.Option("--store", metavar="FOLDER", parser=path_of, help="Where runs are written and read.")
]
Published = Annotated[
    Path, typer.Option("--results", metavar="FOLDER", parser=path_of, help="Published records, read after the store.")
]
Plugin = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", parser=path_of, help="Offer the plugin of a .py file.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch nothing; fail early and say what is missing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Format = Annotated[str, typer.Option("--format", help="text, markdown, csv or latex.")]

RUNS, RESULTS = Path("runs"), Path("results")


@app.command()
@choosing
def run(
    chosen: CarriedOut,
    store: Store = RUNS,
    device: Device = "auto",
    offline: Offline = False,
    places: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Runs side by side, each in a process of its own; GPUs are given to them in turn, a processor's "
            "threads are divided. Otherwise one for each GPU, or one. 0: in this process, for debuggers.",
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="Devices that share each run, a process for each: GPUs, or shares of the cores."),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="TIME", help="Keep the work and end after 30s, 8m, 2h, 1h30m; the same command goes on."
        ),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="End a run that takes longer than this, as failed.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="WHO",
            help="Log every epoch: tensorboard, or your callable: FILE.py:name, or package.module:name if installed.",
        ),
    ] = None,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="Make a GPU compute the same bits every time, so that a resumed run equals an uninterrupted one; "
            "slower. CPUs do so without it.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train and measure what is missing of suites, what costs least first, then print their tables."""
    from vqbench import assets
    from vqbench.cli import run as running
    from vqbench.execution import callbacks
    from vqbench.execution.stopping import Stop
    from vqbench.system.durations import parse_duration

    if timeout is not None and places == 0:
        raise UsageError("--timeout ends a run's process, and with --places 0 there is none; leave one of them out")
    limits = [None if words is None else parse_duration(words) for words in (time, timeout)]
    with Stop(limits[0]) as stop, assets.no_downloads(offline):
        logger = callbacks.checked_name(listen) if listen else None
        where = chosen.where(device, places, devices)
        files = tuple(chosen.plugin or ())
        how = running.RunOptions(
            *(device, places, limits[1], retry_failed, quiet, files, devices, where, logger, deterministic, offline)
        )
        raise typer.Exit(running.run(chosen.plans(store, refresh=True), store, how, stop))


@app.command()
@choosing
def plan(
    chosen: Chosen,
    store: Store = RUNS,
    results: Published = RESULTS,
    cost: Annotated[bool, typer.Option("--cost", help="How long it takes, from measured seconds, instead.")] = False,
    places: Annotated[
        list[int] | None,
        typer.Option(min=1, max=100_000, metavar="N", help="With --cost: so many runs side by side, simulated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """The run matrix: what is done, what is to do, and what it will cost.

    Folders of images are known by their times alone: an image rewritten in place shows at the next `vqbench run`.
    """
    from vqbench.cli import actions
    from vqbench.planning import forecast
    from vqbench.store.results import ResultStore

    if places and not cost:
        raise UsageError("--places is for --cost; without it nothing is simulated")
    if cost:
        stores = ResultStore(store), ResultStore(results)
        return _show(forecast.forecast(chosen.plan(store, results), *stores, places or [1]), as_json)
    with actions.uncollected():
        return _show(actions.plan(chosen.plan(store, results), store, results), as_json)


@app.command()
@choosing
def status(
    chosen: Chosen,
    store: Store = RUNS,
    as_json: Json = False,
) -> None:
    """How each run of a suite stands: done, running, stopped, failed (with the reason) or not begun.

    Folders of images are known by their times alone: an image rewritten in place shows at the next `vqbench run`.
    """
    from vqbench.cli import actions

    _show(actions.status(chosen.plan(store), store), as_json)


@app.command()
@choosing
def table(
    chosen: Chosen,
    store: Store = RUNS,
    results: Published = RESULTS,
    style: Format = "text",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", parser=path_of, help="Write to a file.")
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Printed values beside ours, with verdicts.")] = False,
    notes: Annotated[bool, typer.Option("--notes", help="All notes below the table, not only five lines.")] = False,
    as_json: Json = False,
) -> None:
    """Print a suite's table from what is stored; nothing is trained or measured.

    Folders of images are known by their times alone: an image rewritten in place shows at the next `vqbench run`.
    """
    from vqbench.cli import actions
    from vqbench.store.results import ResultStore, damage_of
    from vqbench.system.output import require_sound, write_text

    style = "json" if as_json else style
    stores = [ResultStore(folder) for folder in (store, results)]
    text = actions.table(chosen.plan(store, results), stores, style, paper, notes)
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)
    require_sound(damage_of(stores))


@app.command()
def explain(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Its key, the beginning of its key, or its folder's name in the store.")
    ],
    store: Store = RUNS,
    metrics: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Explain these; otherwise all but rfid, which takes minutes."),
    ] = None,
    test_images: Annotated[int | None, typer.Option(min=2, max=MOST, help="Measure on the first test images.")] = None,
    plugin: Plugin = None,
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """What lies between the values of a run under official and under clean, setting by setting."""
    from vqbench.cli import explain as explaining

    add_plugins(plugin)
    _offline(offline)
    _show(explaining.explain(store, run, metrics or (), test_images, device, quiet), as_json)


@app.command(name="list")
def list_(
    kind: Annotated[
        str, typer.Argument(help="quantizers, datasets, metrics, backbones, recipes, suites or protocols.")
    ],
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """What there is of one kind."""
    from vqbench.cli import describe

    add_plugins(plugin)
    _show(describe.listing(kind), as_json)


@app.command()
def info(
    kind: Annotated[str, typer.Argument(help="quantizer, dataset, metric, backbone, recipe, suite or protocol.")],
    name: Annotated[str, typer.Argument(help="Its name, as `vqbench list` shows it.")],
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """All about one plugin, suite or protocol: source, arguments, and the reason of every setting."""
    from vqbench.cli import describe

    add_plugins(plugin)
    _show(describe.info(kind, name), as_json)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="quantizer.")],
    name: Annotated[str, typer.Argument(help="Its name, such as my_vq.")],
) -> None:
    """Write one file here, NAME.py, that trains and passes every check, to be changed into your own method."""
    from vqbench.cli import scaffold

    print(scaffold.write(kind, name))


@app.command()
def check(
    quantizers: Annotated[
        list[str] | None, typer.Argument(metavar="FILE|NAME", help="The path of a .py file, or a known quantizer.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Check every known quantizer and preset.")] = False,
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Carry out this check alone.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="ARGUMENT=VALUE", help="Change an argument of the quantizer.")
    ] = None,
    num_codes: Annotated[int, typer.Option(min=2, max=2**20, help="Codes of the quantizer under test.")] = 64,
    dim: Annotated[int, typer.Option(min=1, max=2**14, help="Its channels.")] = 8,
    slow: Annotated[bool, typer.Option("--slow", help="Compile it, too.")] = False,
    as_json: Json = False,
) -> None:
    """Whether a quantizer keeps the contract: PASS, WARN, SKIP or FAIL a check, with what to do."""
    from vqbench import testing

    names = testing.known() if everything else quantizers or []
    raise typer.Exit(testing.tell(names, sets or (), only or (), num_codes, dim, slow, as_json))


for command in (profile, sample, report, diff):
    app.command()(command)


@app.command()
@choosing
def prepare(
    chosen: Several,
    store: Store = RUNS,
    offline: Offline = False,
) -> None:
    """Fetch and verify the data and weights that suites need."""
    from vqbench.cli import actions

    _offline(offline)
    for plan in chosen.plans(store, refresh=True):
        actions.prepare(plan)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show versions, devices and assets, and check that this installation computes the kept values (else exit 1)."""
    from vqbench.cli import describe

    _show(shown := describe.doctor(), as_json)
    if failed := [group["name"] for group in shown.data["golden check"] if group["state"] == "FAIL"]:
        raise VqbenchError(
            f"golden check: {', '.join(failed)} fail, so values of this installation are not comparable with others; "
            "install the versions that pyproject.toml names"
        )


@app.command()
@choosing
def publish(
    chosen: Several,
    store: Store = RUNS,
    results: Published = RESULTS,
) -> None:
    """Copy suites' records, without checkpoints, from the store to the published results."""
    from vqbench.cli import actions

    for plan in chosen.plans(store):
        actions.publish(plan, store, results)


@app.command()
@choosing
def clean(
    chosen: Chosen,
    store: Store = RUNS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it; otherwise only say what would go.")] = False,
) -> None:
    """Delete the checkpoints of a suite's finished runs; records stay, but nothing more can be measured."""
    from vqbench.cli import actions

    actions.clean(chosen.plan(store), store, yes)


def _offline(offline: bool) -> None:
    if offline:
        os.environ["VQBENCH_OFFLINE"] = "1"


def _show(shown: Any, as_json: bool) -> None:
    """Print what a command found: its data as JSON, or its text; and which files it could not read."""
    from vqbench.system import jsontext
    from vqbench.system.output import name_damage

    name_damage(getattr(shown, "damage", ()))
    print(jsontext.dumps(shown.data) if as_json else shown.text)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"vqbench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,  # told here, read by run_words
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every error becomes one sentence and an exit code (see EXIT_CODES)."""
    os.environ.update(waiting(os.environ))  # before anything loads torch, here or in a process started from here
    console.install()  # to the end of the process, which may print a traceback or a warning
    sys.exit(run_words(sys.argv[1:]))


def run_words(words: list[str]) -> int:
    """Carry out one command line and give its exit code. ``--debug`` may stand anywhere, and shows tracebacks."""
    debug = "--debug" in words
    with console.guarded():
        return _carry_out([word for word in words if word != "--debug"], debug)


def _carry_out(words: list[str], debug: bool) -> int:
    try:
        try:
            return app(args=words, prog_name="vqbench", standalone_mode=False) or 0
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a full disk is still an error with a sentence
    except VqbenchError as error:
        return _told(str(error), error.exit_code, debug)
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _told("stopped; what was finished is kept", 130, debug)
    except Exception as error:
        if hasattr(error, "format_message"):  # wrong usage, as told by whichever click this typer brings along
            return _told(error.format_message(), 2, debug)
        return _told(f"{type(error).__name__}: {error} (a fault of vqbench; --debug shows where)", 1, debug)


def _told(message: str, code: int, debug: bool) -> int:
    if debug:
        raise  # the exception being handled
    print(f"vqbench: {sentence(console.one_line(message))}", file=sys.stderr)
    return code
