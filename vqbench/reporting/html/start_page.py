"""Write one page per resolved suite, and a start page with links to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vqbench.errors import StoreError, counted
from vqbench.planning import plan_file
from vqbench.planning.plan import Plan
from vqbench.reporting.html.atlas import atlas
from vqbench.reporting.html.page import page
from vqbench.reporting.html.png import PngImage
from vqbench.reporting.html.suite_view import SuiteView, suite_view
from vqbench.reporting.html.templating import fill
from vqbench.store.results import ResultStore, damage_of
from vqbench.system.output import write_text


@dataclass(frozen=True)
class SuiteCard:
    """One suite on the start page."""

    view: SuiteView
    file: str

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs in each state."""
        states = [run.state for run in self.view.runs]
        return {state: states.count(state) for state in ("done", "partly", "failed", "missing") if state in states}

    @property
    def latest(self) -> str:
        """The date of the last training; empty without one."""
        return max((view.record.made["date"][:10] for view in self.view.runs if view.record), default="")

    @cached_property
    def leading(self) -> tuple[str, PngImage | None]:
        """The finding for the leading metric, and images of the leading row."""
        views = atlas(self.view)
        if not views or not views[0]["findings"]:
            return "", None
        i, rows = views[0]["metric"], [row for panel in views[0]["panels"] for row in panel["rows"]]
        sign = -1 if views[0]["columns"][i]["better"] == "max" else 1
        ranked = [row for row in rows if row["cells"][i]["mean"] is not None and not row["bound"]]
        ranked.sort(key=lambda row: sign * row["cells"][i]["mean"])
        return views[0]["findings"][i], next((row["images"] for row in ranked if row["images"]), None)

    @property
    def devices(self) -> str:
        return ", ".join(dict.fromkeys(view.record.made["device"] for view in self.view.runs if view.record))


def write(stores: Sequence[ResultStore], folder: Path) -> str:
    """Write ``index.html`` and a page per suite into ``folder``, and report it.

    Raises StoreError where no store has a resolved suite, and where something cannot be read or written.
    """
    plans: dict[str, Plan] = {}
    for store in stores:
        for plan in plan_file.stored(store):
            plans.setdefault(plan.name, plan)
    if not plans:
        for damaged in damage_of(stores):
            raise StoreError(damaged)
        names = " and ".join(f"{store.root}/" for store in stores)
        raise StoreError(f"{names} hold no suite that was run or published; start one with `vqbench run`")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be created ({error.strerror}); name another folder with -o") from error
    cards = []
    for name, plan in plans.items():
        view = suite_view(plan, stores, paper=True)
        cards.append(SuiteCard(view, f"{name}.html"))
        write_text(folder / cards[-1].file, page(view))
    write_text(folder / "index.html", fill("index.html.j2", cards=cards))
    return f"{folder / 'index.html'}: {counted(len(cards), 'suite')}"
