"""A folder of pages: one for every suite that the stores know as resolved, and a start page that leads to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqbench.errors import StoreError, counted
from vqbench.planning import plan_file
from vqbench.planning.plan import Plan
from vqbench.reporting.html import page
from vqbench.reporting.html.gather import Gathered, gather
from vqbench.store.results import ResultStore, damage_of
from vqbench.system.output import require_sound, write_text


@dataclass(frozen=True)
class Card:
    """One suite on the start page."""

    gathered: Gathered
    file: str

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        states = [view.state for view in self.gathered.runs]
        return {state: states.count(state) for state in ("done", "partly", "failed", "missing") if state in states}

    @property
    def latest(self) -> str:
        """The day of the last training; empty without one."""
        return max((view.record.made["date"][:10] for view in self.gathered.runs if view.record), default="")

    @property
    def devices(self) -> str:
        return ", ".join(dict.fromkeys(view.record.made["device"] for view in self.gathered.runs if view.record))


def write(stores: Sequence[ResultStore], folder: Path) -> str:
    """Write ``index.html`` and a page a suite into ``folder``; what was written, in one line.

    Raises StoreError where no store has a resolved suite, and where something cannot be read or written.
    """
    plans: dict[str, Plan] = {}
    for store in stores:
        for plan in plan_file.stored(store):
            plans.setdefault(plan.name, plan)
    if not plans:
        require_sound(damage_of(stores))
        names = " and ".join(f"{store.root}/" for store in stores)
        raise StoreError(f"{names} hold no suite that was run or published; `vqbench run` first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made ({error.strerror}); name another folder with -o") from error
    cards = []
    for name, plan in plans.items():
        gathered = gather(plan, stores, paper=True)
        cards.append(Card(gathered, f"{name}.html"))
        write_text(folder / cards[-1].file, page.page(gathered))
    write_text(folder / "index.html", page.write("index.html.j2", cards=cards))
    return f"{folder / 'index.html'}: {counted(len(cards), 'suite')}"
