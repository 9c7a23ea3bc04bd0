"""``vqbench completion``: a shell's script, and what it proposes.

Nothing here imports torch: every press of the tab key starts a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.models import ParameterInfo

from vqbench.errors import UsageError, VqbenchError, nearest
from vqbench.registry.metric_groups import GROUPS

SHELLS = ("bash", "zsh", "fish")
KINDS = ("quantizers", "datasets", "metrics", "backbones", "recipes", "suites", "protocols", "runs")
VARIABLE = "_VQBENCH_COMPLETE"  # of the environment: a shell wants proposals, and calls no command

Shell = Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]


def completion(shell: Shell) -> None:
    """Print the script that completes vqbench in your shell.

    bash: add `eval "$(vqbench completion bash)"` to ~/.bashrc. zsh: add `eval "$(vqbench completion zsh)"` to
    ~/.zshrc, below compinit. fish: `vqbench completion fish > ~/.config/fish/completions/vqbench.fish`.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # what its --show-completion calls

    if shell not in SHELLS:
        raise UsageError(f"unknown shell {shell!r}; {nearest(shell, SHELLS)}")
    script = get_completion_script(prog_name="vqbench", complete_var=VARIABLE, shell=shell)
    print(script.removeprefix("#compdef vqbench").strip())  # a line for scripts in a folder of zsh's own


def attach(commands: Mapping[str, Callable[..., None]]) -> None:
    """Tell typer what to propose for the parameters of ``commands``, by their names."""
    from typer.completion import completion_init  # type: ignore[attr-defined]  # what its own option calls

    completion_init()
    for name, command in commands.items():
        for parameter, hint in get_type_hints(command, include_extras=True).items():
            propose = PROPOSALS.get(f"{name} {parameter}") or PROPOSALS.get(parameter)
            for info in getattr(hint, "__metadata__", ()):
                if propose and isinstance(info, ParameterInfo):
                    info.autocompletion = propose


def _proposed(names: Callable[[Any], Iterable[str]]) -> Callable[[Any, str], list[str]]:
    """Return a function that proposes those ``names`` that begin as written.

    A broken file proposes nothing: the command says what is wrong with it.
    """

    def propose(ctx: typer.Context, incomplete: str) -> list[str]:
        with suppress(VqbenchError, OSError, ValueError):
            return sorted({name for name in names(ctx) if name.startswith(incomplete)})
        return []

    return propose


def _plugins(kind: str) -> list[str]:
    """Return the names of plugins, without presets, for which classes are loaded."""
    from vqbench import registry

    return registry.names(kind)  # type: ignore[arg-type]  # one of KINDS


def _suites(ctx: Any) -> list[str]:
    from vqbench.planning.suite_files import known_suites

    here = [str(path) for path in Path().glob("*.yaml")]
    return [*known_suites(), *here]


def _rows(ctx: Any) -> list[str]:
    """Return the labels and quantizers of the suites on the command line.

    A line that ends with an option without its value is not parsed, so its words are looked through.
    """
    from vqbench.planning.suite_files import known_suites, load_suite

    words = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    suites = [word for word in words if word in known_suites() or Path(word).suffix == ".yaml"]
    rows = [row for name in suites or ["quick"] for row in load_suite(name).quantizers]
    return [name for row in rows for name in (row.label, row.quantizer) if name]


def _runs(ctx: Any) -> list[str]:
    """Return folders and keys of the finished runs in the store of the command line."""
    store = Path(ctx.params.get("store") or "runs")
    folders = [path.parent.name for path in store.glob("*/record.json")]
    return [*folders, *(folder.rpartition("-")[2] for folder in folders)]


def _named(ctx: Any) -> list[str]:
    """Return the names of the kind that stands before on the command line."""
    from vqbench import protocol

    kind = str(ctx.params.get("kind") or "")
    plural = kind if kind.endswith("s") else f"{kind}s"
    if plural == "suites":
        return _suites(ctx)
    if plural == "protocols":
        return [*protocol.TRAIN, *protocol.MEASURE]
    return _plugins(plural)


PROPOSALS: Mapping[str, Callable[[Any, str], list[str]]] = {
    "suite": _proposed(_suites),
    "suites": _proposed(_suites),
    "only": _proposed(_rows),
    "skip": _proposed(_rows),
    "row": _proposed(_rows),
    "run": _proposed(lambda ctx: [*_runs(ctx), *_suites(ctx)]),
    "words": _proposed(lambda ctx: [*_runs(ctx), *_suites(ctx)]),
    "metrics": _proposed(lambda ctx: [*_plugins("metrics"), *GROUPS]),
    "names": _proposed(lambda ctx: _plugins("quantizers")),
    "plugins": _proposed(lambda ctx: _plugins("quantizers")),
    "list kind": _proposed(lambda ctx: KINDS),
    "info kind": _proposed(lambda ctx: [kind[:-1] for kind in KINDS if kind != "runs"]),
    "info name": _proposed(_named),
    "shell": _proposed(lambda ctx: SHELLS),
    "executor": _proposed(lambda ctx: ("local", "ray", "slurm")),
    "table style": _proposed(lambda ctx: ("text", "markdown", "csv", "latex")),
    "report style": _proposed(lambda ctx: ("html", "json")),
}
