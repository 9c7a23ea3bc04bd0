"""Write ``suites/schema.json``, the JSON schema of suites, from the code."""

from __future__ import annotations

import json
from pathlib import Path

from vqbench.reporting.suite_schema import FILE, suite_schema

if __name__ == "__main__":
    path = Path(__file__).resolve().parents[1] / "suites" / FILE
    path.write_text(json.dumps(suite_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
