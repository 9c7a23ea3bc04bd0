"""Measure pairs of images in one pass that can be stopped and resumed."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqbench import protocol, registry
from vqbench.errors import UsageError
from vqbench.evaluation.image_pairs import PairSettings, started_pass
from vqbench.evaluation.reconstructions import MetricPass
from vqbench.measuring.image_digests import with_codes
from vqbench.measuring.inputs.image_input import DamagedImage, all_damaged
from vqbench.measuring.kept_measurement import KeptMeasurement, PassProgress, key_of
from vqbench.measuring.models.model_inputs import ModelInputs
from vqbench.measuring.pair_inputs import PairInputs, left_out
from vqbench.measuring.value_rows import value_rows
from vqbench.system.locks import lock_folder

SAVED_EVERY = 30.0  # seconds between two states on disk


@dataclass(frozen=True)
class MeasuredPairs:
    """Values of pairs of images, the images by name, and how they were read."""

    rows: list[dict[str, Any]]  # see value_rows
    per_image: dict[str, np.ndarray]  # "protocol/metric" -> (N,)
    names: list[str]  # of the measured pairs, (N,)
    damaged: dict[str, str]  # name -> reason, of those left out
    notes: list[str]
    digests: np.ndarray  # (N, bytes) uint8 of each pair: original, reconstruction and, if any, codes
    resumed_at: int = 0  # pairs that an earlier call had read


@torch.no_grad()
def measure_pairs(
    inputs: PairInputs | ModelInputs,
    settings: PairSettings,
    kept: KeptMeasurement | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> MeasuredPairs:
    """Measure ``inputs``, from where an earlier call has stopped if ``kept``.

    Args:
        inputs: Pairs of images.
        settings: What they are measured by.
        kept: Where the state is saved, every half a minute and when the work is interrupted.
        progress: Called with (pairs read, pairs in all); may raise Interrupted.
        say: Called with a sentence if an earlier call is resumed.

    Raises:
        UsageError: Pairs that do not fit together; no image is left.
        DamagedImage: An image cannot be decoded.
        RunError: Images that are too few or too small for a metric.
    """
    with ExitStack() as held:
        if kept is not None and not held.enter_context(lock_folder(kept.folder)):
            raise UsageError(f"{kept.folder}: another process is measuring these images; wait for it")
        passed = started_pass(settings)
        state = PassProgress() if kept is None else kept.restore(passed)
        begun = state.position
        total = len(inputs.matched)
        if begun:
            where = f"at image {begun + 1:,} of {total:,}" if begun < total else f"after the last of {total:,} images"
            say(f"resumed {where}")
        inputs.options.require_sound(state.damaged)
        _pass(inputs, settings, passed, state, kept, progress)
        if not state.places:
            raise all_damaged([DamagedImage(*each) for each in state.damaged.items()])
        settings.require_images(len(state.places))
        measurement = passed.measurement(passed.counts, [passed.per_image])
    names = [inputs.matched.names[place] for place in state.places]
    notes = [*inputs.notes(), *left_out(state.damaged, "pair")]
    digests = np.frombuffer(b"".join(state.digests), np.uint8).reshape(len(names), -1)
    rows = value_rows(measurement, names)
    return MeasuredPairs(rows, measurement.images, names, state.damaged, notes, digests, begun)


def _pass(
    inputs: PairInputs | ModelInputs,
    settings: PairSettings,
    passed: MetricPass,
    state: PassProgress,
    kept: KeptMeasurement | None,
    progress: Callable[[int, int], None],
) -> None:
    """Read the pairs that are left, and update all metrics and ``state`` with them."""
    total = len(inputs.matched)
    saved = time.monotonic()
    whole = True  # between two batches, when all metrics have the same images
    buffers: dict[str, np.ndarray] = {}
    try:
        for batch in inputs.reader.batches(state.position):
            whole = False
            if batch.places:
                settings.require_size(*batch.originals.shape[-2:])
                x, y = batch.originals.to(settings.device), batch.reconstructions.to(settings.device)
                codes = inputs.codes_of(batch.places) if batch.codes is None else batch.codes
                passed.add(len(state.places), x, y, None if codes is None else codes.to(settings.device))
                _join_values(passed, buffers, total)
                state.digests += with_codes(batch.digests, codes)
            state.places += batch.places
            state.damaged |= {image.name: image.reason for image in batch.damaged}
            state.position = batch.position
            whole = True
            progress(state.position, total)
            if kept is not None and time.monotonic() - saved > SAVED_EVERY and state.position < total:
                kept.save(state, passed)
                saved = time.monotonic()
    except BaseException:
        if kept is not None and whole and state.position:
            kept.save(state, passed)
        raise


def _join_values(passed: MetricPass, buffers: dict[str, np.ndarray], total: int) -> None:
    """Move the values per image into one array for each metric.

    Many small arrays would split the large free blocks that each batch leaves, so that the heap grew with every batch.
    """
    for name, parts in passed.per_image.items():
        buffer = buffers.setdefault(name, np.empty(total))
        count = 0
        for part in parts:
            if part.base is not buffer:
                buffer[count : count + len(part)] = part
            count += len(part)
        passed.per_image[name] = [buffer[:count]]


def key_of_measurement(inputs: PairInputs | ModelInputs, settings: PairSettings) -> str:
    """Return a name for the measurement of these inputs by these settings.

    It changes with any file, by size and time of change, and with the version of anything that decides a value.
    """
    protocols = [[name, protocol.measuring(name).VERSION] for name in settings.protocols]
    metrics = [[name, registry.version("metrics", name)] for name in settings.metrics]
    facts = [protocols, metrics, settings.num_codes, settings.depth, settings.device.type, torch.__version__]
    return key_of([inputs.stamp(), facts])


def per_image_csv(names: Sequence[str], per_image: dict[str, np.ndarray]) -> str:
    """Return the values per image as CSV.

    Columns are ``protocol``, ``image``, ``name``, and one for each metric.
    """
    metrics = list(dict.fromkeys(name.partition("/")[2] for name in per_image))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["protocol", "image", "name", *metrics])
    for measured in dict.fromkeys(name.partition("/")[0] for name in per_image):
        columns = [per_image[f"{measured}/{metric}"].tolist() for metric in metrics]
        for number, row in enumerate(zip(names, *columns, strict=True)):
            writer.writerow([measured, number, *row])
    return out.getvalue()


def per_image_of(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Read names and values that :func:`per_image_csv` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    protocols = list(dict.fromkeys(row[0] for row in rows))
    names = [row[2] for row in rows if row[0] == protocols[0]]
    return names, {
        f"{measured}/{metric}": np.array([float(row[column]) for row in rows if row[0] == measured])
        for measured in protocols
        for column, metric in enumerate(head[3:], 3)
    }
