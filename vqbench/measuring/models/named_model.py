"""Models by the name that a user gives: a function, a folder, a file."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from vqbench.errors import UsageError
from vqbench.measuring.models.callables import named_callable
from vqbench.measuring.models.diffusers_folder import diffusers_model, is_diffusers_folder
from vqbench.measuring.models.exported_programs import exported_program, is_torchscript, torchscript
from vqbench.measuring.models.image_model import ImageModel
from vqbench.measuring.models.taming_checkpoint import taming_model

CODE = re.compile(r".+\.py:\w+|[A-Za-z_][\w.]*:\w+")  # FILE.py:name, package.module:name


def named_model(name: str, device: torch.device, trust: bool = False) -> ImageModel | None:
    """Load the model called ``name``.

    None if it is neither code, a folder of diffusers nor a file.

    Args:
        name: ``FILE.py:name``, ``package.module:name``, a folder of diffusers, a ``.pt2`` file of torch.export, a file
            of TorchScript, or a checkpoint of taming-transformers.
        device: Where it computes.
        trust: Whether files that hold code may be loaded.

    Raises:
        UsageError: It cannot be loaded.
        AssetError: A checkpoint that is damaged, or does not fit its configuration.
    """
    if CODE.fullmatch(name):
        return named_callable(name, device)
    path = Path(name).expanduser()
    if path.is_dir():
        return diffusers_model(path, device) if is_diffusers_folder(path) else None
    if not path.is_file():
        if path.suffix in (".pt2", ".pt", ".pth", ".ckpt", ".ts", ".py"):
            raise UsageError(f"--model {name}: no such file")
        return None
    if path.suffix == ".py":
        raise UsageError(f"--model {name}: which function or module of it? write {name}:NAME")
    if path.suffix == ".pt2":
        return exported_program(path, device, trust)
    if is_torchscript(path):
        return torchscript(path, device, trust)
    return taming_model(path, device)
