"""Locks on the folders of runs, so that one process works on a run.

They hold between machines, and the operating system releases the lock of a process that dies.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vqbench.errors import Unwritable

LOCK_NAME = "lock"  # of the file in a run's folder


@contextmanager
def lock_folder(folder: Path) -> Iterator[bool]:
    """Lock a run's ``folder``, which is created if it is missing.

    Yields whether this process now holds the lock.

    These are flock's locks, which NFS (from version 4) and a Lustre mounted with ``flock`` keep between machines. Where
    flock is missing, filelock creates marker files instead, and removes those of processes that died on the same
    machine; one left by another machine must be deleted by hand. Where a mount keeps locks on each machine alone
    (``local_lock``), two machines may do a run twice: a loss of time, since each file is written whole.

    Raises Unwritable where the folder cannot be written, or its file system has no locks.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_NAME)
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(Timeout):
                lock.acquire(timeout=0)
            if not lock.is_locked or (folder / LOCK_NAME).exists():
                break
            lock.release()  # of a file that another process has just removed, with a folder that was empty
    except NotImplementedError as error:  # raised by versions of filelock that create no markers
        raise Unwritable(f"{folder}: no locks on this file system; name another --store") from error
    except OSError as error:
        raise Unwritable(
            f"{folder}: cannot write ({error.strerror or error}); free space or mend its permissions"
        ) from error
    try:
        yield lock.is_locked
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of ``folder``.

    Tries a shared lock, for which permission to read is enough.
    """
    path = folder / LOCK_NAME
    try:
        import fcntl

        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # no flock: the file exists only while the lock is held
            return True
        return error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK) and os.access(path, os.R_OK)
    except ImportError:  # not on Unix
        return path.exists()
    return False
