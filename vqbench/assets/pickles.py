"""Arrays out of pickles and TorchScript archives, without running what is in them.

A pickle is a program that may call anything importable. These readers know the few calls that describe an array, carry
them out themselves in plain Python and refuse the rest: no constructor and no ``__setstate__`` of numpy's is reached,
by which a file could choose a dtype's flags, an address or a stride. So a file from a stranger can do no more than have
wrong numbers, which its digest then shows. What it takes of time and memory is bounded by its own size.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from vqbench.system.files import MEMBER, array_of, unzip

MAX_STEPS = 1_000_000  # opcodes of a pickle, and values that are gone through in what it made
MAX_DEPTH = 64
UNFOLDED = 4  # times the bytes of an archive that its tensors may take together: some are views of the same storage

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
_NO_DATA = frozenset(pickle.EXT1 + pickle.EXT2 + pickle.EXT4 + pickle.INST + pickle.OBJ + pickle.NEXT_BUFFER)


class _Call:
    """What a pickle may call: a function of ours, of which nothing can be set."""

    __slots__ = ("__name__", "_function")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__, self._function = name, function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function: refused")


class _Opcodes:
    """The opcodes that are carried out, counted: a short file may otherwise keep a reader busy for hours."""

    def __init__(self, known: dict[int, Callable[[Any], None]]) -> None:
        self.known, self.left = known, MAX_STEPS

    def __getitem__(self, opcode: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"more than {MAX_STEPS:,} steps: no array needs so many")
        if opcode in _NO_DATA or opcode not in self.known:
            raise pickle.UnpicklingError(f"its opcode {opcode} is none that an array needs: refused")
        return self.known[opcode]


_Python: Any = pickle._Unpickler  # its methods, one an opcode, are in no stubs


class _Unpickler(_Python):  # type: ignore[misc]  # Any, as said above
    """Unpickles in plain Python, since C's allocates what a file claims to need. Keys are of a kind quickly hashed."""

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(file, **options)
        changed = {
            pickle.SETITEM: _Unpickler._set_item,
            pickle.SETITEMS: _Unpickler._set_items,
            pickle.DICT: _Unpickler._dict,
            pickle.ADDITEMS: _Unpickler._add_items,
            pickle.FROZENSET: _Unpickler._frozenset,
            pickle.BYTEARRAY8: _Unpickler._bytearray,
        }
        known: Any = {**_Python.dispatch, **{opcode[0]: does for opcode, does in changed.items()}}
        self.dispatch = _Opcodes(known)  # which is only ever indexed

    def load(self) -> Any:
        """The pickled object. Raises UnpicklingError for whatever is wrong with the file."""
        try:
            return super().load()
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # a damaged program fails in any way
            raise pickle.UnpicklingError(f"not a sound pickle ({_short(error)})") from error

    def _set_item(self) -> None:
        _require_key(self.stack[-2])
        self.load_setitem()

    def _set_items(self) -> None:
        _require_keys(self.stack[::2])
        self.load_setitems()

    def _dict(self) -> None:
        _require_keys(self.stack[::2])
        self.load_dict()

    def _add_items(self) -> None:
        _require_keys(self.stack)
        self.load_additems()

    def _frozenset(self) -> None:
        _require_keys(self.stack)
        self.load_frozenset()

    def _bytearray(self) -> None:
        count = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(count)))


def _require_keys(keys: list[Any]) -> None:
    for key in keys:
        _require_key(key)


def _require_key(key: Any) -> None:
    """Tuples of tuples of tuples, each twice in the next, would be hashed and compared for ever."""
    simple = (str, bytes, int, float, bool, type(None))
    if isinstance(key, tuple) and all(isinstance(item, simple) for item in key):
        return
    if not isinstance(key, (*simple, _Inert, type)) or (isinstance(key, int) and abs(key) >= 2**61):
        raise pickle.UnpicklingError("it has a key that is neither a name nor a number: refused")


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:100]}" if str(error) else type(error).__name__


def _latin1(text: str, encoding: str) -> bytes:
    """Stands for ``_codecs.encode``, by which old pickle protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}, which no array needs")
    return text.encode("latin1")


class _OrderedDict(collections.OrderedDict[Any, Any]):
    """An OrderedDict whose methods a pickle cannot cover by attributes of the same names."""

    def __setstate__(self, state: Any) -> None:
        pass


def _ordered(items: Any = ()) -> _OrderedDict:
    """Stands for OrderedDict: empty, or of a list of pairs."""
    pairs = [(key, value) for key, value in items]
    _require_keys([key for key, _ in pairs])
    return _OrderedDict(pairs)


def _text(value: Any) -> str:
    """A short text, which Python 2 wrote as bytes."""
    if not isinstance(value, (str, bytes)) or len(value) > 8:
        raise pickle.UnpicklingError("it has a dtype that is not named by a short text: refused")
    return value.decode("latin1") if isinstance(value, bytes) else value


class _Dtype:
    """Stands for a numpy dtype: of plain numbers, since one of objects would take the file's bytes for addresses."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.kind, self.order = _text(name), "="
        if not self.kind or self.kind[0] not in "biufc" or not self.kind[1:].isdigit():
            raise pickle.UnpicklingError(f"it has values of the dtype {self.kind!r}, which are no numbers: refused")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subdtype, names, fields, *_ = state
        if (subdtype, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("it has a dtype of several fields, which are no numbers: refused")
        self.order = _text(order)

    @property
    def real(self) -> np.dtype:
        """The dtype itself."""
        return np.dtype(f"{self.order if self.order in '<>|=' else '='}{self.kind}")


class _Array:
    """Stands for an array while its pickle is read: it is made of bytes, whose number has to fit."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _from_bytes(content, dtype, shape, bool(fortran))


def _from_bytes(content: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    if not isinstance(content, (bytes, bytearray)) or not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("it has an array that is not made of bytes: refused")
    return array_of(bytes(content), dtype.real, shape, fortran)


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """Stands for numpy's ``_frombuffer``, by which pickles of protocol 5 make an array."""
    made = _Array()
    made.value = _from_bytes(content, dtype, shape, order == "F")
    return made


def _scalar(dtype: Any, content: Any) -> Any:
    """Stands for numpy's ``scalar``."""
    return _from_bytes(content, dtype, (), False)[()]


def _no_array(*_: Any) -> None:
    raise pickle.UnpicklingError("it makes an array of its own choosing (numpy.ndarray): refused")


_ORDERED = _Call("OrderedDict", _ordered)
_NUMPY = {  # what the pickles of arrays call, by the last part of its name
    "_reconstruct": _Call("_reconstruct", _Array),
    "scalar": _Call("scalar", _scalar),
    "_frombuffer": _Call("_frombuffer", _from_buffer),
}


class ArrayUnpickler(_Unpickler):
    """Admits numpy arrays, numbers, text and the built-in containers; any other global is an UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for ``module.name``, if an array needs it."""
        if (module, name) == ("_codecs", "encode"):
            return _Call("encode", _latin1)
        if (module, name) == ("collections", "OrderedDict"):
            return _ORDERED
        if (module, name) == ("numpy", "ndarray"):  # named by each array, called by none
            return _Call("ndarray", _no_array)
        if (module, name) == ("numpy", "dtype"):
            return _Call("dtype", _Dtype)
        if (module in _MULTIARRAY and name in ("_reconstruct", "scalar")) or (
            module in _NUMERIC and name == "_frombuffer"
        ):
            return _NUMPY[name]
        raise pickle.UnpicklingError(f"it asks for {module[:40]}.{name[:40]}, which no array needs: refused")


def load_arrays(file: BinaryIO) -> Any:
    """What a pickle of numpy arrays holds. Text of Python 2 comes as bytes. Raises UnpicklingError."""
    return _Settling().settled(ArrayUnpickler(file, encoding="bytes").load())


class _Settling:
    """Puts arrays in the place of their stand-ins, in containers of any depth that a sound file has."""

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def settled(self, value: Any, depth: int = 0) -> Any:
        """``value`` with real arrays. Raises UnpicklingError where it contains itself, or unfolds without end."""
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH:
            raise pickle.UnpicklingError("its containers are too many or too deep: refused")
        if isinstance(value, _Array):
            if value.value is None:
                raise pickle.UnpicklingError("it has an array without content")
            return value.value
        if isinstance(value, dict):
            return type(value)((key, self.settled(each, depth + 1)) for key, each in value.items())
        if isinstance(value, (list, tuple)):
            return type(value)(self.settled(each, depth + 1) for each in value)
        if isinstance(value, (_Dtype, _Call)):
            raise pickle.UnpicklingError("it holds a type where a value should be")
        return value


class _Module:
    """Stands for any class of a TorchScript archive: keeps its attributes, has no behaviour."""

    attributes: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("it has a module whose attributes have no names")
        self.attributes = state


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


class _ScriptUnpickler(_Unpickler):
    """Reads ``data.pkl`` of a TorchScript archive; ``storage`` gives the bytes of a storage by its key."""

    def __init__(self, file: BinaryIO, storage: Callable[[str], bytes], budget: int) -> None:
        super().__init__(file)
        self.storage, self.left = storage, budget

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for ``module.name``: nothing of torch and nothing of the archive's code is used."""
        if module.partition(".")[0] == "__torch__":
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Call(name, self._tensor)
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name]).str
        if module == "torch.jit._pickle" and name in ("build_intlist", "build_doublelist", "build_boollist"):
            return _Call(name, list)
        if (module, name) == ("collections", "OrderedDict"):
            return _ORDERED
        raise pickle.UnpicklingError(f"it asks for {module[:40]}.{name[:40]}, which no tensor needs: refused")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The storage that ``("storage", dtype, key, device, count)`` refers to."""
        _, dtype, key, _, count = pid
        if dtype not in {np.dtype(each).str for each in _STORAGES.values()} or not isinstance(key, str):
            raise pickle.UnpicklingError("it has a storage of a type that is not read")
        content, item = self.storage(key), np.dtype(dtype).itemsize
        if not isinstance(count, int) or not 0 <= count * item <= len(content):
            raise pickle.UnpicklingError("it has a storage that is shorter than it says")
        return np.frombuffer(content, dtype, count) if count else np.empty(0, dtype)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
        """A copy of what the view (offset, size, stride) of ``storage`` shows, within its bounds."""
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


def _flatten(value: Any, path: str, depth: int, count: list[int]) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors below ``value``, each by its dotted name; ``count`` holds how many values may still be looked at."""
    count[0] -= 1
    if count[0] < 0 or depth > MAX_DEPTH or len(path) > 1000:
        raise pickle.UnpicklingError("its modules are too many or too deep: refused")
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, _Module):
        for name, child in value.attributes.items():
            yield from _flatten(child, f"{path}.{name}" if path else str(name), depth + 1, count)


def load_script_tensors(archive: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors of a TorchScript archive by their dotted names; its code is never looked at. Raises UnpicklingError.

    BadZipFile for what is no archive.
    """
    return dict(_flatten(_load(archive, _ScriptUnpickler, "it is no TorchScript archive"), "", 0, [100_000]))


class _CheckpointUnpickler(_ScriptUnpickler):
    """Reads ``data.pkl`` of what ``torch.save`` wrote: tensors as arrays, and stand-ins for all that is not theirs."""

    def find_class(self, module: str, name: str) -> Any:
        """What describes a tensor; of anything else a stand-in, such as for the callbacks in a trainer's checkpoint."""
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Call(name, lambda data, *_: data)
        try:
            return super().find_class(module, name)
        except pickle.UnpicklingError:
            return type(name[:80], (_Inert,), {})


def load_checkpoint(archive: BinaryIO) -> Any:
    """What ``torch.save`` wrote, with arrays as tensors. Nothing in it is imported or called, not even by name.

    ``torch.load(weights_only=True)`` refuses the checkpoints of trainers, which hold more than weights. Raises
    UnpicklingError, or BadZipFile for what is no archive (torch before 1.6 wrote none).
    """
    return _load(archive, _CheckpointUnpickler, "torch.save did not write it")


def _load(archive: BinaryIO, reader: type[_ScriptUnpickler], otherwise: str) -> Any:
    """What the one pickle of an archive holds, by ``reader``."""
    size = archive.seek(0, 2)
    archive.seek(0)
    try:
        with zipfile.ZipFile(archive) as files:
            found = (name for name in files.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
            entry = next(found, None)
            if entry is None:
                raise pickle.UnpicklingError(f"it has no data.pkl, so {otherwise}")
            root, storages = entry.removesuffix("data.pkl"), dict[str, bytes]()

            def storage(key: str) -> bytes:
                if key not in storages:  # packed, they could stand for any amount
                    left = UNFOLDED * size - sum(map(len, storages.values()))
                    storages[key] = unzip(files, f"{root}data/{key}", left)
                return storages[key]

            program = io.BytesIO(unzip(files, entry, MEMBER))
            return reader(program, storage, UNFOLDED * size).load()
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise pickle.UnpicklingError(f"not a sound archive ({_short(error)})") from error
