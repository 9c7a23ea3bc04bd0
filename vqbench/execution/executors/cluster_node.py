"""One run on a node of a cluster, in a process and a results folder of its own.

The process is watched as on any machine (:mod:`~vqbench.execution.executors.local`): a crash, or a run that takes too
long, costs this run alone, and the last lines of its output are kept. Every file that changes in the folder is sent to
the driver: checkpoints and samples as they are written, the rest at the end. Only data and pretrained weights stay on
the node.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import vqbench
from vqbench import assets
from vqbench.errors import StoreError, Unwritable, UsageError
from vqbench.execution import loggers
from vqbench.execution.executors.executor import Summary
from vqbench.execution.executors.file_sync import Files, Seen, has_progress, pack, unpack
from vqbench.execution.executors.first_stages import FirstStageFiles, write_first_stage
from vqbench.execution.executors.local import LocalExecutor
from vqbench.execution.messages import LogMessage, ProgressListener, RunAdvanced, RunResult, RunSettings, RunStarted
from vqbench.execution.stopping import Stop
from vqbench.spec import Job, RunSpec
from vqbench.store.results import ResultStore
from vqbench.system.environment import waiting

SEND_EVERY = 0.5  # seconds between two messages to the driver

Post = Callable[[list[object], Files], bool]  # sends messages and changed files; returns whether to stop


@dataclass(frozen=True)
class RemoteJob:
    """A run with everything that a node needs beside vqbench itself."""

    job: Job
    settings: RunSettings  # plugins and logger by their paths at the driver
    files: Files  # of the run so far: its last checkpoint, or its record and weights
    user_files: tuple[bytes, ...]  # contents of the plugin files, and of the logger's file if it has one
    assets: tuple[str, ...]  # data and weights that the node must have
    threads: int  # of each of its processes, unless OMP_NUM_THREADS is set on the node
    timeout: float | None  # seconds
    variables: dict[str, str]  # of the environment
    version: str  # of vqbench
    first_stage: FirstStageFiles | None = None  # of the run that this one builds on


@dataclass(frozen=True)
class RemoteResult:
    """The result of a remote job, with the files that were not sent before."""

    result: RunResult
    files: Files
    evicted: bool = False  # whether the node stopped the run, which must then resume elsewhere


class RemoteLink(Stop):
    """The link of a remote run to its driver.

    A ProgressListener that posts messages, and the Stop that the driver requests.
    """

    def __init__(self, post: Post, folder: Path, seen: Seen) -> None:
        super().__init__()
        self.folder, self.seen = folder, seen  # of the run
        self._post = post
        self._messages: list[object] = []
        self._last_sent = time.monotonic()
        self._stopping = False

    def __call__(self) -> bool:
        if time.monotonic() - self._last_sent > SEND_EVERY:
            self.send()
        return self._stopping or super().__call__()

    def send(self) -> None:
        """Post all new messages, and the changed files if a run could resume from them."""
        messages, self._messages = self._messages, []
        files = pack(self.folder, self.seen) if has_progress(self.folder, self.seen) else {}
        self._stopping |= self._post(messages, files)
        self._last_sent = time.monotonic()

    def run_started(self, run: RunSpec, activity: str) -> None:
        self._messages.append(RunStarted(activity))

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        self._messages.append(RunAdvanced(done, total))

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        pass  # returned as a RemoteResult

    def log(self, text: str) -> None:
        self._messages.append(LogMessage(text))


class _SingleResult(Summary):
    """Keeps the result of the one run."""

    result = RunResult("stopped", "stopped before it began")

    def add(self, job: Job, result: RunResult, listener: ProgressListener) -> None:
        if result.status in ("refused", "store_unwritable"):  # no run can be done here: raises
            super().add(job, result, listener)
        self.result = result


def run_remote_job(remote_job: RemoteJob, post: Post, weights: bytes | None = None) -> RemoteResult:
    """Carry out one run on this node, and post its progress and checkpoints.

    ``weights``: of its first stage, if it has one.

    Raises VqbenchError where the node can carry out no run: no data, a full disk, another version of vqbench.
    """
    if remote_job.version != vqbench.__version__:
        raise UsageError(
            f"this node has vqbench {vqbench.__version__}, not {remote_job.version}; install the same on all"
        )
    os.environ.update(remote_job.variables)
    os.environ.setdefault("OMP_NUM_THREADS", str(remote_job.threads))
    os.environ.update(waiting(os.environ, processes=2))  # a node has other tasks
    with remote_job.settings.downloads():
        for name in remote_job.assets:  # one process per node fetches, others wait, and later ones find verified files
            assets.fetch(name)
    with _temporary_folder() as home:
        settings = _write_user_files(home / "user", remote_job)
        store, job = ResultStore(home / "runs"), remote_job.job
        if job.first_stage is not None and remote_job.first_stage is not None:
            try:
                write_first_stage(store, job.first_stage, remote_job.first_stage, weights)
            except Unwritable:
                raise
            except StoreError as error:
                return RemoteResult(RunResult("machine_fault", str(error)), {})
        folder = store.folder(job.run)
        unpack(folder, remote_job.files)
        seen: Seen = {}
        pack(folder, seen)  # files that came from the driver need not be sent back
        link = RemoteLink(post, folder, seen)
        executor = LocalExecutor(store.root, settings, link, link, workers=1, timeout=remote_job.timeout)
        executor.summary = summary = _SingleResult()
        executor.execute([job])
        link.send()
        return RemoteResult(summary.result, pack(folder, seen), evicted=link.cause is not None)


def user_files(settings: RunSettings) -> tuple[Path, ...]:
    """Return the plugin files of ``settings``, then the logger's file if it has one."""
    file = loggers.logger_file(settings.logger or "")
    return settings.plugins if file is None else (*settings.plugins, file)


def _write_user_files(folder: Path, remote_job: RemoteJob) -> RunSettings:
    """Write the user's files below ``folder``.

    Returns the settings that name them there.
    """
    settings = remote_job.settings
    paths = [folder / str(number) / path.name for number, path in enumerate(user_files(settings))]
    for path, content in zip(paths, remote_job.user_files, strict=True):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    plugins, logger_files = paths[: len(settings.plugins)], paths[len(settings.plugins) :]
    logger = settings.logger
    if logger and logger_files:
        logger = f"{logger_files[0]}:{logger.rpartition(':')[2]}"
    return replace(settings, plugins=tuple(plugins), logger=logger)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Yield a folder for one run, which is removed at the end.

    Folders that killed processes of this host have left behind are removed, too; hosts may share the place.
    """
    root, host = Path(tempfile.gettempdir()), socket.gethostname()
    for leftover in root.glob("vqbench-run-*"):
        named = re.fullmatch(rf"vqbench-run-(\d+)-{re.escape(host)}-[^-]+", leftover.name)
        if named and not _is_alive(int(named[1])):
            shutil.rmtree(leftover, ignore_errors=True)  # another user's folder stays
    home = Path(tempfile.mkdtemp(prefix=f"vqbench-run-{os.getpid()}-{host}-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    return True
