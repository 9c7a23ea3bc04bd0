"""The changes between two states of the results, as text and as JSON data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vqbench.errors import counted
from vqbench.reporting.changes.comparison import Change, Difference
from vqbench.reporting.changes.machines import MACHINES, spread_table, spreads
from vqbench.system.output import grid


def text(difference: Difference) -> str:
    """Write the changes as a plain table, then their number and what is new or gone."""
    changes, gone, added = difference.changes, difference.gone, difference.added
    different = [change for change in changes if change.verdict != "equal"]
    rows = []
    for each in different:
        test = each.test
        interval = f"{test.low:+.3g} … {test.high:+.3g}" if test else "–"
        p_value = "–" if each.adjusted is None else f"{each.adjusted:.3g}"
        basis = counted(len(each.seeds), "seed") if each.seeds else "external"
        basis += f", {each.images:,} images" if each.images else ""
        numbers = [f"{each.before:.6g}", f"{each.after:.6g}", f"{each.after - each.before:+.3g}", interval, p_value]
        rows.append([each.what, each.protocol, each.metric, *numbers, basis, each.verdict])
    head = ["run", "protocol", "metric", "before", "after", "difference", "95 %", "p, Holm", "basis", "verdict"]
    beyond = sum(change.verdict == "changed" for change in changes)
    lines = [grid(head, rows)] if rows else []
    spread = spreads(changes)
    lines += ["", MACHINES, spread_table(spread), ""] if spread else []
    lines.append(
        f"{difference.before} to {difference.after}: {len(changes)} values in both, {len(changes) - len(different)} "
        f"equal, {beyond} changed beyond noise; {len(added)} kinds of run new, {len(gone)} gone"
    )
    if not changes:
        lines += [f"{state} has {'; '.join(suites) or 'no suite'}" for state, suites in difference.suites.items()]
    lines += [f"new: {name}" for name in added] + [f"gone: {name}" for name in gone]
    return "\n".join(lines)


def data(difference: Difference) -> dict[str, Any]:
    """Convert the changes to JSON data, at full precision."""

    def plain(change: Change) -> dict[str, Any]:
        facts = {key: getattr(change, key) for key in ("what", "protocol", "metric", "seeds", "images")}
        numbers = {"before": change.before, "after": change.after}
        if change.test:
            numbers |= {"low": change.test.low, "high": change.test.high, "p_value": change.test.p_value}
        return {**facts, **numbers, "p_value_holm": change.adjusted, "verdict": change.verdict}

    changes = [plain(change) for change in difference.changes]
    names = {"new": difference.added, "gone": difference.gone, "suites": difference.suites}
    spread = [asdict(each) for each in spreads(difference.changes)]
    return {"a": difference.before, "b": difference.after, "changes": changes, "machines": spread, **names}
