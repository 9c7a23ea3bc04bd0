"""Locks on runs: one process works on a run at a time, on whatever machine, and the system frees it if that dies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vqbench.errors import Unwritable

NAME = "lock"  # of the file in a run's folder


@contextmanager
def hold(folder: Path) -> Iterator[bool]:
    """Hold the run's ``folder``, which is made if it is missing; yields whether it is held.

    These are flock's locks, which NFS (from version 4) and a Lustre mounted with ``flock`` keep between machines. Where
    flock is missing, filelock makes marker files instead, and clears those of processes that died on the same machine;
    one left by another machine must be deleted by hand. Where a mount keeps locks on each machine alone
    (``local_lock``), two machines may do a run twice: a loss of time, since each file is written whole.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / NAME)
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(Timeout):
                lock.acquire(timeout=0)
            if not lock.is_locked or (folder / NAME).exists():
                break
            lock.release()  # of a file that another process has just removed, with a folder that was empty
    except NotImplementedError as error:  # by versions of filelock that make no markers
        raise Unwritable(f"{folder}: no locks on this file system; name another --store") from error
    except OSError as error:
        raise Unwritable(
            f"{folder}: cannot write ({error.strerror or error}); free space or mend its permissions"
        ) from error
    try:
        yield lock.is_locked
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process holds the run's ``folder``. A shared lock tells, for which a right to read is enough."""
    path = folder / NAME
    try:
        import fcntl

        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # then the file exists only while it is held
            return True
        return error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK) and os.access(path, os.R_OK)
    except ImportError:  # no Unix
        return path.exists()
    return False
