"""Encoder and decoder as programs of ``torch.export``, checked against the model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any

import torch
from torch import Tensor, nn

from vqbench.backbone import Autoencoder
from vqbench.errors import UsageError, counted
from vqbench.evaluation.coding import ImageCoder
from vqbench.evaluation.image_arrays import to_user
from vqbench.functional.precision import initial_products

SEEN = 3  # images that a program is traced with, and
TRIED = (1, 5)  # numbers of images that it is tried with
ROUNDING = 1e-5  # of images in [0, 1], between a program and the model


class EncoderProgram(nn.Module):
    """Maps images (B, C, S, S) float32 in [0, 1] to codes (B, h, w, depth) int64."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.quantizer(self.model.backbone.encode((images - 0.5) / 0.5)).codes


class DecoderProgram(nn.Module):
    """Maps codes (B, h, w, depth) int64 to images (B, C, S, S) float32 in [0, 1]."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Tensor) -> Tensor:
        return to_user(self.model.backbone.decode(self.model.quantizer.decode(codes)))


@dataclass
class Programs:
    """Programs by file name, and why others could not be made."""

    files: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # a sentence each


def programs(coder: ImageCoder) -> Programs:
    """Export encoder and decoder of ``coder``, for any number of images.

    A method whose code torch cannot trace, or a program that does not compute what the model does, is left out with the
    reason.
    """
    result = Programs()
    quantizer = type(coder.model.quantizer).__name__
    try:
        codes = coder.encode(_images(coder, max(SEEN, *TRIED)))
    except UsageError as error:
        return Programs(left_out=[f"no programs: {error}"])
    inputs = {
        "encode.pt2": (EncoderProgram(coder.model), _images(coder, max(SEEN, *TRIED)).to(coder.device)),
        "decode.pt2": (DecoderProgram(coder.model), codes.to(coder.device)),
    }
    for name, (module, given) in inputs.items():
        with _quietly():
            try:
                result.files[name] = _exported(module.eval(), given)
            except _Differs as error:
                result.left_out.append(f"no {name}: {error}")
            except Exception as error:  # torch.export has no error of its own for code that it cannot trace
                result.left_out.append(f"no {name}: torch.export cannot trace {quantizer}, {_reason(error)}")
    return result


def _reason(error: Exception) -> str:
    """Return why torch could not trace, as a clause."""
    if "DataDependent" in type(error).__name__:
        return "whose code branches on values of a tensor"
    lines = str(error).strip().splitlines() or [""]
    return f"because of {type(error).__name__}: {lines[0][:120]}"


class _Differs(Exception):
    """A program that does not compute what the model does."""


@torch.no_grad()
def _exported(module: nn.Module, given: Tensor) -> bytes:
    """Return the file of the program of ``module``. Raises _Differs."""
    with initial_products():
        program = torch.export.export(module, (given[:SEEN],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    program.example_inputs = None  # torch would pickle them
    buffer = BytesIO()
    torch.export.save(program, buffer)
    run = torch.export.load(BytesIO(buffer.getvalue())).module()  # not all that can be saved can be loaded
    for count in TRIED:
        expected, actual = module(given[:count]), run(given[:count])
        if expected.is_floating_point():
            same = torch.allclose(expected, actual, rtol=0, atol=ROUNDING)
        else:
            same = torch.equal(expected, actual)
        if not same:
            raise _Differs(f"the program's result differs from the model's for {counted(count, 'image')}")
    return buffer.getvalue()


def _images(coder: ImageCoder, count: int) -> Tensor:
    """Draw images (count, C, S, S) in [0, 1] from a seed."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, coder.channels, coder.size, coder.size, generator=generator)


@contextmanager
def _quietly() -> Iterator[Any]:
    """Silence torch, which prints the whole graph where it cannot trace one."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
