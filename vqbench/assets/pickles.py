"""Arrays out of pickles and TorchScript archives, without running what is in them.

A pickle is a program that may call anything importable. These readers admit what describes an array and refuse
the rest, so that a file from a stranger can do no more than have wrong numbers, which its digest then shows.
"""

from __future__ import annotations

import collections
import importlib
import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


def _latin1(text: str, encoding: str) -> bytes:
    """Stands for ``_codecs.encode``, by which old pickle protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}, which no array needs")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """Admits numpy arrays, numbers, text and the built-in containers; any other global is an UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """The object called ``module.name``, if an array needs it."""
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module in _MULTIARRAY and name in ("_reconstruct", "scalar")) or (
            module in _NUMERIC and name == "_frombuffer"
        ):
            return _of_numpy(module.rpartition(".")[2], name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs: refused")


def _of_numpy(module: str, name: str) -> Any:
    """``name`` of numpy's core, wherever the installed numpy keeps that."""
    core = "numpy._core" if int(np.__version__.partition(".")[0]) >= 2 else "numpy.core"
    return getattr(importlib.import_module(f"{core}.{module}"), name)


def load_arrays(file: BinaryIO) -> Any:
    """What a pickle of numpy arrays holds. Text of Python 2 comes as bytes."""
    return ArrayUnpickler(file, encoding="bytes").load()


class _Module:
    """Stands for any class of a TorchScript archive: keeps its attributes, has no behaviour."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = state


def _tensor(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """A copy of what the view (offset, size, stride) of ``storage`` shows; ndarray itself checks the bounds."""
    item = storage.dtype.itemsize
    return np.ndarray(size, storage.dtype, storage, offset * item, tuple(step * item for step in stride)).copy()


class _ScriptUnpickler(pickle.Unpickler):
    """Reads ``data.pkl`` of a TorchScript archive; ``storage`` gives the bytes of a storage by its key."""

    def __init__(self, file: BinaryIO, storage: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for ``module.name``: nothing of torch and nothing of the archive's code is used."""
        if module.partition(".")[0] == "__torch__":
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        if module == "torch.jit._pickle" and name in ("build_intlist", "build_doublelist", "build_boollist"):
            return list
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor needs: refused")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The storage that ``("storage", dtype, key, device, count)`` refers to."""
        _, dtype, key, _, count = pid
        return np.frombuffer(self.storage(key), dtype, count)


def _flatten(value: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, _Module):
        for name, child in value.attributes.items():
            yield from _flatten(child, f"{path}.{name}" if path else name)


def load_script_tensors(archive: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors of a TorchScript archive by their dotted names; its code is never looked at."""
    with zipfile.ZipFile(archive) as files:
        entry = next((name for name in files.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if entry is None:
            raise pickle.UnpicklingError("it has no data.pkl, so it is no TorchScript archive")
        root = entry.removesuffix("data.pkl")
        reader = _ScriptUnpickler(io.BytesIO(files.read(entry)), lambda key: files.read(f"{root}data/{key}"))
        return dict(_flatten(reader.load(), ""))


class _Inert:
    """Stands for any class or function that is no tensor's: takes whatever is done to it, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Nothing."""

    def extend(self, items: Any) -> None:
        """Nothing."""


class _CheckpointUnpickler(_ScriptUnpickler):
    """Reads ``data.pkl`` of what ``torch.save`` wrote: tensors as arrays, and stand-ins for all that is not theirs."""

    def find_class(self, module: str, name: str) -> Any:
        """What describes a tensor; of anything else a stand-in, such as for the callbacks in a trainer's checkpoint."""
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        try:
            return super().find_class(module, name)
        except pickle.UnpicklingError:
            return type(name, (_Inert,), {})


def load_checkpoint(archive: BinaryIO) -> Any:
    """What ``torch.save`` wrote, with arrays as tensors. Nothing in it is imported or called, not even by name.

    ``torch.load(weights_only=True)`` refuses the checkpoints of trainers, which hold more than weights. Raises
    UnpicklingError, or BadZipFile for what is no archive (torch before 1.6 wrote none).
    """
    with zipfile.ZipFile(archive) as files:
        entry = next((name for name in files.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if entry is None:
            raise pickle.UnpicklingError("it has no data.pkl, so torch.save did not write it")
        root = entry.removesuffix("data.pkl")
        reader = _CheckpointUnpickler(io.BytesIO(files.read(entry)), lambda key: files.read(f"{root}data/{key}"))
        return reader.load()
