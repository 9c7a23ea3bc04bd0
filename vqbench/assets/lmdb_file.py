"""Locate the values of an lmdb environment in its file, without lmdb.

The library maps the file into memory and trusts it: a truncated file kills the process by a signal, without a message.
Here the pages of the tree are read one by one, and every number in them is checked against the file's size. Must not
import torch.

Layout (lmdb 0.9, 64 bits, little-endian). A page begins with 16 bytes: its number (u64), u16 unused, u16 flags, and u16
``lower`` and ``upper``, the bounds of its free space, or u32 the count of pages where it is the first of an overflow.
Up to ``lower`` follow u16 offsets of nodes: u16 low, u16 high, u16 flags, u16 length of the key, the key, and in a leaf
the value. The size of a value is low + high << 16; in a branch, low, high and flags together are the number of a child.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vqbench.errors import AssetError
from vqbench.system.files import open_regular

FILE = "data.mdb"
LIMIT = 2**44  # bytes; the environment of all of LSUN's bedrooms has 46 GB
MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, META, OVERFLOW = 1, 2, 8, 4  # flags of pages
BIG, SUB = 1, 6  # flags of nodes: the value is on pages of its own; it is a tree instead of a value
EMPTY = 2**64 - 1  # as the root of a tree without pages
HEAD = 16  # bytes of a page's header
DEEPEST = 32


def entries(root: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (key in Latin-1, size, offset) of all values in order of keys.

    Raises AssetError for a file that is damaged or cannot be read.
    """
    path = root / FILE
    try:
        with open_regular(path, LIMIT) as file:
            yield from _Tree(file).entries()
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error.strerror}); fix its permissions") from error
    except (ValueError, struct.error) as error:
        raise AssetError(f"{path}: not a whole lmdb environment ({error}); fetch it again") from error


class _Tree:
    """The main tree of an environment, by the newer of its two meta pages."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes = file, file.seek(0, 2)
        first = self._meta(0)
        if first is None:
            raise ValueError("no header of lmdb, 64 bits, version 1")
        self.page = first[0]
        second = self._meta(self.page)
        metas = [each for each in (first, second) if each is not None and each[0] == self.page]
        _, self.count, self.root, last, _ = max(metas, key=lambda meta: meta[-1])
        self.pages = self.bytes // self.page
        if self.root != EMPTY and self.root >= self.pages:
            raise ValueError(self._cut_off(last))
        self.last = last

    def _meta(self, offset: int) -> tuple[int, int, int, int, int] | None:
        """Read a meta page; None if it is none.

        Returns page size, number of values, root, last page and transaction.
        """
        self.file.seek(offset)
        head = self.file.read(152)
        if len(head) < 152 or not struct.unpack_from("<H", head, 10)[0] & META:
            return None
        magic, version = struct.unpack_from("<II", head, 16)
        (page,) = struct.unpack_from("<I", head, 40)
        count, root, last, transaction = struct.unpack_from("<QQQQ", head, 120)
        sound = magic == MAGIC and version == VERSION and 256 <= page <= 65536 and page & (page - 1) == 0
        return (page, count, root, last, transaction) if sound else None

    def _cut_off(self, number: int) -> str:
        return f"it is truncated: {self.bytes:,} of at least {(number + 1) * self.page:,} bytes"

    def entries(self) -> Iterator[tuple[str, int, int]]:
        count = 0
        if self.root != EMPTY:
            for entry in self._below(self.root, set(), 0):
                count += 1
                yield entry
        if count != self.count:
            raise ValueError(f"{count:,} values, but its header says {self.count:,}")

    def _below(self, number: int, seen: set[int], depth: int) -> Iterator[tuple[str, int, int]]:
        """Yield all values below one page; ``seen`` are the pages already read."""
        if number in seen or depth > DEEPEST:
            raise ValueError(f"page {number} is reached twice")
        seen.add(number)
        page, flags = self._read(number)
        for low, high, node_flags, key, start in self._nodes(page):
            if flags & BRANCH:
                yield from self._below(low | high << 16 | node_flags << 32, seen, depth + 1)
            else:
                yield key.decode("latin-1"), *self._value(number, page, low | high << 16, node_flags, start)

    def _read(self, number: int) -> tuple[bytes, int]:
        """Read one page of the tree, and its flags."""
        self.file.seek(self._within(number) * self.page)
        page = self.file.read(self.page)
        own, _, flags = struct.unpack_from("<QHH", page)
        if own != number or flags & (BRANCH | LEAF | META | OVERFLOW) not in (BRANCH, LEAF):
            raise ValueError(f"page {number} is not a page of a tree")
        return page, flags

    def _within(self, number: int) -> int:
        if number >= self.pages:
            raise ValueError(self._cut_off(number) if number <= self.last else f"it has no page {number}")
        return number

    def _nodes(self, page: bytes) -> Iterator[tuple[int, int, int, bytes, int]]:
        """Yield low, high, flags and key of each node, and the key's end."""
        (lower,) = struct.unpack_from("<H", page, 12)
        if not HEAD <= lower <= len(page):
            raise ValueError("a page with bounds beyond its own")
        for (place,) in struct.iter_unpack("<H", page[HEAD : lower - lower % 2]):
            low, high, flags, length = struct.unpack_from("<HHHH", page, place)
            start = place + 8 + length
            if start > len(page):
                raise ValueError("a key beyond its page")
            yield low, high, flags, page[place + 8 : start], start

    def _value(self, number: int, page: bytes, size: int, flags: int, start: int) -> tuple[int, int]:
        """Return size and offset of a leaf's value."""
        if flags & SUB:
            raise ValueError("trees within its tree, which no data set of images has")
        if not flags & BIG:
            if start + size > len(page):
                raise ValueError("a value beyond its page")
            return size, number * self.page + start
        (overflow,) = struct.unpack_from("<Q", page, start)
        offset = self._within(overflow) * self.page + HEAD
        if offset + size > self.bytes:
            raise ValueError(self._cut_off((offset + size) // self.page))
        return size, offset
