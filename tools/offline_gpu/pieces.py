"""Archives in pieces of a limited size, with a manifest of digests.

``NAME.json`` lists ``NAME.001``, ``NAME.002``, ... with their bytes and sha256; joined, they are one gzipped tar.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BLOCK = 2**20
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


class OfflineError(Exception):
    """What a user can mend: one sentence, and an exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class PiecesMissing(OfflineError):
    """Pieces have yet to arrive, with exit code 3: the same command continues."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        super().__init__(f"{folder}: {', '.join(names)} missing; bring them and run the same command again", 3)


def parse_size(text: str) -> int:
    """Convert a size such as 64M to bytes; units are powers of 1,024.

    Raises ValueError for any other text.

    >>> parse_size("64M")
    67108864
    """
    parts = re.fullmatch(r"([0-9]{1,12})([kmg]?)", text.strip().lower())
    if not parts or not int(parts[1]):
        raise ValueError(f"{text!r} is no size; write 500k, 64M or 2G")
    return int(parts[1]) * UNITS.get(parts[2], 1)


class _Splitter(io.RawIOBase):
    """Writes bytes to files of at most ``piece`` bytes."""

    def __init__(self, folder: Path, name: str, piece: int, most: int | None) -> None:
        self.folder, self.name, self.piece, self.most = folder, name, piece, most
        self.done: list[dict[str, Any]] = []
        self._file: io.BufferedWriter | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        while rest:
            file = self._file or self._next()
            entry = self.done[-1]
            part = rest[: self.piece - entry["bytes"]]
            file.write(part)
            self._digest.update(part)
            entry["bytes"] += len(part)
            if entry["bytes"] == self.piece:
                self.finish()
            rest = rest[len(part) :]
        return len(data)

    def _next(self) -> io.BufferedWriter:
        if self.most is not None and len(self.done) == self.most:
            raise OfflineError(
                f"{self.folder}: more than {self.most} pieces of {self.piece:,} bytes; allow larger ones"
            )
        self.done.append({"name": f"{self.name}.{len(self.done) + 1:03}", "bytes": 0})
        self._digest = hashlib.sha256()
        self._file = (self.folder / self.done[-1]["name"]).open("xb")
        return self._file

    def finish(self) -> None:
        """Complete the piece at hand."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self.done[-1]["sha256"] = self._digest.hexdigest()


def write(
    files: Iterable[tuple[Path, str]],
    folder: Path,
    name: str,
    piece: int,
    most: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[str]:
    """Archive ``files``, each with its name in the archive, into ``folder``.

    ``most`` limits the number of pieces. ``facts`` are kept in the manifest, which is written last. Returns the names
    of all files written. Raises OfflineError where the folder has such pieces already, or ``most`` are too few.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob(f"{name}.*")):
        raise OfflineError(f"{folder}: has pieces of {name} already; name a new folder", 2)
    splitter = _Splitter(folder, name, piece, most)
    with tarfile.open(mode="w|gz", fileobj=splitter, bufsize=BLOCK) as archive:
        for path, inside in files:
            archive.add(path, inside)
    splitter.finish()
    manifest = folder / f"{name}.json"
    manifest.write_text(json.dumps({**(facts or {}), "pieces": splitter.done}, indent=1) + "\n")
    return [*(entry["name"] for entry in splitter.done), manifest.name]


def manifest(folder: Path, name: str) -> dict[str, Any]:
    """Read the manifest of ``name``.

    Raises PiecesMissing where there is none, and OfflineError where it is damaged.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise PiecesMissing([path.name], folder)
    try:
        found = json.loads(path.read_text())
        [(each["name"], each["bytes"], each["sha256"]) for each in found["pieces"]]
    except (ValueError, KeyError, TypeError):
        raise OfflineError(f"{path}: damaged; bring it again") from None
    return dict(found)


def missing(folder: Path, entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the pieces that are not in ``folder``.

    Raises OfflineError for one whose content is not what the manifest says.
    """
    absent = []
    for entry in entries:
        path = folder / entry["name"]
        if not path.is_file():
            absent.append(entry["name"])
        elif not sound(path, entry):
            raise OfflineError(f"{path}: differs from the digest in the manifest; bring this piece again")
    return absent


def sound(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether the file is the piece that the manifest lists."""
    with path.open("rb") as file:
        return path.stat().st_size == entry["bytes"] and _digest(file) == entry["sha256"]


def _digest(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


class _Joined(io.RawIOBase):
    """Reads files one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._files:
            if count := self._files[0].readinto(buffer):
                return count
            self._files.pop(0).close()
        return 0


def join(folder: Path, name: str, target: Path) -> dict[str, Any]:
    """Check all pieces of ``name``, extract them to ``target``, return the manifest.

    Raises PiecesMissing, and OfflineError for what is damaged or not safe to extract.
    """
    found = manifest(folder, name)
    if absent := missing(folder, found["pieces"]):
        raise PiecesMissing(absent, folder)
    target.mkdir(parents=True, exist_ok=True)
    joined = io.BufferedReader(_Joined([folder / each["name"] for each in found["pieces"]]), BLOCK)
    try:
        with tarfile.open(mode="r|gz", fileobj=joined) as archive:
            archive.extractall(target, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise OfflineError(f"{folder}: {name} cannot be extracted ({error}); pack it again") from error
    return found


def below(folder: Path, inside: str) -> list[tuple[Path, str]]:
    """Return all files below ``folder``, with names below ``inside``."""
    return [
        (path, f"{inside}/{path.relative_to(folder).as_posix()}")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
