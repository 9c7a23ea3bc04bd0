"""vqbench: vector quantizers for images, compared under one protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqbench.api.quantizers import QuantizerInfo, create_quantizer, list_quantizers

__version__ = "0.1.0"
__all__ = ["QuantizerInfo", "__version__", "create_quantizer", "list_quantizers"]

_MODULES = {  # public name -> its module in vqbench.api, imported on first use: ``import vqbench`` costs nothing
    "QuantizerInfo": "quantizers",
    "create_quantizer": "quantizers",
    "list_quantizers": "quantizers",
}

if not TYPE_CHECKING:  # type checkers and editors read the imports above, and know a wrong name

    def __getattr__(name: str) -> Any:
        """Import a public name on first use."""
        if name not in _MODULES:
            raise AttributeError(f"module 'vqbench' has no attribute {name!r}")
        return getattr(import_module(f"vqbench.api.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
