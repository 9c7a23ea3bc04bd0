"""Unpickle without running what is in a file, in time and memory bounded by its size.

A pickle is a program that may call anything importable. The readers built on :class:`SafeUnpickler` admit the few calls
that describe an array, carry them out in plain Python and refuse the rest: no constructor and no ``__setstate__`` of
numpy's is reached, by which a file could choose a dtype's flags, an address or a stride. So a file from a stranger can
at worst contain wrong numbers, which its digest then shows.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

MAX_STEPS = 1_000_000  # opcodes of a pickle, and values within the object that it describes
MAX_DEPTH = 64  # of containers within containers
_REFUSED = frozenset(pickle.EXT1 + pickle.EXT2 + pickle.EXT4 + pickle.INST + pickle.OBJ + pickle.NEXT_BUFFER)


class AdmittedCall:
    """A function of ours that a pickle may call, and whose attributes it cannot set."""

    __slots__ = ("__name__", "_function")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__, self._function = name, function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function: refused")


class InertObject:
    """A stand-in for an object that no tensor needs: accepts every operation of a pickle, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Ignore ``item``."""

    def extend(self, items: Any) -> None:
        """Ignore ``items``."""


class _CountedOpcodes:
    """The methods by opcode, limited in number: a short file could otherwise keep a reader busy for hours."""

    def __init__(self, known: dict[int, Callable[[Any], None]]) -> None:
        self.known, self.left = known, MAX_STEPS

    def __getitem__(self, opcode: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"more than {MAX_STEPS:,} steps: no array needs so many")
        if opcode in _REFUSED or opcode not in self.known:
            raise pickle.UnpicklingError(f"its opcode {opcode} is none that an array needs: refused")
        return self.known[opcode]


_Python: Any = pickle._Unpickler  # its methods, one per opcode, are in no stubs


class SafeUnpickler(_Python):  # type: ignore[misc]  # Any, as said above
    """Unpickles in plain Python, since the C implementation allocates what a file claims to need.

    Keys of dictionaries and members of sets must be of types that are hashed quickly. Subclasses define
    ``find_class``, which decides what is admitted.
    """

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(file, **options)
        changed = {
            pickle.SETITEM: SafeUnpickler._set_item,
            pickle.SETITEMS: SafeUnpickler._set_items,
            pickle.DICT: SafeUnpickler._dict,
            pickle.ADDITEMS: SafeUnpickler._add_items,
            pickle.FROZENSET: SafeUnpickler._frozenset,
            pickle.BYTEARRAY8: SafeUnpickler._bytearray,
        }
        known: Any = {**_Python.dispatch, **{opcode[0]: method for opcode, method in changed.items()}}
        self.dispatch = _CountedOpcodes(known)  # the base class only ever indexes it

    def load(self) -> Any:
        """Return the pickled object. Raises UnpicklingError for a damaged or refused file."""
        try:
            return super().load()
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # a damaged program can fail in any way
            raise pickle.UnpicklingError(f"not a sound pickle ({shortened_error(error)})") from error

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
    """Refuse a key that is slow to hash: tuples of tuples, each twice in the next, would be hashed for ever."""
    simple = (str, bytes, int, float, bool, type(None))
    if isinstance(key, tuple) and all(isinstance(item, simple) for item in key):
        return
    if not isinstance(key, (*simple, InertObject, type)) or (isinstance(key, int) and abs(key) >= 2**61):
        raise pickle.UnpicklingError("it has a key that is neither a name nor a number: refused")


class _OrderedDict(collections.OrderedDict[Any, Any]):
    """An OrderedDict whose methods a pickle cannot replace by attributes of the same names."""

    def __setstate__(self, state: Any) -> None:
        pass


def _ordered(items: Any = ()) -> _OrderedDict:
    """Construct what ``OrderedDict(items)`` does, of nothing or of a list of pairs."""
    pairs = [(key, value) for key, value in items]
    _require_keys([key for key, _ in pairs])
    return _OrderedDict(pairs)


ORDERED_DICT = AdmittedCall("OrderedDict", _ordered)


def shortened_error(error: Exception) -> str:
    """Return the type and the first 100 characters of ``error``."""
    return f"{type(error).__name__}: {str(error)[:100]}" if str(error) else type(error).__name__
