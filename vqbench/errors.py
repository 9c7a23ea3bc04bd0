"""Errors that a user can act on: each says who, what and where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VqbenchError(Exception):
    """Base of all errors that are shown as one sentence, without a traceback. ``exit_code`` is the process's."""

    exit_code = 1


class UsageError(VqbenchError):
    """A wrong command line, suite, name or plugin: nothing was started."""

    exit_code = 2


class NotDistributed(UsageError):
    """A run that must not be trained on several devices; on one it may be."""


class AssetError(VqbenchError):
    """Data or weights that cannot be had, or are not what they should be."""


class AbsentData(AssetError):
    """The folder of a data set is not on this machine, so that nothing can be said of what it holds."""


class RunError(VqbenchError):
    """One run cannot go on (a NaN loss, too few features); the suite goes on without it."""


class StoreError(VqbenchError):
    """A results folder or one of its files cannot be read or written."""


class Damaged(StoreError):
    """A file of a results folder is truncated or altered: not what was written."""


class Unwritable(StoreError):
    """Nothing can be written to a results folder (full, or read-only), so that no run of it can go on."""


class Interrupted(VqbenchError):
    """The user stopped the work; what was done so far is kept."""

    exit_code = 130


class TimeUp(Interrupted):
    """The time limit is reached; the work so far is kept, and the same command resumes."""

    exit_code = 3


class Evicted(Interrupted):
    """The machine told the work to stop (SIGTERM, SIGUSR1); a scheduler may queue it again: EX_TEMPFAIL."""

    exit_code = 75


def nearest(name: object, known: Iterable[str]) -> str:
    """The clause that helps after a wrong name: the nearest known one, and all that are known.

    >>> nearest("l3", ["l1", "psnr"])
    "did you mean 'l1'? known: l1, psnr"
    """
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"


def counted(number: int, what: str) -> str:
    """A number of things, in the singular where it is one.

    >>> counted(1, "epoch"), counted(2000, "image")
    ('1 epoch', '2,000 images')
    """
    return f"{number:,} {what}{'s' * (number != 1)}"


LONGEST = 400  # characters of a message, and
LONG = 240  # of one word of it, such as a path


def shortened(text: str, length: int = 60) -> str:
    """``text`` with its middle left out where it is longer than ``length``.

    >>> shortened("a rather long name", 11)
    'a rath...me'
    """
    if len(text) <= length:
        return text
    kept = length - 3
    return f"{text[: kept - kept // 3]}...{text[len(text) - kept // 3 :]}"


def sentence(error: object) -> str:
    """What an error says, fit to be printed: a few hundred characters at most, long words cut in the middle."""
    words = [shortened(word, LONG) for word in str(error).split(" ")]
    return shortened(" ".join(words), LONGEST)
