"""Sources of assets: official addresses, and packages that contain them.

A source downloads files to a folder. A package is fetched by the client on this machine, which is configured with the
registries, mirrors and credentials of its user, and is opened as an archive: never installed, never executed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vqbench.assets.content import digest_of_file
from vqbench.assets.download import Progress, SourceError, download

PATIENCE_SECONDS: Final = 60.0  # for a client that writes nothing
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True)
class AssetSource:
    """A source of the files of an asset; ``size`` is approximate, in bytes."""

    size: int

    @property
    def label(self) -> str:
        """The source as a message names it."""
        raise NotImplementedError

    @property
    def slug(self) -> str:
        """The label as the name of a folder."""
        return re.sub(r"[^\w.=-]+", "_", self.label)

    def bring(self, folder: Path, progress: Progress | None = None) -> None:
        """Download the files to ``folder``.

        Raises SourceError, or OSError if the folder cannot be written.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Address(AssetSource):
    """Files below one official address."""

    base: str
    files: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.base + self.files[0] if len(self.files) == 1 else self.base

    def bring(self, folder: Path, progress: Progress | None = None) -> None:
        for file in self.files:
            before = sum(path.stat().st_size for path in folder.glob("*") if path.name in self.files)
            download(self.base + file, folder / file, _shifted(progress, before, self.size))


@dataclass(frozen=True)
class Package(AssetSource):
    """One version of a package, with its sha256 where that never changes."""

    name: str
    version: str
    sha256: str = ""
    client = "package"

    @property
    def label(self) -> str:
        return f"{self.client} {self.name}=={self.version}" if self.version else f"{self.client} {self.name}"

    def check(self, path: Path) -> None:
        """Raise SourceError, and delete ``path``, for another sha256."""
        if self.sha256 and (actual := digest_of_file(path)) != self.sha256:
            path.unlink()
            raise SourceError(f"{path.name} has sha256 {actual}, not {self.sha256}")

    def check_all(self, folder: Path, pattern: str) -> None:
        """Check the archives in ``folder``, of which at least one must exist."""
        archives = sorted(folder.glob(pattern))
        if not archives:
            raise SourceError(f"{self.client} downloaded no {pattern}")
        for path in archives:
            self.check(path)


class Wheel(Package):
    """A wheel from the Python package index that pip is set up for."""

    client = "pip"

    def bring(self, folder: Path, progress: Progress | None = None) -> None:
        flags = ["--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir", "--progress-bar=off", "-d", "."]
        _call([*_pip(), "download", "--no-deps", *flags, f"{self.name}=={self.version}"], folder, progress, self.size)
        self.check_all(folder, "*.whl")


class Sdist(Package):
    """A source archive from the Python package index that pip is set up for.

    To download a source archive, pip would run its ``setup.py``. Restricted to binaries it refuses, but its log
    contains the address of the archive.
    """

    client = "pip"

    def bring(self, folder: Path, progress: Progress | None = None) -> None:
        flags = ["--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir", "-vv", "-d", "."]
        call = [*_pip(), "download", "--no-deps", *flags, f"{self.name}=={self.version}"]
        log = _call(call, folder, None, 0, may_fail=True)
        links = self.links(log)
        if not links:
            raise SourceError(f"pip finds no source archive of it ({_complaint(log)})")
        path = folder / links[0].rpartition("/")[2]
        download(links[0], path, _shifted(progress, 0, self.size))
        self.check(path)

    def links(self, log: str) -> list[str]:
        """Return the addresses of this archive in a log of pip, each once."""
        name = re.sub(r"[-_.]+", "[-_.]", self.name)
        addresses = re.findall(rf"(?:https?|file)://[^\s\"'<>()]*/{name}-{re.escape(self.version)}\.tar\.gz", log)
        return list(dict.fromkeys(addresses))


class Npm(Package):
    """A package from the JavaScript registry that npm is set up for."""

    client = "npm"

    @property
    def label(self) -> str:
        return f"npm {self.name}@{self.version}"

    def bring(self, folder: Path, progress: Progress | None = None) -> None:
        npm = _which("npm")
        flags = ["--ignore-scripts", "--fetch-retries=1", "--no-update-notifier", f"--cache={folder / 'npm-cache'}"]
        try:
            _call([npm, "pack", *flags, f"{self.name}@{self.version}"], folder, progress, self.size)
        finally:
            shutil.rmtree(folder / "npm-cache", ignore_errors=True)
        self.check_all(folder, "*.tgz")


class Deb(Package):
    """A package from the Debian archive that apt is set up for, in any version."""

    client = "apt"

    def bring(self, folder: Path, progress: Progress | None = None) -> None:
        _which("dpkg-deb")
        flags = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10"]
        _call([_which("apt-get"), *flags, "download", self.name], folder, progress, self.size)
        self.check_all(folder, "*.deb")


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip", "--retries=1", "--disable-pip-version-check"]
    return [_which("pip"), "--retries=1", "--disable-pip-version-check"]


def _which(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise SourceError(f"{program} is not installed on this machine")
    return path


def _shifted(progress: Progress | None, before: int, size: int) -> Progress | None:
    """Convert the progress of one part of a source to that of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(before + done, max(size, before + (total or done)))


def _call(command: Sequence[str], folder: Path, progress: Progress | None, size: int, *, may_fail: bool = False) -> str:
    """Run a package client in ``folder`` and return its output.

    Progress is the growth of the folder. Raises SourceError if the client fails, or if the folder does not grow for
    PATIENCE_SECONDS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "client"
    scratch.mkdir(exist_ok=True)
    log = scratch / "log.txt"
    environment = os.environ | {
        "TMPDIR": str(scratch),
        "LC_ALL": "C.UTF-8",
    }  # its temporary files are deleted with the folder
    try:
        with log.open("wb") as output:
            client = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            _watch(client, folder, progress, size)
        text = log.read_text(encoding="utf-8", errors="replace")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if client.returncode and not may_fail:
        raise SourceError(_complaint(text) or f"{command[0]} failed with exit code {client.returncode}")
    if progress:
        progress(size, size)
    return text


def _watch(client: subprocess.Popen[bytes], folder: Path, progress: Progress | None, size: int) -> None:
    """Wait for ``client``; end it when it hangs or we are interrupted."""
    seen, since = -1, time.monotonic()
    try:
        while client.poll() is None:
            grown = _bytes_below(folder)
            if grown != seen:
                seen, since = grown, time.monotonic()
                if progress:
                    progress(min(grown, size), size)
            elif time.monotonic() - since > PATIENCE_SECONDS:
                raise SourceError(f"nothing received for {PATIENCE_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)
    finally:
        if client.poll() is None:
            client.terminate()
            try:
                client.wait(5)
            except subprocess.TimeoutExpired:
                client.kill()
                client.wait()


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # the client moves its files in the meantime
                total += os.stat(os.path.join(root, name)).st_size
    return total


def _complaint(log: str) -> str:
    """Return the errors in a client's log, short enough for a sentence."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    wrong = [line for line in lines if re.match(r"(ERROR|E:|npm (error|ERR!))", line) and "complete log" not in line]
    return "; ".join(wrong or lines[-1:])[:250]
