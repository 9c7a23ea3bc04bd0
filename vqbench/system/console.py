"""Make all printed text visible and encodable, so that no command fails for it.

Labels, reasons, and names of files and devices are arbitrary text. Their escape sequences, direction marks and other
control characters are replaced by codes (``\\x1b``, ``\\u202e``) in one place, :func:`visible`. Standard output and
error pass through it inside :func:`guarded`; :func:`~vqbench.system.output.write_text` applies it to files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vqbench.errors import StoreError

# C0 but tab and line feed, DEL, C1; marks without a width, of direction, of lines and of annotations; tags; surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
# Substitutes for encodings that lack these characters; of the same width where possible, so that columns stay aligned.
_NARROW = str.maketrans("↑↓→–−—×·÷²µμ‖’‘“”", "^v>---x./2uu|''\"\"")
_WIDE = str.maketrans({"±": "+-", "≤": "<=", "≥": ">=", "…": "...", "√": "sqrt", "Σ": "sum"})


def visible(text: str) -> str:
    """Replace control characters of ``text`` by codes; line feeds and tabs stay.

    A byte of a file name that is not UTF-8 is replaced by its code, too.

    >>> print(visible("a\\x1b[31mb\\u202e"))
    a\\x1b[31mb\\u202e
    """
    return _HIDDEN.sub(lambda match: _code(match[0]), text)


def one_line(text: str) -> str:
    """Make ``text`` visible on one line, with single blanks."""
    return visible(" ".join(text.split()))


def encodable(text: str, encoding: str) -> str:
    """Replace characters that ``encoding`` lacks by substitutes or codes.

    >>> print(encodable("PSNR ↑ 1 ± 2 中", "ascii"))
    PSNR ^ 1 +- 2 \\u4e2d
    """
    if _fits(text, encoding):
        return text
    return "".join(char if _fits(char, encoding) else _substitute(char, encoding) for char in text)


def _substitute(char: str, encoding: str) -> str:
    other = char.translate(_NARROW).translate(_WIDE)
    return other if other != char and _fits(other, encoding) else _code(char)


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _code(char: str) -> str:
    number = ord(char)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class Stream:
    """A text stream that accepts every text.

    If the reader of a pipe is gone, or a stream of messages cannot be written, the rest of the text is dropped and the
    work continues.

    Args:
        stream: the stream to write to.
        hide: whether to replace control characters by their codes; progress bars need theirs.
        results: whether the stream has results: writing raises StoreError if they cannot be written, as on a full disk.
    """

    def __init__(self, stream: Any, hide: bool = True, results: bool = False) -> None:
        self.stream, self.hide, self.results = stream, hide, results
        self.lost = ""  # why some results could not be written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        shown = visible(text) if self.hide else text
        with self._survives():
            self.stream.write(encodable(shown, getattr(self.stream, "encoding", None) or "utf-8"))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._survives():
            self.stream.flush()
        lost, self.lost = self.lost, ""
        if lost:  # again, as the writer may have caught the first error
            raise StoreError(lost)

    @contextmanager
    def _survives(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _discard(self.stream)
            if self.results and not isinstance(error, BrokenPipeError):  # `vqbench table | head` is fine
                self.lost = f"standard output: cannot be written ({error.strerror or error})"
                raise StoreError(self.lost) from error


def _discard(stream: Any) -> None:
    """Discard all text that is still to be written to ``stream``.

    This includes what Python writes at the end of the process.
    """
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def install() -> None:
    """Wrap standard output and error of this process in :class:`Stream` from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Stream):  # None: closed by the shell, and print is silent
            setattr(sys, name, Stream(stream, results=name == "stdout"))


@contextmanager
def guarded() -> Iterator[None]:
    """Wrap standard output and error in :class:`Stream` inside the block."""
    before = sys.stdout, sys.stderr
    install()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def bars() -> Any | None:
    """Return a rich console on stderr for progress bars.

    None where stderr is a file, a pipe or a terminal that cannot draw them.
    """
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return None
    from rich.console import Console

    raw = stream.stream if isinstance(stream, Stream) else stream
    console = Console(file=Stream(raw, hide=False))  # type: ignore[arg-type]  # it has all methods of a file that rich calls
    return console if console.is_terminal and not console.is_dumb_terminal else None
