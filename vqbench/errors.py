"""Errors that a user can act on.

Each message states what is wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VqbenchError(Exception):
    """Base of all errors that are shown as one sentence, without a traceback.

    ``exit_code`` is that of the process.
    """

    exit_code = 1


class UsageError(VqbenchError):
    """A wrong command line, suite, name or plugin: nothing was started."""

    exit_code = 2


class NotDistributed(UsageError):
    """A run that cannot be trained on several devices, only on one."""


class AssetError(VqbenchError):
    """Data or weights that cannot be fetched, or have the wrong content."""


class AbsentData(AssetError):
    """The folder of a data set is not on this machine, so its content is unknown."""


class RunError(VqbenchError):
    """One run fails (a NaN loss, too few features); the others of its suite continue."""


class StoreError(VqbenchError):
    """A results folder or one of its files cannot be read or written."""


class Damaged(StoreError):
    """A file of a results folder is truncated or altered."""


class Unwritable(StoreError):
    """A results folder that cannot be written to, so none of its runs continue.

    It is full or read-only.
    """


class Interrupted(VqbenchError):
    """The user stopped the work; everything done so far is kept."""

    exit_code = 130


class TimeUp(Interrupted):
    """The time limit is reached; work is kept, and the same command resumes."""

    exit_code = 3


class Evicted(Interrupted):
    """A signal of the system stopped the work (SIGTERM, SIGUSR1).

    A scheduler may requeue it: EX_TEMPFAIL.
    """

    exit_code = 75


def nearest(name: object, known: Iterable[str]) -> str:
    """Name the known name nearest to a wrong one, and all known ones.

    >>> nearest("l3", ["l1", "psnr"])
    "did you mean 'l1'? known: l1, psnr"
    """
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"


def counted(number: int, what: str) -> str:
    """Format a number of things, in the singular for one.

    >>> counted(1, "epoch"), counted(2000, "image")
    ('1 epoch', '2,000 images')
    """
    return f"{number:,} {what}{'s' * (number != 1)}"


def named(error: BaseException) -> str:
    """Format an error of foreign code: its type, and its message if it has one.

    >>> named(ValueError("too small")), named(SystemExit())
    ('ValueError: too small', 'SystemExit')
    """
    return f"{type(error).__name__}: {error}".removesuffix(": ")


LONGEST = 400  # characters of a message, and
LONG = 240  # of one word of it, such as a path


def shortened(text: str, length: int = 60) -> str:
    """Shorten ``text`` to at most ``length`` characters by leaving out its middle.

    >>> shortened("a rather long name", 11)
    'a rath...me'
    """
    if len(text) <= length:
        return text
    kept = length - 3
    return f"{text[: kept - kept // 3]}...{text[len(text) - kept // 3 :]}"


def sentence(error: object) -> str:
    """Format an error for printing, a few hundred characters at most.

    Long words are cut in the middle.
    """
    words = [shortened(word, LONG) for word in str(error).split(" ")]
    return shortened(" ".join(words), LONGEST)
