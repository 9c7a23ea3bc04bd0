"""The JSON that commands print and write for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from vqbench.system.console import visible


def dumps(data: Any) -> str:
    """Write ``data`` as indented JSON in ASCII, without a line break at the end.

    JSON has no infinity: as in ``record.json``, a number that is not finite is one of the words "inf", "-inf" and
    "nan". A missing value is null. Control characters and bytes that are not UTF-8 are replaced by their codes.

    >>> print(dumps({"psnr": float("inf"), "rfid": None, "l1": 0.5}))
    {
     "psnr": "inf",
     "rfid": null,
     "l1": 0.5
    }
    """
    return json.dumps(_plain(data), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {visible(key) if isinstance(key, str) else key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        return visible(value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
