"""CUDA graphs on a pretended GPU: a replay repeats recorded operations on the recorded tensors, without any Python.

As on a card, a capture does nothing (whatever it wrote is put back), numbers and places of memory are those of the
capture, random operations draw anew, and an operation after which the host waits is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.support.pretended_gpu import PretendedGpu
from vqbench.training.capture import recorded_operations


class PretendedStream:
    """A stream; all work is done in order anyway."""

    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, stream: Self) -> None:
        pass


class PretendedGraph:
    """What ``torch.cuda.CUDAGraph`` is, as far as this project uses it.

    Attributes:
        made: all graphs since :func:`pretended_graphs`, with their numbers of replays.
    """

    made: list[PretendedGraph]

    def __init__(self) -> None:
        self.replays = 0
        self.steps: list[tuple[Callable[[], Any], list[Tensor]]] = []  # calls, and the tensors that they make
        PretendedGraph.made.append(self)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for call, made in self.steps:
            for old, new in zip(made, _tensors(call()), strict=True):
                if old.numel() and _place(old) != _place(new):
                    old.view_as(new).copy_(new)  # its own shape may have been changed in place since

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Record what is done within this context, then put back all that it wrote, and the random generator."""
        recorder, random = _Recorder(self), torch.get_rng_state()
        with mock.patch.object(torch.cuda, "is_current_stream_capturing", return_value=True):
            try:
                with recorder:
                    yield
            finally:
                with torch.no_grad():
                    for tensor, before in recorder.written.values():
                        tensor.copy_(before)
                torch.set_rng_state(random)


class _Recorder(TorchDispatchMode):
    def __init__(self, graph: PretendedGraph) -> None:
        super().__init__()
        self.graph = graph
        self.own: set[int] = set()  # places of memory that the graph made
        self.written: dict[int, tuple[Tensor, Tensor]] = {}  # other memory, and its content before

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        space, _, name = function._schema.name.partition("::")
        if space == "profiler":
            return function(*args, **kwargs)
        if recorded_operations.waits(name, args, kwargs):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        for argument, given in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(given)
        for argument in function._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write and argument.name in kwargs:
                self._keep(kwargs[argument.name])
        known = {_place(each) for each in _tensors((args, kwargs))}
        outputs = function(*args, **kwargs)
        made = _tensors(outputs)
        self.own |= {_place(each) for each in made} - known
        if not name.startswith(("empty", "new_empty")):
            self.graph.steps.append((lambda: function(*args, **kwargs), made))
        return outputs

    def _keep(self, given: Any) -> None:
        for each in _tensors(given):
            if _place(each) not in self.own and _place(each) not in self.written:
                whole = torch.empty(0, dtype=each.dtype).set_(each.untyped_storage())
                self.written[_place(each)] = whole, whole.clone()


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def pretended_graphs(gpu: PretendedGpu) -> Iterator[None]:
    """Have ``torch.cuda`` capture pretended graphs within this context."""
    with (
        mock.patch.object(torch.cuda, "CUDAGraph", PretendedGraph),
        mock.patch.object(torch.cuda, "graph", lambda graph, stream: graph.captured()),
        mock.patch.object(torch.cuda, "Stream", PretendedStream),
        mock.patch.object(torch.cuda, "current_stream", PretendedStream),
        mock.patch.object(torch.cuda, "stream", return_value=nullcontext()),
        mock.patch.object(recorded_operations, "device_of", gpu.device),
    ):
        PretendedGraph.made = []
        yield
