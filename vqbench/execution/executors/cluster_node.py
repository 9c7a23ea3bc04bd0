"""What happens on a node of a cluster: one run, in a process of its own, in a results folder for this run alone.

The process is watched as on any machine (:mod:`.local`): what crashes there, or takes too long,
costs this run alone, and the last lines of its log are kept. Whatever changes in the folder goes to who handed the run
out: checkpoints as they are written, the rest at the end. Nothing stays on the node but data and weights.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import vqbench
from vqbench import assets
from vqbench.errors import UsageError
from vqbench.execution.executors.file_sync import Files, Seen, pack, unpack
from vqbench.execution.executors.local import LocalExecutor
from vqbench.execution.executors.messages import Advanced, Said, Setup, Started
from vqbench.execution.results import Listener, RunResult, Summary
from vqbench.execution.stopping import Stop
from vqbench.execution.wait_policy import waiting
from vqbench.planning.jobs import Job
from vqbench.spec import RunSpec
from vqbench.store.results import ResultStore

TELL_EVERY = 0.5  # seconds between two words to who handed the run out

Tell = Callable[[list[object], Files], bool]  # messages, and files that changed -> whether to keep the work and end


@dataclass(frozen=True)
class RemoteJob:
    """A run and all that is needed to carry it out where nothing is but vqbench itself."""

    job: Job
    files: Files  # what there is of the run: its last checkpoint, or its record and weights
    plugins: Files  # those that the user named
    assets: tuple[str, ...]  # data and weights that the node must have
    device: str
    threads: int  # of the processor, unless the node's user has set another number
    timeout: float | None  # seconds
    variables: dict[str, str]  # of the environment
    version: str  # of vqbench


@dataclass(frozen=True)
class RemoteResult:
    """How an errand ended. ``evicted``: the node told it to stop, so it is to go on elsewhere."""

    ended: RunResult
    files: Files  # that changed and were not sent before
    evicted: bool = False


class RemoteLink(Stop):
    """A run's connection to who handed it out: a Listener that tells there, and a Stop that asks there."""

    def __init__(self, tell: Tell, folder: Path, seen: Seen) -> None:
        super().__init__()
        self.folder, self.seen = folder, seen  # of the run
        self._send = tell
        self._messages: list[object] = []
        self._sent = time.monotonic()
        self._halted = False

    def __call__(self) -> bool:
        if time.monotonic() - self._sent > TELL_EVERY:
            self.send()
        return self._halted or super().__call__()

    def send(self) -> None:
        """Tell what is new, with the checkpoint if that is."""
        messages, self._messages = self._messages, []
        last = pack(self.folder, dict(self.seen), ("last.pt",))
        self._halted |= self._send(messages, pack(self.folder, self.seen) if last else {})
        self._sent = time.monotonic()

    def run_started(self, run: RunSpec, doing: str) -> None:
        self._messages.append(Started(doing))

    def advanced(self, run: RunSpec, done: int, total: int) -> None:
        self._messages.append(Advanced(done, total))

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        pass  # the whole of it is brought home

    def say(self, text: str) -> None:
        self._messages.append(Said(text))


class _Heard(Summary):
    """Remembers how the one run ended."""

    ended = RunResult("stopped", "stopped before it began")

    def note(self, job: Job, ended: RunResult, listener: Listener) -> None:
        if ended.how in ("refused", "unwritable"):  # nothing can be done here: raises what ends the whole work
            super().note(job, ended, listener)
        self.ended = ended


def carry_out(errand: RemoteJob, tell: Tell) -> RemoteResult:
    """Do one run. Raises VqbenchError where this node is not fit for any: no data, no disk, another vqbench."""
    if errand.version != vqbench.__version__:
        raise UsageError(f"this node has vqbench {vqbench.__version__}, not {errand.version}; install the same on all")
    os.environ.update(errand.variables)
    os.environ.setdefault("OMP_NUM_THREADS", str(errand.threads))
    os.environ.update(waiting(os.environ, processes=2))  # a node has other tasks
    for name in errand.assets:  # once a node: one process fetches, others wait, and later ones find it verified
        assets.fetch(name)
    with _scratch() as home:
        plugins = tuple(home / "plugins" / str(number) / name for number, name in enumerate(errand.plugins))
        for path, content in zip(plugins, errand.plugins.values(), strict=True):
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
        folder = ResultStore(home / "runs").folder(errand.job.run)
        unpack(folder, errand.files)
        seen: Seen = {}
        pack(folder, seen)  # what has just been written need not go back
        link = RemoteLink(tell, folder, seen)
        local = LocalExecutor(Setup(home / "runs", plugins), errand.device, link, link, 1, errand.timeout)
        local.outcome = heard = _Heard()
        local.execute([errand.job])
        link.send()
        return RemoteResult(heard.ended, pack(folder, seen), evicted=link.reason is not None)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for one run. Those that killed processes have left behind are removed."""
    root = Path(tempfile.gettempdir())
    for left in root.glob("vqbench-run-*"):
        number = left.name.split("-")[2]
        if number.isdecimal() and not _alive(int(number)):
            shutil.rmtree(left, ignore_errors=True)  # another user's stays
    home = Path(tempfile.mkdtemp(prefix=f"vqbench-run-{os.getpid()}-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
