"""The results of a folder, or those that a commit or a date of its history has."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqbench.errors import UsageError
from vqbench.store.results import ResultStore
from vqbench.system.paths import path_of

GIT_SECONDS = 60.0


@contextmanager
def state(name: str, results: Path) -> Iterator[ResultStore]:
    """Yield the store of a folder, or a temporary copy of that of a commit or a date."""
    if path_of(name).is_dir():
        yield ResultStore(path_of(name))
        return
    root = Path(
        _git(
            Path.cwd(),
            "rev-parse",
            "--show-toplevel",
            wrong=f"{name}: no folder, and commits and dates need a git checkout, which this is not; name two folders",
        )
    )
    commit = name
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", name):
        commit = _git(root, "rev-list", "-1", f"--before={name}T23:59:59", "HEAD")
        if not commit:
            raise UsageError(f"{name}: this repository has no commit of that day or earlier")
    elif name.startswith("-"):
        raise UsageError(f"{name}: neither a folder nor a commit nor a date")
    wrong = f"{name}: neither a folder, nor a commit of this repository, nor a date such as 2026-01-31"
    commit = _git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", wrong=wrong)
    inside = results.resolve()
    if not inside.is_relative_to(root.resolve()):
        raise UsageError(f"{results}: not in this repository, so it has no history; name two folders instead")
    path = inside.relative_to(root.resolve()).as_posix()
    packed = _called(root, "archive", commit, "--", path)
    if packed.returncode:
        raise UsageError(f"{name}: that commit has no {path}/")
    with tempfile.TemporaryDirectory(prefix="vqbench-") as folder:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            try:
                archive.extractall(folder, filter="data")
            except (tarfile.TarError, OSError) as error:
                raise UsageError(f"{name}: {path}/ of that commit cannot be unpacked ({error})") from error
        yield ResultStore(Path(folder) / path)


def _git(root: Path, *words: str, wrong: str = "") -> str:
    completed = _called(root, *words, wrong=wrong)
    if completed.returncode and wrong:
        raise UsageError(wrong)
    return os.fsdecode(completed.stdout).strip()


def _called(root: Path, *words: str, wrong: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run git in ``root``.

    Raises UsageError where git is missing or takes longer than GIT_SECONDS.
    """
    try:
        return subprocess.run(
            ["git", "-C", str(root), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=GIT_SECONDS,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:  # ValueError: a NUL in an argument
        raise UsageError(f"{wrong or 'the past of a folder'}; git cannot be called ({error})") from error
