"""Evaluate files of images: folders, shards and arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from vqbench.api.evaluation import Evaluation, NotKept, frame_of_values, frame_per_image
from vqbench.errors import Unwritable

if TYPE_CHECKING:
    import numpy as np
    import torch

    from vqbench.evaluation.image_pairs import PairSettings
    from vqbench.measuring.kept_measurement import KeptMeasurement
    from vqbench.measuring.models.model_inputs import ModelInputs
    from vqbench.measuring.pair_inputs import PairInputs, ReadingOptions
    from vqbench.measuring.pair_measurement import MeasuredPairs

Progress = Callable[[int, int], None]


class HowToMeasure(TypedDict, total=False):
    """What a measurement does with its inputs; all may be left out.

    Attributes:
        protocols: names of measuring protocols; by default clean.
        metrics: names, or a group of them: ``fast`` (no weights), ``paper`` or ``all``; None: ``fast``.
        device: where networks are computed; by default cpu.
        label: name of what is evaluated.
        store: folder that keeps values, and the state of what is interrupted; None: nothing is kept.
        progress: called with (pairs read, pairs in all); may raise Interrupted.
        say: called with a sentence when an earlier measurement is resumed or used.
    """

    protocols: Sequence[str]
    metrics: Sequence[str] | None
    device: str
    label: str
    store: Path | None
    progress: Progress
    say: Callable[[str], None]


def measure_files(
    originals: Path,
    reconstructions: Path,
    codes: Path | None = None,
    num_codes: int | None = None,
    *,
    options: ReadingOptions | None = None,
    **how: Unpack[HowToMeasure],
) -> Evaluation:
    """Evaluate the images at two paths, reading them part by part.

    Args:
        originals: a folder, a tar archive, an lmdb environment, or an array as .npy, .npz or .pt.
        reconstructions: likewise.
        codes: whole numbers as .npz or .npy.
        num_codes: size of the codebook; None: as the file of codes has it.
        options: how inputs are read and matched.
        how: see :class:`HowToMeasure`.

    Raises:
        UsageError: inputs that do not fit together; an unknown name.
        DamagedImage: an image that cannot be decoded.
        AssetError: files that cannot be read, or weights that cannot be fetched.
        RunError: images that are too few or too small for a metric.
        NotKept: the store cannot be written; the error has the values.
    """
    from vqbench.measuring.pair_inputs import PairInputs

    inputs = PairInputs.open(originals, reconstructions, codes, num_codes, options)
    return measure_opened(inputs, **how)


def measure_opened(inputs: PairInputs | ModelInputs, **how: Unpack[HowToMeasure]) -> Evaluation:
    """Evaluate pairs that were opened; see :func:`measure_files`."""
    return measure_digested(inputs, **how)[0]


def measure_digested(
    inputs: PairInputs | ModelInputs,
    *,
    protocols: Sequence[str] = ("clean",),
    metrics: Sequence[str] | None = None,
    device: str = "cpu",
    label: str = "",
    store: Path | None = None,
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> tuple[Evaluation, np.ndarray]:
    """Evaluate pairs that were opened; return also the digests of each, (N, bytes).

    See :func:`measure_files`.
    """
    from vqbench.execution.preparation import fetch
    from vqbench.measuring.kept_measurement import KeptMeasurement
    from vqbench.measuring.pair_measurement import key_of_measurement, measure_pairs
    from vqbench.training.engine import devices_of

    settings = _settings(inputs, protocols, metrics, devices_of(device, 1)[0])
    settings.require_images(len(inputs.matched))  # before weights are fetched
    settings.require_size(*inputs.first_size())
    kept = None if store is None else KeptMeasurement(store, key_of_measurement(inputs, settings))
    if kept is not None and (finished := _finished(kept, label)) is not None:
        inputs.options.require_sound(finished[0].about["damaged"])
        say(f"measured before; these are the values in {kept.folder}, which may be deleted to measure again")
        return finished
    fetch(settings.assets())
    measured = measure_pairs(inputs, settings, kept, progress, say)
    about = _about(inputs, measured)
    evaluation = _evaluation(measured.rows, measured.per_image, measured.names, label, about)
    if kept is not None:
        try:
            _keep(kept, measured, about)
        except Unwritable as error:
            about["per_image"] = None
            raise NotKept(evaluation, error) from error
    return evaluation, measured.digests


def _settings(
    inputs: PairInputs | ModelInputs, protocols: Sequence[str], metrics: Sequence[str] | None, device: torch.device
) -> PairSettings:
    from vqbench.evaluation.image_pairs import PairSettings, chosen_metrics

    names = chosen_metrics(metrics, inputs.codes is not None, min(inputs.first_size()))
    return PairSettings(list(dict.fromkeys(protocols)), names, inputs.num_codes, inputs.depth, device, inputs.bits)


def _about(inputs: PairInputs | ModelInputs, measured: MeasuredPairs) -> dict[str, Any]:
    """Return facts about the inputs, as JSON data."""
    from vqbench.measuring.image_digests import side_digests

    sides = {"originals": inputs.originals, "reconstructions": inputs.reconstructions}
    codes = inputs.codes
    given = [
        {"path": side.path, "kind": side.kind, "images": len(side), "digest": digest}
        for side, digest in zip(sides.values(), side_digests(measured.digests), strict=True)
    ]
    return {
        **dict(zip(sides, given, strict=True)),
        "codes": None if codes is None else {"path": codes.path, "num_codes": codes.num_codes, "depth": codes.depth},
        "matched_by": inputs.matched.by,
        "damaged": measured.damaged,
        "notes": measured.notes,
        "resumed_at": measured.resumed_at,
        "per_image": None,
        **inputs.described(),
    }


def _keep(kept: KeptMeasurement, measured: MeasuredPairs, about: dict[str, Any]) -> None:
    """Write values, values per image, and digests."""
    from vqbench.measuring.kept_measurement import PER_IMAGE
    from vqbench.measuring.pair_measurement import per_image_csv

    about["per_image"] = str(kept.folder / PER_IMAGE)
    per_image = per_image_csv(measured.names, measured.per_image)
    kept.finish({"about": about, "values": measured.rows}, per_image, measured.digests)


def _finished(kept: KeptMeasurement, label: str) -> tuple[Evaluation, np.ndarray] | None:
    """Return the evaluation that was finished before, and the digests of its pairs.

    None without one, or if its files are damaged.
    """
    from vqbench.errors import StoreError
    from vqbench.measuring.kept_measurement import DIGESTS, PER_IMAGE
    from vqbench.measuring.pair_measurement import per_image_of
    from vqbench.system import stored_files

    if (content := kept.result()) is None:
        return None
    try:
        names, per_image = per_image_of(kept.folder / PER_IMAGE)
        digests = stored_files.array(stored_files.content(kept.folder / DIGESTS)).reshape(len(names), -1)
        rows = [{**row, "value": float(row["value"])} for row in content["values"]]
        return _evaluation(rows, per_image, names, label, content["about"]), digests
    except (OSError, StoreError, ValueError, KeyError, TypeError, IndexError):
        return None


def _evaluation(
    rows: list[dict[str, Any]], per_image: dict[str, Any], names: list[str], label: str, about: dict[str, Any]
) -> Evaluation:
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    frame = frame_per_image(per_image, protocols, names, len(names))
    return Evaluation(frame_of_values(rows), frame, label, about["notes"], about)
