"""Time updates in every setting, in one process or in several side by side on one device.

An update is the recipe's own loop on random images (``vqbench.profiling.timing.StepTimer``). All processes of a setting
start each round together, so that they compete as trainings side by side do. One line of JSON per setting is appended
as soon as it is measured; settings that the file has already are not measured again.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

from settings import CAPTURE, REFUSED, SCALES, SUITE, TRAINED_LAYOUT, Scale, Setting, as_dict

PATIENCE = 300.0  # seconds that one process waits for the others
WAITED = "BrokenBarrierError"  # of a process that waited for one that failed
SINGLE = 1.5  # a setting is begun where this many times the longest one so far are left


@dataclass(frozen=True)
class Subjects:
    """Rows of the suite by data set and label: what to build, and how long a whole training is."""

    subjects: dict[str, dict[str, Any]]
    shapes: dict[str, Any]  # RandomImages by data set
    updates: dict[str, dict[str, int | None]]
    runs: dict[str, str]  # "data set, label" by the key of the run

    @classmethod
    def of(cls, scale: Scale) -> Subjects:
        """Resolve the suite of ``scale``."""
        from vqbench import load_suite, registry
        from vqbench.profiling.subjects import Size, Subject
        from vqbench.profiling.timing import RandomImages

        plan = load_suite(SUITE, **scale.times).resolve([])
        found = cls({}, {}, {}, {})
        for entry in plan.entries:
            data, part = registry.load("datasets", entry.dataset), entry.run.quantizer
            like = RandomImages(scale.batch, data.channels, data.size)
            size = Size(like.batch * like.positions, part.args["num_codes"], part.args["dim"])
            found.shapes[entry.dataset] = like
            subject = Subject(entry.label, part.name, part.version, dict(part.args), size)
            found.subjects.setdefault(entry.dataset, {})[entry.label] = subject
            found.runs[entry.run.key] = f"{entry.dataset}, {entry.label}"
            found.updates.setdefault(entry.dataset, {})[entry.label] = plan.length(entry.run).updates
        return found


def seconds_of_updates(setting: Setting, subjects: Subjects, updates: int, device: str, together: Any) -> list[float]:
    """Return seconds per update, one number per round, of one process.

    ``together``: a barrier of all processes of the setting. Raises NotCaptured where the updates of a captured
    setting are computed one by one.
    """
    import torch

    from vqbench.profiling.timing import GPU_CALLS, Rounds, StepTimer
    from vqbench.training.engine import Engine

    class Timer(StepTimer):
        """Builds the model in the layout of the setting."""

        def model(self, dataset: Any) -> Any:
            built = super().model(dataset)
            if setting.layout == TRAINED_LAYOUT:
                return built
            return built.to(memory_format=torch.contiguous_format)

    subject, like = subjects.subjects[setting.dataset][setting.row], subjects.shapes[setting.dataset]
    refusals: list[str] = []
    more: dict[str, Any] = {CAPTURE: refusals.append} if setting.captured else {}
    target = Engine(device).device
    between = Rounds({"together": lambda: together.wait(PATIENCE)}, target)
    rounds = max(1, updates // GPU_CALLS) if target.type == "cuda" else updates
    samples = Timer(subject, like, setting.precision, device, **more).timed(between, rounds)  # type: ignore[arg-type]
    if refusals:
        raise NotCaptured(refusals[0])
    return samples


class NotCaptured(Exception):
    """Updates were computed one by one; the reason."""


@dataclass(frozen=True)
class Shared:
    """What the processes share."""

    gate: Any  # barrier of all processes, before each setting
    together: Sequence[Any]  # a barrier for each setting, of the processes that work on it
    stop_at: Any  # number of the first setting that is not begun
    results: Any  # queue of (setting's number, process, seconds or None, what failed)


def worker(number: int, scale_name: str, device: str, todo: Sequence[Setting], deadline: float, shared: Shared) -> None:
    """Measure the settings that process ``number`` takes part in; process 0 watches the deadline."""
    import torch

    scale = SCALES[scale_name]
    subjects = Subjects.of(scale)
    longest, started = 0.0, time.monotonic()
    for index, setting in enumerate(todo):
        if number == 0 and time.monotonic() + SINGLE * longest > deadline:
            shared.stop_at.value = index
        shared.gate.wait(PATIENCE)
        if index >= shared.stop_at.value:
            break
        if index:  # all processes are ready for the next
            longest = max(longest, time.monotonic() - started)
        started = time.monotonic()
        if number >= setting.jobs:
            continue
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // setting.jobs))
        together = shared.together[index]
        try:
            found = seconds_of_updates(setting, subjects, scale.updates, device, together)
            shared.results.put((index, number, found, None))
        except Exception as error:  # of any kind: it belongs into the table, and the other settings go on
            together.abort()
            shared.results.put((index, number, None, _reason(error)))
        with suppress(RuntimeError):  # of an allocator that a failed capture has left behind
            torch.cuda.empty_cache()  # nothing where no GPU is used


def _reason(error: Exception) -> str:
    """Return one line for the table."""
    text = " ".join(str(error).split())[:200] or "another process failed"
    return REFUSED + text if isinstance(error, NotCaptured) else f"{type(error).__name__}: {text}"


def measure(scale_name: str, device: str, path: Path, seconds: float) -> bool:
    """Measure the settings that ``path`` lacks; return whether it then has all."""
    from vqbench.system.environment import LARGE_PAGES
    from vqbench.system.provenance import current_provenance
    from vqbench.training.engine import Engine

    deadline = time.monotonic() + seconds
    os.environ.update(LARGE_PAGES)  # as the processes of `run` have it
    scale = SCALES[scale_name]
    subjects = Subjects.of(scale)
    wanted = scale.settings(subjects.subjects)
    done = {Setting(**line["setting"]) for line in lines(path) if "setting" in line}
    todo = [setting for setting in wanted if setting not in done]
    if not done:
        head = {
            "machine": current_provenance(Engine(device).device),
            "updates": subjects.updates,
            "runs": subjects.runs,
        }
        _append(path, head | {"timed": scale.updates, "batch": scale.batch, "settings": len(wanted)})
    for index, found in _measured(scale_name, device, todo, deadline, max(scale.jobs)):
        problems = sorted((reason for _, reason in found if reason), key=lambda each: each.startswith(WAITED))
        problem = problems[0] if problems else None  # that of the process which failed first
        medians = None if problem else [statistics.median(samples) for samples, _ in found]
        _append(path, {"setting": as_dict(todo[index]), "seconds": medians, "problem": problem})
        done.add(todo[index])
    return len(done) == len(wanted)


def _measured(
    scale_name: str, device: str, todo: Sequence[Setting], deadline: float, processes: int
) -> Iterator[tuple[int, list[tuple[Any, Any]]]]:
    """Yield the number of each finished setting, and what its processes measured."""
    if not todo:
        return
    context = get_context("spawn")
    shared = Shared(
        context.Barrier(processes),
        [context.Barrier(setting.jobs) for setting in todo],
        context.Value("i", len(todo)),
        context.Queue(),
    )
    arguments = (scale_name, device, todo, deadline, shared)
    workers = [context.Process(target=worker, args=(number, *arguments), daemon=True) for number in range(processes)]
    for each in workers:
        each.start()
    waiting: dict[int, list[tuple[Any, Any]]] = {}
    ended = 0  # settings
    for index, samples, reason in _received(shared.results, workers):
        waiting.setdefault(index, []).append((samples, reason))
        if len(waiting[index]) == todo[index].jobs:
            ended += 1
            yield index, waiting.pop(index)
    crashed = [each.exitcode for each in workers if each.exitcode]
    if crashed and ended < len(todo):
        yield ended, [(None, f"a process ended with exit code {crashed[0]}")]


def _received(results: Any, workers: list[Any]) -> Iterator[tuple[int, Any, Any]]:
    """Yield what the workers send, until all have ended; if one crashes, the others are stopped."""
    while True:
        codes = [each.exitcode for each in workers]
        try:
            index, _, samples, reason = results.get(timeout=0.5)
        except Empty:
            if None not in codes:
                return
            if any(codes):
                for each in workers:
                    each.kill()
                    each.join()
                workers[:] = [each for each, code in zip(workers, codes, strict=True) if code]
            continue
        yield index, samples, reason


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of times that are whole."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:  # a process that was killed while it wrote
            continue
    return found


def _append(path: Path, line: dict[str, Any]) -> None:
    started = not path.is_file() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a") as file:
        file.write(("" if started else "\n") + json.dumps(line) + "\n")
