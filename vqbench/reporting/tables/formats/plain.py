"""Convert tables to plain data, for JSON."""

from __future__ import annotations

import math
from typing import Any

from vqbench.reporting.tables.table import MARKS, CellPosition, Table


def plain(table: Table) -> dict[str, Any]:
    """Convert ``table`` to plain data at full precision; infinite values are words."""
    return {
        "title": table.title,
        "protocol": table.protocol,
        "images": table.basis,
        "marks": dict(MARKS),
        "footnotes": list(table.footnotes),
        "cells": [_cell(place) for place in table.places()],
    }


def _cell(place: CellPosition) -> dict[str, Any]:
    cell = place.cell
    return {
        "dataset": place.dataset,
        "setting": place.setting,
        "row": place.row.label,
        "metric": place.column.key,
        "values": [value if math.isfinite(value) else str(value) for value in cell.values],
        "seeds": list(cell.seeds),
        "status": cell.status,
        "reason": cell.reason,
        "paper": cell.paper,
        "verdict": cell.verdict and cell.verdict.outcome,
        "rank": place.rank,
        "marks": list(cell.marks),
        "unranked": cell.unranked,
        "significant": cell.significant,
        "images": cell.images,
        "results": list(cell.sources),
        "notes": [*place.row.footnotes, *cell.footnotes],
    }
