"""Functions and modules of the user's, in Python or named as FILE.py:name."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from vqbench.assets.content import digest_of_file
from vqbench.errors import UsageError, nearest
from vqbench.measuring.models.image_model import ImageModel, weights_digest
from vqbench.registry.discovery import import_file
from vqbench.registry.loading import cause


def named_callable(name: str, device: torch.device) -> ImageModel:
    """Load ``FILE.py:name``, or ``package.module:name`` of an installed package.

    The folder of FILE.py is searched for what it imports, as Python does for a script. Raises UsageError where it does
    not exist, cannot be imported or cannot be called.
    """
    source, _, attribute = name.rpartition(":")
    try:
        module = _import_script(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except FileNotFoundError as error:
        raise UsageError(f"--model {name}: {error.filename or source}: no such file") from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--model {name}: {error}; a module must be installed, the working directory is not searched: give a file "
            f"as FILE.py:{attribute}"
        ) from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(f"--model {name}: cannot be imported: {cause(error)}") from error
    if not hasattr(module, attribute):
        named = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise UsageError(f"--model {name}: nothing of this name in it; {nearest(attribute, named)}")
    file = getattr(module, "__file__", None)
    return callable_model(getattr(module, attribute), device, name, [digest_of_file(Path(file))] if file else [])


def callable_model(loaded: Any, device: torch.device, name: str = "", source: list[str] | None = None) -> ImageModel:
    """Return a function or a module of the user's as a model.

    A module is moved to ``device`` and set to evaluation mode; a function receives images on ``device``, and does both
    itself. An attribute ``num_codes`` is the size of the codebook.

    Raises UsageError for what cannot be called, and for a class.
    """
    name = name or getattr(loaded, "__name__", type(loaded).__name__)
    if inspect.isclass(loaded):
        raise UsageError(f"model {name}: it is a class; give an instance, or a function images -> reconstructions")
    if not callable(loaded):
        raise UsageError(f"model {name}: it is of type {type(loaded).__name__}, which cannot be called")
    num_codes = getattr(loaded, "num_codes", None)
    known = num_codes if isinstance(num_codes, int) and num_codes > 1 else None
    if isinstance(loaded, nn.Module):
        module = loaded.to(device).eval()
        stamp = ("module", *(source or []), type(loaded).__qualname__, weights_digest(module))
        return ImageModel(name, "module", module, stamp, device, num_codes=known)
    stamp = ("function", name, *(source if source is not None else [_text(loaded)]))
    return ImageModel(name, "function", loaded, stamp, device, num_codes=known, blind=True)


def _text(function: Callable[..., Any]) -> str:
    """Return a digest of a function's text; its name where there is none."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return getattr(function, "__qualname__", repr(type(function)))


def _import_script(file: Path) -> ModuleType:
    path = file.expanduser().resolve(strict=True)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return import_file(path)
