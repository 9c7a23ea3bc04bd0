"""Read pickles of numpy arrays without running what is in them."""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO

import numpy as np

from vqbench.assets import safe_pickle
from vqbench.assets.safe_pickle import ORDERED_DICT, AdmittedCall, SafeUnpickler
from vqbench.system.files import array_of

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")


def load_arrays(file: BinaryIO) -> Any:
    """Return the object in a pickle of numpy arrays. Text of Python 2 comes as bytes.

    Raises:
        UnpicklingError: The file is damaged, or needs more than arrays, numbers, text and the built-in containers.
    """
    return _Unwrapper().unwrapped(ArrayUnpickler(file, encoding="bytes").load())


class ArrayUnpickler(SafeUnpickler):
    """Admits numpy arrays, numbers, text and the built-in containers; any other global is an UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for ``module.name``, if an array needs it."""
        if (module, name) == ("_codecs", "encode"):
            return AdmittedCall("encode", _encode)
        if (module, name) == ("collections", "OrderedDict"):
            return ORDERED_DICT
        if (module, name) == ("numpy", "ndarray"):  # named by each array, called by none
            return AdmittedCall("ndarray", _refuse_ndarray)
        if (module, name) == ("numpy", "dtype"):
            return AdmittedCall("dtype", DtypeStandIn)
        if (module in _MULTIARRAY and name in ("_reconstruct", "scalar")) or (
            module in _NUMERIC and name == "_frombuffer"
        ):
            return _NUMPY[name]
        raise pickle.UnpicklingError(f"it asks for {module[:40]}.{name[:40]}, which no array needs: refused")


class DtypeStandIn:
    """A numpy dtype of plain numbers; one of objects would take the file's bytes for addresses."""

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
    def dtype(self) -> np.dtype:
        """The dtype itself."""
        return np.dtype(f"{self.order if self.order in '<>|=' else '='}{self.kind}")


class ArrayStandIn:
    """An array while its pickle is read: constructed from bytes, whose number has to fit."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _from_bytes(content, dtype, shape, bool(fortran))


def _from_bytes(content: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    if (
        not isinstance(content, (bytes, bytearray))
        or not isinstance(dtype, DtypeStandIn)
        or not isinstance(shape, tuple)
    ):
        raise pickle.UnpicklingError("it has an array that is not made of bytes: refused")
    return array_of(bytes(content), dtype.dtype, shape, fortran)


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any) -> ArrayStandIn:
    """Do what numpy's ``_frombuffer`` does, by which pickles of protocol 5 construct an array."""
    array = ArrayStandIn()
    array.value = _from_bytes(content, dtype, shape, order == "F")
    return array


def _scalar(dtype: Any, content: Any) -> Any:
    """Do what numpy's ``scalar`` does."""
    return _from_bytes(content, dtype, (), False)[()]


def _refuse_ndarray(*_: Any) -> None:
    raise pickle.UnpicklingError("it makes an array of its own choosing (numpy.ndarray): refused")


def _encode(text: str, encoding: str) -> bytes:
    """Do what ``_codecs.encode`` does, by which old pickle protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}, which no array needs")
    return text.encode("latin1")


def _text(value: Any) -> str:
    """Return a short text, which Python 2 wrote as bytes."""
    if not isinstance(value, (str, bytes)) or len(value) > 8:
        raise pickle.UnpicklingError("it has a dtype that is not named by a short text: refused")
    return value.decode("latin1") if isinstance(value, bytes) else value


_NUMPY = {  # the functions that pickles of arrays call, by the last part of their names
    "_reconstruct": AdmittedCall("_reconstruct", ArrayStandIn),
    "scalar": AdmittedCall("scalar", _scalar),
    "_frombuffer": AdmittedCall("_frombuffer", _frombuffer),
}


class _Unwrapper:
    """Replaces stand-ins by arrays, in containers as deep as those of a sound file."""

    def __init__(self) -> None:
        self.left = safe_pickle.MAX_STEPS

    def unwrapped(self, value: Any, depth: int = 0) -> Any:
        """Return ``value`` with arrays. Raises UnpicklingError where it contains itself, or unfolds without end."""
        self.left -= 1
        if self.left < 0 or depth > safe_pickle.MAX_DEPTH:
            raise pickle.UnpicklingError("its containers are too many or too deep: refused")
        if isinstance(value, ArrayStandIn):
            if value.value is None:
                raise pickle.UnpicklingError("it has an array without content")
            return value.value
        if isinstance(value, dict):
            return type(value)((key, self.unwrapped(each, depth + 1)) for key, each in value.items())
        if isinstance(value, (list, tuple)):
            return type(value)(self.unwrapped(each, depth + 1) for each in value)
        if isinstance(value, (DtypeStandIn, AdmittedCall)):
            raise pickle.UnpicklingError("it holds a type where a value should be")
        return value
