"""A CUDA device that is pretended on the CPU: real values, real gradients, and a note of what a GPU would dislike.

Tensors live on the CPU, and a table says which of them are "on cuda:0". A function mode answers what Python asks of
devices; a dispatch mode sees every ATen operation, decides where its outputs are, and notes three kinds of findings:
tensors of both devices in one operation, operations after which the host waits for the device, and copies that block.

What it cannot see: kernels that do not exist for CUDA, numbers that CUDA rounds in another way, memory, and time.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self
from unittest import mock

import torch
from torch import Tensor, autograd
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vqbench.training.capture.recorded_operations import waits

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
ROOT = Path(__file__).resolve().parents[2]
PLACES = tuple(str(ROOT / folder) for folder in ("vqbench", "quantizers", "tests"))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Beside these, only a scalar may come from the other device.
BOTH_DEVICES = _words("copy_ _to_copy index index_put index_put_ _index_put_impl_ set_")
# They make no kernel.
VIEWS = _words(
    """
    view _unsafe_view permute transpose t expand slice select split split_with_sizes unsqueeze squeeze detach
    alias as_strided unbind lift_fresh empty empty_like new_empty empty_strided new_empty_strided _reshape_alias
    diagonal unfold unsafe_split chunk tensor_split narrow movedim set_ is_pinned
    """
)
FACTORIES = _words(
    """
    randperm zeros ones rand randn randint arange tensor full empty eye linspace from_numpy frombuffer
    scalar_tensor as_tensor asarray
    """
)
FROM_VALUES = _words("tensor as_tensor from_numpy frombuffer asarray")


class Finding(NamedTuple):
    """Something that slows a GPU down, or fails there."""

    kind: Literal["both devices", "waits", "copies"]
    what: str
    where: str  # file:line of this project

    def __str__(self) -> str:
        return f"{self.kind}: {self.what} ({self.where})"


class PretendedGpu:
    """A context in which ``cuda`` exists.

    >>> with PretendedGpu() as gpu, gpu.watched():
    ...     total = torch.ones(2, device="cuda").sum().item()
    >>> [finding.what for finding in gpu.findings]
    ['_local_scalar_dense']

    Attributes:
        findings: how often each was seen while :meth:`watched`.
        launches: how often each operation ran there while watched, views left out.
    """

    # Of the process, as a device is: networks are kept from one context to the next. The weak references keep addresses
    # from being used again.
    _on_device: ClassVar[dict[int, StorageWeakRef]] = {}
    _pinned: ClassVar[dict[int, StorageWeakRef]] = {}

    def __init__(self) -> None:
        self.findings: Counter[Finding] = Counter()
        self.launches: Counter[str] = Counter()
        self._wanted: list[torch.device | None] = [None]  # where functions at hand make new tensors
        self._watching = False
        self._open = ExitStack()

    def __enter__(self) -> Self:
        cuda, autocast = torch.cuda, torch.autocast.__init__

        def on_cpu(self: Any, device_type: str, dtype: Any = None, *rest: Any, **further: Any) -> None:
            autocast(self, "cpu", dtype or (torch.bfloat16 if device_type == "cuda" else None), *rest, **further)

        for owner, name, value in (
            (cuda, "is_available", lambda: True),
            (cuda, "device_count", lambda: 1),
            (cuda, "get_device_name", lambda device=None: "pretended GPU"),
            (cuda, "set_device", lambda device: None),
            (cuda, "synchronize", lambda device=None: None),
            (cuda, "manual_seed_all", lambda seed: None),
            (cuda, "is_current_stream_capturing", lambda: False),
            (cuda, "get_rng_state", lambda device=None: torch.get_rng_state()),
            (cuda, "set_rng_state", lambda state, device=None: torch.set_rng_state(state)),
            (torch.random, "fork_rng", _forked(torch.random.fork_rng)),
            (torch.autocast, "__init__", on_cpu),
        ):
            self._open.enter_context(mock.patch.object(owner, name, value))
        self._open.enter_context(_Operations(self))
        functions = self._open.enter_context(_Functions(self))
        backward = autograd.function.BackwardCFunction.apply

        def in_mode(self: Any, *grads: Any) -> Any:  # torch runs a backward in Python outside of function modes
            with functions:
                return backward(self, *grads)

        self._open.enter_context(mock.patch.object(autograd.function.BackwardCFunction, "apply", in_mode))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note findings and launches within this context."""
        before, self._watching = self._watching, True
        try:
            yield
        finally:
            self._watching = before

    def device(self, tensor: Tensor) -> torch.device:
        """Return where a tensor is pretended to be."""
        return CUDA if _address(tensor) in self._on_device else CPU

    def place(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Pretend that a tensor is on a device."""
        if device.type == "cuda":
            self._on_device[_address(tensor)] = StorageWeakRef(tensor.untyped_storage())
        else:
            self._on_device.pop(_address(tensor), None)
        return tensor

    def note(self, kind: Literal["both devices", "waits", "copies"], what: str) -> None:
        """Count a finding where it is watched."""
        if self._watching:
            self.findings[Finding(kind, what, _place())] += 1

    def moved(self, tensor: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
        """Return a copy of ``tensor`` on the other device."""
        upwards = device.type == "cuda"
        if not non_blocking or (upwards and _address(tensor) not in self._pinned):
            memory = " from memory that is not pinned" if upwards and non_blocking else ""
            self.note("copies", f"{tuple(tensor.shape)} to {device.type}{memory}")
        with self.wanted(device):
            return self.place(tensor.clone(memory_format=torch.preserve_format), device)

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a copy of ``tensor`` in pinned memory."""
        copy = self.place(tensor.clone(), CPU)
        self._pinned[_address(copy)] = StorageWeakRef(copy.untyped_storage())
        return copy

    @contextmanager
    def wanted(self, device: torch.device | None) -> Iterator[None]:
        """Have new tensors made on ``device`` within this context."""
        self._wanted.append(device)
        try:
            yield
        finally:
            self._wanted.pop()

    def done(self, name: str, args: Any, kwargs: Any, compute: Callable[[], Any]) -> Any:
        """Compute one ATen operation, note what is wrong with it, and place its outputs."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = any(self.device(each).type == "cuda" for each in given)
        if on_device:
            self._judge(name, args, kwargs, [each for each in given if self.device(each) == CPU and each.dim()])
        outputs = compute()
        wanted = self._wanted[-1]
        target = CUDA if on_device else wanted or CPU
        if given and not on_device and name not in ("_to_copy", "clone"):
            target = CPU  # computed from tensors of the CPU
        known = {_address(each) for each in given}
        for output in tree_leaves(outputs):
            if isinstance(output, Tensor) and _address(output) not in known:
                self.place(output, target)
        if self._watching and target == CUDA and name not in VIEWS:
            self.launches[name] += 1
        return outputs

    def _judge(self, name: str, args: Any, kwargs: Any, foreign: list[Tensor]) -> None:
        shapes = " and ".join(str(tuple(each.shape)) for each in foreign)
        if foreign and name in BOTH_DEVICES:
            if name != "set_":
                self.note("copies", f"{name} with {shapes} of the CPU")
        elif foreign and not name.startswith("_foreach"):
            self.note("both devices", f"{name} with {shapes} of the CPU")
        if waits(name, args, kwargs):
            self.note("waits", f"{name} by a mask" if name.startswith("index") else name)


class _Functions(TorchFunctionMode):
    """Answers what Python asks of devices, and says where a function makes tensors."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if answer := QUESTIONS.get(function):
            return answer(self.gpu.device(args[0]))
        name = getattr(function, "__name__", "")
        if args and isinstance(args[0], Tensor):
            if name in ("cpu", "cuda"):
                return self._to(args[0], torch.device(name))
            if name == "to":
                return self._to(args[0], *args[1:], **kwargs)
            if name == "pin_memory":
                return self.gpu.pinned(args[0])
            if name == "numpy" and self.gpu.device(args[0]) == CUDA:
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        return self._called(function, name, args, kwargs)

    def _called(self, function: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        gpu = self.gpu
        wanted = None
        if kwargs.get("device") is not None:
            wanted = _device(kwargs["device"])
            kwargs["device"] = CPU
            if wanted == CUDA and name in FROM_VALUES:
                gpu.note("copies", f"torch.{name}(..., device='cuda')")
        elif name in FACTORIES:
            wanted = CPU
        elif any(isinstance(leaf, Tensor) and gpu.device(leaf) == CUDA for leaf in tree_leaves((args, kwargs))):
            wanted = CUDA
        with gpu.wanted(wanted):
            output = function(*args, **kwargs)
        if name in FROM_VALUES and isinstance(output, Tensor):
            gpu.place(output, wanted or CPU)
        return output

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what ``tensor.to(...)`` would."""
        gpu = self.gpu
        if args and isinstance(args[0], Tensor):
            args = (gpu.device(args[0]), args[0].dtype, *args[1:])
        args = tuple(_device(each) if isinstance(each, (str, torch.device)) else each for each in args)
        kept = kwargs.pop("copy", False)
        target, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        further = {} if memory_format is None else {"memory_format": memory_format}
        here = gpu.device(tensor)
        with gpu.wanted(here):
            output = tensor.to(dtype=dtype or tensor.dtype, copy=kept, **further)
        target = here if target is None else _device(target)
        return output if target == here else gpu.moved(output, target, non_blocking)


class _Operations(TorchDispatchMode):
    """Passes every ATen operation on to the device."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.split("::")[1]
        return self.gpu.done(name, args, kwargs or {}, lambda: function(*args, **(kwargs or {})))


QUESTIONS: dict[Any, Callable[[torch.device], Any]] = {
    Tensor.device.__get__: lambda device: device,  # type: ignore[attr-defined]  # a descriptor
    Tensor.is_cuda.__get__: lambda device: device == CUDA,  # type: ignore[attr-defined]  # a descriptor
    Tensor.is_cpu.__get__: lambda device: device == CPU,  # type: ignore[attr-defined]  # a descriptor
    Tensor.get_device: lambda device: 0 if device == CUDA else -1,
}


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _device(given: Any) -> torch.device:
    device = torch.device("cuda", given) if isinstance(given, int) else torch.device(given)
    return CUDA if device.type == "cuda" else device


def _forked(fork: Callable[..., Any]) -> Callable[..., Any]:
    return lambda devices=None, *args, **kwargs: fork([], *args, **kwargs)


def _place() -> str:
    """Return the innermost line of this project that led here."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]  # None at the end
        file = frame.f_code.co_filename
        if file.startswith(PLACES) and file != __file__:
            return f"{Path(file).relative_to(ROOT)}:{frame.f_lineno}"
    return "outside this project"
