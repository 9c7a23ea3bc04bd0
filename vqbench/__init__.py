"""vqbench: vector quantizers for images, compared under one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqbench.api import QuantizerInfo, create_quantizer, list_quantizers

__version__ = "0.1.0"
__all__ = ["QuantizerInfo", "__version__", "create_quantizer", "list_quantizers"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import vqbench`` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'vqbench' has no attribute {name!r}")
    from vqbench import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
