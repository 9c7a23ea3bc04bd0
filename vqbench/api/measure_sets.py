"""Evaluate a set of images in files against reference images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench.api.evaluation import Evaluation, NotKept, frame_of_values, frame_per_image
from vqbench.api.measure import measure_files
from vqbench.api.measure_models import ModelOptions, measure_model, require_originals_alone
from vqbench.errors import Unwritable, UsageError

if TYPE_CHECKING:
    from vqbench.measuring.kept_measurement import KeptMeasurement
    from vqbench.measuring.pair_inputs import ReadingOptions
    from vqbench.measuring.set_measurement import SetInput

Progress = Callable[[int, int], None]


def measure_images(
    originals: Path | None,
    reconstructions: Path | None = None,
    codes: Path | None = None,
    num_codes: int | None = None,
    reference: Path | None = None,
    *,
    model: ModelOptions | None = None,
    metrics: Sequence[str] | None = None,
    **common: Any,
) -> Evaluation:
    """Evaluate pairs, or one set of images against a ``reference``, or both.

    With a ``model``, it is pairs of ``originals``, or of its data set, and what it makes of them. Without
    ``reconstructions``, ``originals`` are a generator's images, and ``metrics`` those of samples. With both, metrics of
    samples compare reconstructions with the reference. See :func:`measure_files`, :func:`measure_model` and
    :func:`measure_against` for ``common`` arguments and errors.
    """
    from vqbench import registry
    from vqbench.registry import metric_groups

    if model is not None:
        require_originals_alone(reconstructions=reconstructions, codes=codes, reference=reference)
        return measure_model(originals, model, num_codes, metrics=metrics, **common)
    if originals is None:
        raise UsageError("nothing to measure: give ORIGINALS and RECONSTRUCTIONS, or ORIGINALS and --model")
    if reconstructions is None:
        if reference is None:
            raise UsageError("give ORIGINALS and RECONSTRUCTIONS, or a generator's images and --reference FOLDER")
        if codes is not None or num_codes is not None:
            raise UsageError("--codes: of reconstructions, and these are a generator's images; leave it out")
        _require_of_sets(common.get("options"))
        return measure_against(originals, reference, metrics=metrics, **common)
    if reference is None:
        return measure_files(originals, reconstructions, codes, num_codes, metrics=metrics, **common)
    single = [name for name in metrics or () if name not in metric_groups.GROUPS]
    of_sets = [name for name in single if registry.load("metrics", name).of_samples]
    of_pairs = [name for name in metrics or () if name not in of_sets]
    paths = originals, reconstructions, reference
    options = common.pop("options", None)
    pairs = measure_files(
        originals,
        reconstructions,
        codes,
        num_codes,
        metrics=of_pairs or None,
        options=_options_for(options, paths[:2], paths),
        **common,
    )
    against = measure_against(
        reconstructions, reference, metrics=of_sets or None, options=_options_for(options, paths[1:], paths), **common
    )
    return pairs.joined(against)


def _require_of_sets(options: ReadingOptions | None) -> None:
    """Raise UsageError for options of reading that only pairs have."""
    if options is None:
        return
    given = {
        "--by-order": options.by_order,
        "--originals-as": options.originals_as is not None,
        "--as-rgb": options.as_rgb,
    }
    for name, value in given.items():
        if value:
            raise UsageError(f"{name}: of pairs, and a generator's images have no partners; leave it out")


def _options_for(options: ReadingOptions | None, paths: Sequence[Path], every: Sequence[Path]) -> ReadingOptions | None:
    """Return the options for ``paths``.

    Without what is meant for an array that is none of them.
    """
    from dataclasses import replace

    from vqbench.measuring.inputs.opening import ARRAYS

    def arrays(some: Sequence[Path]) -> bool:
        return any(path.suffix.lower() in ARRAYS for path in some)

    if options is None or arrays(paths) or not arrays(every):
        return options
    return replace(options, array=None, range=None)


def measure_against(
    images: Path,
    reference: Path,
    *,
    protocols: Sequence[str] = ("clean",),
    metrics: Sequence[str] | None = None,
    options: ReadingOptions | None = None,
    device: str = "cpu",
    label: str = "",
    store: Path | None = None,
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Evaluation:
    """Evaluate the images at one path against others, which are no partners.

    See :func:`vqbench.api.measure.measure_files` for the arguments; ``metrics`` are those of samples.

    Raises:
        UsageError: the same path twice; other metrics, or one that needs training images.
        DamagedImage: an image that cannot be decoded, unless they are skipped.
        AssetError: weights that cannot be fetched.
        RunError: fewer images than a metric needs.
        NotKept: the store cannot be written; the error has the values.
    """
    from vqbench.execution.preparation import fetch
    from vqbench.measuring.kept_measurement import KeptMeasurement
    from vqbench.measuring.pair_inputs import ReadingOptions, left_out
    from vqbench.measuring.set_measurement import SetSettings, default_set_metrics, key_of_set, measure_set
    from vqbench.registry import metric_groups
    from vqbench.system.locks import lock_folder
    from vqbench.training.engine import devices_of

    options = options or ReadingOptions()
    if images.exists() and reference.exists() and os.path.samefile(images, reference):
        raise UsageError(f"{images} and the reference {reference} are the same; give a folder of other images")
    (given, notes), (references, more) = (_set(path, options) for path in (images, reference))
    options.require_array_in(given.images, references.images)
    options.require_range_in(given.range, references.range)
    chosen = default_set_metrics() if metrics is None else metric_groups.expanded(metrics, default_set_metrics)
    settings = SetSettings(list(dict.fromkeys(protocols)), chosen, devices_of(device, 1)[0])
    settings.require_images(len(given), len(references))
    total = len(settings.protocols) * (len(given) + len(references))
    kept = None if store is None else KeptMeasurement(store, key_of_set(given, references, settings))
    if kept is not None and (finished := _finished(kept, label)) is not None:
        options.require_sound(finished.about["damaged"])
        say(f"measured before; these are the values in {kept.folder}, which may be deleted to measure again")
        return finished
    with ExitStack() as held:
        if kept is not None and not held.enter_context(lock_folder(kept.folder)):
            raise UsageError(f"{kept.folder}: another process is measuring these images; wait for it")
        given, references = (side.examined(lambda: progress(0, total)) for side in (given, references))
        options.require_sound(damaged := {**given.damaged, **references.damaged})
        settings.require_images(len(given), len(references))
        fetch(settings.assets())
        rows = measure_set(given, references, settings, kept, progress)
        compared = f"Compared with {len(references):,} images of {reference}, which are no partners."
        about = _about(given, references, [*notes, *more, compared, *left_out(damaged, "image")])
        if kept is not None:
            _keep(kept, rows, about, label)
    return _evaluation(rows, label, about)


def _keep(kept: KeptMeasurement, rows: list[dict[str, Any]], about: dict[str, Any], label: str) -> None:
    """Write values. Raises NotKept."""
    try:
        kept.finish({"about": about, "values": rows})
    except Unwritable as error:
        raise NotKept(_evaluation(rows, label, about), error) from error


def _set(path: Path, options: ReadingOptions) -> tuple[SetInput, list[str]]:
    """Open one side, and say how it is read."""
    from vqbench.measuring.inputs.array_input import ArrayFile
    from vqbench.measuring.inputs.opening import open_input
    from vqbench.measuring.inputs.value_range import ValueRange, found_range
    from vqbench.measuring.set_measurement import SetInput

    images = open_input(path, options.array)
    if not (isinstance(images, ArrayFile) and images.is_float()):
        return SetInput(images), images.notes
    declared = ValueRange.parse(options.range) if options.range else None
    found = found_range(images, declared)
    return SetInput(images, found.range), [*images.notes, found.sentence(images.path)]


def _about(given: SetInput, references: SetInput, notes: list[str]) -> dict[str, Any]:
    """Return facts about both sides, as JSON data."""
    sides = {"samples": _described(given), "reference": _described(references)}
    return {**sides, "damaged": {**given.damaged, **references.damaged}, "notes": notes}


def _described(side: SetInput) -> dict[str, Any]:
    return {"path": side.images.path, "kind": side.images.kind, "images": len(side.images), "digest": side.digest}


def _finished(kept: KeptMeasurement, label: str) -> Evaluation | None:
    """Return the evaluation that was finished before.

    None without one, or if it is damaged.
    """
    if (content := kept.result()) is None:
        return None
    try:
        rows = [{**row, "value": float(row["value"])} for row in content["values"]]
        return _evaluation(rows, label, content["about"])
    except (KeyError, TypeError, ValueError):
        return None


def _evaluation(rows: list[dict[str, Any]], label: str, about: dict[str, Any]) -> Evaluation:
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    frame = frame_per_image({}, protocols, None, rows[0]["images"])
    return Evaluation(frame_of_values(rows), frame, label, about["notes"], about)
