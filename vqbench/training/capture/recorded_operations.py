"""The operations of an update, as a CUDA graph would keep them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations after which the host waits: it needs a value, or the size of the output depends on one.
WAITS = frozenset(
    (
        *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount", "histc"),
        *("_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"),
        *("_linalg_eigh", "_linalg_svd", "linalg_eig"),
    )
)
PLAIN = (bool, int, float, complex, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


class Operation(NamedTuple):
    """One ATen operation, with all of its arguments but the values of tensors."""

    name: str
    arguments: str

    def __str__(self) -> str:
        return f"{self.name}({self.arguments:.100})"


class OperationRecorder(TorchDispatchMode):
    """Lists the operations within its context, forward, backward and optimizer.

    Attributes:
        operations: all of them, in order.
        obstacle: why a CUDA graph cannot hold the first that it cannot; None: it can hold all.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.device = device
        self.operations: list[Operation] = []
        self.obstacle: str | None = None

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        space, _, name = function._schema.name.partition("::")
        if space == "profiler":  # marks for tools that measure
            return function(*args, **kwargs)
        self.operations.append(Operation(str(function), self._described((args, kwargs))))
        if self.obstacle is None and waits(name, args, kwargs):
            self.obstacle = f"the host waits for the result of {name}"
        outputs = function(*args, **kwargs)
        if self.obstacle is None and self._uses_host_memory((args, kwargs, outputs)):
            self.obstacle = f"{name} works on a tensor of the CPU"
        return outputs

    def _uses_host_memory(self, values: Any) -> bool:
        """Return whether a tensor, other than a scalar, is not on the device."""
        return any(
            each.dim() and device_of(each).type != self.device.type
            for each in tree_leaves(values)
            if isinstance(each, Tensor)
        )

    def _described(self, value: Any) -> str:
        if isinstance(value, Tensor):
            scalar = value.dim() == 0 and device_of(value).type != self.device.type  # its value is kept by a graph
            content = f"={value.item()!r}" if scalar else ""
            return f"{value.dtype}{list(value.shape)}{content}"
        if isinstance(value, Mapping):
            return ", ".join(f"{name}={self._described(each)}" for name, each in value.items())
        if isinstance(value, list | tuple):
            return ", ".join(self._described(each) for each in value)
        return repr(value) if isinstance(value, PLAIN) else type(value).__name__


def waits(name: str, args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Return whether the host waits for the device after the operation ``name``."""
    if name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple):
        return any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in args[1])
    return name in WAITS and not (name == "repeat_interleave" and kwargs.get("output_size") is not None)


def device_of(tensor: Tensor) -> torch.device:
    """Return the device of a tensor."""
    return tensor.device


def difference(before: list[Operation], after: list[Operation]) -> str | None:
    """Describe the first operation by which two updates differ; None: they are alike."""
    for first, second in zip_longest(before, after):
        if first != second:
            return f"{first or 'nothing'} became {second or 'nothing'}"
    return None
