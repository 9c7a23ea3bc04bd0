"""What the Python code of a model depends on, besides the values of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

INTERNAL = frozenset(vars(nn.Module())) - {"training"}  # attributes of torch's own
PLAIN = (bool, int, float, complex, str, bytes, type(None))


class HostState:
    """Reads the plain attributes of a model's modules, and where its tensors are.

    A CUDA graph repeats what Python once decided by these. Values of other types (functions, objects) are not compared.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = list(model.named_modules())

    def read(self) -> dict[tuple[str, str], Any]:
        """Return the state by (module, attribute)."""
        return {
            (name, attribute): _comparable(value)
            for name, module in self._modules
            for part in (module._parameters, module._buffers, vars(module))
            for attribute, value in part.items()
            if attribute not in INTERNAL
        }


def changed_name(before: Mapping[tuple[str, str], Any], after: Mapping[tuple[str, str], Any]) -> str | None:
    """Return the first attribute, such as ``quantizer.temperature``, that differs."""
    if before == after:
        return None
    differing = [name for name in before if name in after and before[name] != after[name]]
    new_or_gone = [name for name in {**before, **after} if name not in before or name not in after]
    return ".".join(filter(None, [*differing, *new_or_gone][0]))


def _comparable(value: Any) -> Any:
    """Return a plain value as it is, a tensor's address, and None for the rest."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return "tensor", value.data_ptr(), value.shape
    if isinstance(value, Mapping):
        return tuple((str(key), _comparable(each)) for key, each in value.items())
    if isinstance(value, Sequence | set | frozenset):
        return tuple(_comparable(each) for each in value)
    return None
