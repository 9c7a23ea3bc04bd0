"""Read tensors from TorchScript archives and from checkpoints without running what is in them."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from vqbench.assets.safe_pickle import (
    MAX_DEPTH,
    ORDERED_DICT,
    AdmittedCall,
    InertObject,
    SafeUnpickler,
    shortened_error,
)
from vqbench.system.files import MEMBER, unzip

UNFOLDED = 4  # times the bytes of an archive that its tensors may take together: some are views of the same storage
MAX_MODULES = 100_000
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


def load_script_tensors(archive: BinaryIO) -> dict[str, np.ndarray]:
    """Return the tensors of a TorchScript archive by their dotted names. Its code is not read.

    Raises:
        UnpicklingError: The archive is damaged, or is none of TorchScript.
        BadZipFile: The file is no archive.
    """
    return dict(_flatten(_load(archive, _ScriptUnpickler, "it is no TorchScript archive"), "", 0, [MAX_MODULES]))


def load_checkpoint(archive: BinaryIO) -> Any:
    """Return what ``torch.save`` wrote, with arrays in place of tensors. Nothing in it is imported or called.

    ``torch.load(weights_only=True)`` refuses the checkpoints of trainers, which contain more than weights.

    Raises:
        UnpicklingError: The archive is damaged, or ``torch.save`` did not write it.
        BadZipFile: The file is no archive (torch before 1.6 wrote none).
    """
    return _load(archive, _CheckpointUnpickler, "torch.save did not write it")


class _ScriptModule:
    """A stand-in for any class of a TorchScript archive: has its attributes, and no behaviour."""

    attributes: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("it has a module whose attributes have no names")
        self.attributes = state


class _ScriptUnpickler(SafeUnpickler):
    """Reads ``data.pkl`` of a TorchScript archive.

    ``storage`` returns the bytes of a storage by its key; ``budget`` is what tensors may take together, in bytes.
    """

    def __init__(self, file: BinaryIO, storage: Callable[[str], bytes], budget: int) -> None:
        super().__init__(file)
        self.storage, self.left = storage, budget

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for ``module.name``: no code of torch's or of the archive's is used."""
        if module.partition(".")[0] == "__torch__":
            return _ScriptModule
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return AdmittedCall(name, self._tensor)
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name]).str
        if module == "torch.jit._pickle" and name in ("build_intlist", "build_doublelist", "build_boollist"):
            return AdmittedCall(name, list)
        if (module, name) == ("collections", "OrderedDict"):
            return ORDERED_DICT
        raise pickle.UnpicklingError(f"it asks for {module[:40]}.{name[:40]}, which no tensor needs: refused")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the storage that ``("storage", dtype, key, device, count)`` refers to."""
        _, dtype, key, _, count = pid
        if dtype not in {np.dtype(each).str for each in _STORAGES.values()} or not isinstance(key, str):
            raise pickle.UnpicklingError("it has a storage of a type that is not read")
        content, item = self.storage(key), np.dtype(dtype).itemsize
        if not isinstance(count, int) or not 0 <= count * item <= len(content):
            raise pickle.UnpicklingError("it has a storage that is shorter than it says")
        return np.frombuffer(content, dtype, count) if count else np.empty(0, dtype)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
        """Copy the view (offset, size, stride) of ``storage``, within its bounds."""
        if not isinstance(storage, np.ndarray) or len(size) != len(stride) or len(size) > 32:
            raise pickle.UnpicklingError("it has a tensor without a storage")
        if not all(type(number) is int and number >= 0 for number in (offset, *size, *stride)):
            raise pickle.UnpicklingError("it has a tensor of an impossible shape")
        count, item = math.prod(size), storage.dtype.itemsize
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        if count and last >= len(storage):
            raise pickle.UnpicklingError("it has a tensor that reaches beyond its storage")
        self.left -= count * item
        if self.left < 0:
            raise pickle.UnpicklingError("its tensors are much larger than the file")
        if not count:
            return np.empty(size, storage.dtype)
        return np.ndarray(size, storage.dtype, storage, offset * item, tuple(step * item for step in stride)).copy()


class _CheckpointUnpickler(_ScriptUnpickler):
    """Reads ``data.pkl`` of a checkpoint: tensors as arrays, and stand-ins for everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what describes a tensor, else a stand-in, such as for the callbacks of a trainer."""
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return AdmittedCall(name, lambda data, *_: data)
        try:
            return super().find_class(module, name)
        except pickle.UnpicklingError:
            return type(name[:80], (InertObject,), {})


def _load(archive: BinaryIO, reader: type[_ScriptUnpickler], otherwise: str) -> Any:
    """Return the object in the one pickle of an archive, read by ``reader``."""
    size = archive.seek(0, 2)
    archive.seek(0)
    try:
        with zipfile.ZipFile(archive) as files:
            pickled = (name for name in files.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
            entry = next(pickled, None)
            if entry is None:
                raise pickle.UnpicklingError(f"it has no data.pkl, so {otherwise}")
            root, storages = entry.removesuffix("data.pkl"), dict[str, bytes]()

            def storage(key: str) -> bytes:
                if key not in storages:  # packed, they could unfold to any amount
                    left = UNFOLDED * size - sum(map(len, storages.values()))
                    storages[key] = unzip(files, f"{root}data/{key}", left)
                return storages[key]

            program = io.BytesIO(unzip(files, entry, MEMBER))
            return reader(program, storage, UNFOLDED * size).load()
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise pickle.UnpicklingError(f"not a sound archive ({shortened_error(error)})") from error


def _flatten(value: Any, path: str, depth: int, left: list[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors below ``value`` by their dotted names; ``left`` counts the values that may still be visited."""
    left[0] -= 1
    if left[0] < 0 or depth > MAX_DEPTH or len(path) > 1000:
        raise pickle.UnpicklingError("its modules are too many or too deep: refused")
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, _ScriptModule):
        for name, child in value.attributes.items():
            yield from _flatten(child, f"{path}.{name}" if path else str(name), depth + 1, left)
