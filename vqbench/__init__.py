"""vqbench: vector quantizers for images, compared under one protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqbench.api.evaluate import evaluate as evaluate
    from vqbench.api.evaluation import Evaluation as Evaluation
    from vqbench.api.quantizers import QuantizerInfo as QuantizerInfo
    from vqbench.api.quantizers import create_quantizer as create_quantizer
    from vqbench.api.quantizers import list_quantizers as list_quantizers
    from vqbench.api.results import results as results
    from vqbench.api.results import table as table
    from vqbench.api.running import RunProgress as RunProgress
    from vqbench.api.running import SuiteResult as SuiteResult
    from vqbench.api.running import run as run
    from vqbench.api.suites import Suite as Suite
    from vqbench.api.suites import load_suite as load_suite
    from vqbench.api.suites import plan as plan
    from vqbench.api.trained_run import TrainedRun as TrainedRun
    from vqbench.api.trained_run import load_run as load_run

__version__ = "0.1.0"

_MODULES = {  # public name -> its module in vqbench.api, imported on first use: ``import vqbench`` costs nothing
    "Evaluation": "evaluation",
    "QuantizerInfo": "quantizers",
    "RunProgress": "running",
    "Suite": "suites",
    "SuiteResult": "running",
    "TrainedRun": "trained_run",
    "create_quantizer": "quantizers",
    "evaluate": "evaluate",
    "list_quantizers": "quantizers",
    "load_run": "trained_run",
    "load_suite": "suites",
    "plan": "suites",
    "results": "results",
    "run": "running",
    "table": "results",
}
__all__ = ["__version__", *_MODULES]  # type checkers read the imports above

if not TYPE_CHECKING:  # so that type checkers know a wrong name

    def __getattr__(name: str) -> Any:
        """Import a public name on first use."""
        if name not in _MODULES:
            raise AttributeError(f"module 'vqbench' has no attribute {name!r}")
        return getattr(import_module(f"vqbench.api.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
