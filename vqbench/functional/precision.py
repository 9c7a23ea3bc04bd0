"""Choose which float32 products may round their factors, for the whole process.

PyTorch has two sets of switches for this, and reading one set after the other was written fails. Only
``fp32_precision`` is used here, which PyTorch 2.11 to 2.13 have; its older switches are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vqbench.quantizer import QuantizerOutput

IEEE = "ieee"  # PyTorch's name for float32 whose factors are not rounded
Values = tuple[str, ...]


def _of_gpus() -> tuple[Any, ...]:
    backends: Any = torch.backends  # its stubs lack some of these
    return backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn


def _all() -> tuple[Any, ...]:
    backends: Any = torch.backends
    return *_of_gpus(), backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn


def _read() -> Values:
    return tuple(setting.fp32_precision for setting in _all())


def _write(values: Values) -> None:
    for setting, value in zip(_all(), values, strict=True):
        setting.fp32_precision = value


_INITIAL = _read()  # before anything is changed here


def allow_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 from here on.

    With TF32, GPUs round the factors of float32 products to 10 bits.
    """
    for setting in _of_gpus():
        setting.fp32_precision = "tf32" if allowed else IEEE


@contextmanager
def float32_products(tf32: bool = False) -> Iterator[None]:
    """Compute with true float32 products, or TF32 on GPUs, within this context."""
    before = _read()
    _write((IEEE,) * len(before))
    try:
        if tf32:
            allow_tf32(True)
        yield
    finally:
        _write(before)


@contextmanager
def initial_products() -> Iterator[None]:
    """Set what torch starts with, within this context.

    Its own older code, such as ``torch.export``, cannot read the switches after they were written one by one.
    """
    before = _read()
    _write(_INITIAL)
    try:
        yield
    finally:
        _write(before)


def strictly(call: Callable[[Tensor], QuantizerOutput], z: Tensor) -> QuantizerOutput:
    """Compute ``call(z)`` with true float32 products in both passes.

    The backbone around it may use other precisions. The backward pass runs long after ``call`` has returned, and the
    settings hold for the whole process. So a hook where the gradient enters (at the results) sets them, and one where
    it leaves (at ``z``) restores them. Autograd visits nodes in the reverse order of their creation, so all nodes
    between the two were created by ``call``. Where ``z`` is a leaf or needs no gradient, the end of the backward pass
    restores the settings instead. Compiled code keeps the settings that hold when it is compiled.
    """
    if torch.compiler.is_compiling():
        return call(z)
    outside = _read()
    if all(value in (IEEE, "none") for value in outside):
        return call(z)
    with float32_products():
        out = call(z)
    if not torch.is_grad_enabled():
        return out

    def leave(*_: Any) -> None:
        _write(outside)

    def enter(*_: Any) -> None:
        _write((IEEE,) * len(outside))
        engine: Any = torch.autograd.Variable._execution_engine
        engine.queue_callback(leave)

    for tensor in (out.z_q, out.loss):
        if tensor.grad_fn is not None:
            tensor.register_hook(enter)
    if z.grad_fn is not None:
        z.register_hook(leave)
    return out
