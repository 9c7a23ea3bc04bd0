"""Evaluate images of any model by the metrics and protocols of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench.api.arguments import whole_number, words
from vqbench.api.evaluation import Evaluation, frame_of_values, frame_per_image
from vqbench.errors import UsageError, nearest, shortened

if TYPE_CHECKING:
    from vqbench.api.measure_models import ModelOptions
    from vqbench.evaluation.image_pairs import ImagePairs, PairSettings

CLEAN = ["clean"]  # the protocols that count unless others are chosen
MODEL = {"dataset", "model_range", "batch_size", "trust"}  # of ``reading``: how a model reconstructs
ROW = {"suite", "row", "measured_by", "runs"}  # of ``reading``: where values become a row


def evaluate(
    originals: Any = None,
    reconstructions: Any = None,
    codes: Any = None,
    num_codes: int | None = None,
    *,
    model: Any = None,
    protocol: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    device: str = "cpu",
    **reading: Any,
) -> Evaluation:
    """Evaluate reconstructions of images, by whatever model, as runs are evaluated.

    Returns values, comparable with those of tables of the same protocol and images, and values per image; printed,
    they are a table. Nothing is resized; floats become 8 bits only where a protocol does so.

    Args:
        originals: (N, C, H, W) with 1 or 3 channels, uint8 or floats in [0, 1], a numpy array or a tensor; or an
            iterable of such batches; or a path, as ``vqbench measure`` takes it, which is read part by part.
        reconstructions: likewise, of the same shape and in the same order; files of the same relative names.
        codes: whole numbers in [0, num_codes): (N, h, w), (N, h, w, depth) or (N, tokens). For usage, perplexity, bits.
        num_codes: size of the codebook.
        model: makes the reconstructions: a callable images -> reconstructions or -> (reconstructions, codes), floats
            (B, C, H, W) in [-1, 1], or a name as of ``vqbench measure --model``. ``originals`` is then a path, or None.
        protocol: ``clean``, ``official`` (as the released code of CVQ-VAE), or both. None: clean, or those of a suite.
        metrics: names that ``vqbench list metrics`` prints, or a group: ``fast`` (no weights), ``paper`` or ``all``.
            None: those of a suite, or ``fast``. ``lpips``, ``rfid`` and ``kid`` fetch their weights on first use.
        device: where networks are computed: auto, cpu, cuda or cuda:N.
        reading: for paths, ``by_order``, ``originals_as``, ``range``, ``array``, ``skip_damaged``, ``as_rgb``,
            ``label``, ``reference``, ``suite``, ``row``, ``measured_by``, ``runs``, with ``model`` also ``dataset``,
            ``model_range``, ``batch_size``, ``trust``, as options of ``vqbench measure``; ``store`` keeps values.

    Raises:
        UsageError: arrays of a wrong type, range or shape; codes beyond ``num_codes``; an unknown name.
        RunError: images that are too few or too small for a metric.
        AssetError: weights of a network that cannot be fetched; files that cannot be read.

    >>> import numpy as np, vqbench
    >>> originals = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), np.uint8)
    >>> darker = originals // 2
    >>> evaluation = vqbench.evaluate(originals, darker, metrics=["l1", "psnr"])
    >>> print(evaluation.table())
    20 images
    <BLANKLINE>
    metric       clean  better
    ---------  -------  --------
    l1          0.2506  lower
    PSNR (dB)    10.76  higher
    <BLANKLINE>
    clean: float pixels, Gaussian SSIM, torch-fidelity's FID.
    """
    protocols = [] if protocol is None else _names("protocol", protocol)
    chosen = None if metrics is None else _names("metrics", metrics)
    num_codes = None if num_codes is None else whole_number("num_codes", num_codes, 2)
    if model is not None:
        return _of_model(originals, model, reconstructions, codes, num_codes, protocols, chosen, device, **reading)
    if isinstance(originals, str | Path) and isinstance(reconstructions, str | Path | None):
        return _of_files(originals, reconstructions, codes, num_codes, protocols, chosen, device, **reading)
    return _of_arrays(originals, reconstructions, codes, num_codes, protocols or CLEAN, chosen, device, reading)


def _of_arrays(
    originals: Any,
    reconstructions: Any,
    codes: Any,
    num_codes: int | None,
    protocols: list[str],
    metrics: list[str] | None,
    device: str,
    reading: Mapping[str, Any],
) -> Evaluation:
    """Evaluate arrays. Raises UsageError for what paths alone can have."""
    if isinstance(originals, str | Path) or isinstance(reconstructions, str | Path):
        raise UsageError("give two paths or two arrays; np.save writes an array to a file")
    if reading:
        raise UsageError(f"{', '.join(reading)}: for paths alone; arrays are evaluated as they are")
    _require_codebook(codes, num_codes)
    return _of_batches(_batches(originals, reconstructions, codes), num_codes, protocols, metrics, device)


def _of_model(originals: Any, model: Any, *others: Any, **reading: Any) -> Evaluation:
    """Evaluate what a model makes of images in files, or of a data set."""
    from vqbench.api.measure_models import ModelOptions

    if not isinstance(originals, str | Path | None):
        raise UsageError("originals of a model: give a path, or dataset=NAME; np.save writes an array to a file")
    own = {name: reading.pop(name) for name in MODEL & reading.keys()}
    options = ModelOptions(model, range=own.pop("model_range", None), **own)
    return _of_files(originals, *others, model=options, **reading)


def _of_files(
    originals: str | Path | None,
    reconstructions: str | Path | None,
    codes: Any,
    num_codes: int | None,
    protocols: list[str],
    metrics: list[str] | None,
    device: str,
    *,
    label: str = "",
    store: str | Path | None = None,
    reference: str | Path | None = None,
    model: ModelOptions | None = None,
    **reading: Any,
) -> Evaluation:
    from vqbench.api.external_rows.measuring import measure_row
    from vqbench.api.external_rows.row import row_of
    from vqbench.api.measure_sets import measure_images
    from vqbench.measuring.pair_inputs import ReadingOptions

    if codes is not None and not isinstance(codes, str | Path):
        raise UsageError("codes of images in files: give the path of a file, .npz or .npy")
    own = {name: reading.pop(name) for name in ROW & reading.keys()}
    known = [each.name for each in fields(ReadingOptions)]
    for name in reading:
        if name not in known:
            others = ["label", "store", "reference", *sorted(ROW)]
            raise UsageError(f"unknown argument {name!r}; {nearest(name, [*known, *others])}")
    runs = Path(own.pop("runs", "runs"))
    row = row_of(own.pop("suite", None), own.pop("row", None), own.pop("measured_by", ""), runs)
    first, second, third, other = (
        None if p is None else Path(p) for p in (originals, reconstructions, codes, reference)
    )
    how: dict[str, Any] = {"model": model, "metrics": metrics, "options": ReadingOptions(**reading), "device": device}
    how |= {"label": label, "store": None if store is None else Path(store)}
    if row is not None:
        return measure_row(row, first, second, third, num_codes, other, runs=runs, protocols=protocols, **how)
    return measure_images(first, second, third, num_codes, other, protocols=protocols or CLEAN, **how)


def _batches(originals: Any, reconstructions: Any, codes: Any) -> Iterator[ImagePairs]:
    """Yield arrays as one batch, and iterables of arrays batch by batch.

    Raises UsageError where one of several iterables ends before the others.
    """
    from vqbench.evaluation.image_pairs import pairs_of

    if hasattr(originals, "shape") or isinstance(originals, list | tuple):
        yield pairs_of(originals, reconstructions, codes)
        return
    parts = [originals, reconstructions] + ([] if codes is None else [codes])
    for each in parts:
        if not isinstance(each, Iterable):
            raise UsageError(f"{shortened(repr(each))}: not an array of numbers; give an array, or batches of arrays")
    for batch in zip_longest(*parts):
        if any(each is None for each in batch):
            raise UsageError("one of originals, reconstructions and codes ends before the others; give equally many")
        yield pairs_of(*batch)


def _of_batches(
    pairs: Iterator[ImagePairs],
    num_codes: int | None,
    protocols: list[str],
    metrics: list[str] | None,
    device: str,
) -> Evaluation:
    """Evaluate batches of pairs as they come, of which one is in memory."""
    from vqbench.evaluation.image_pairs import PairSettings, chosen_metrics
    from vqbench.training.engine import devices_of

    if (first := next(pairs, None)) is None:
        raise UsageError("there is no image to evaluate; give at least one")
    side = min(first.originals.shape[-2:])
    settings = PairSettings(
        protocols=protocols,
        metrics=chosen_metrics(metrics, num_codes is not None, side),
        num_codes=num_codes,
        depth=1 if first.codes is None else first.codes.shape[-1],
        device=devices_of(device, 1)[0],
    )
    settings.require_size(*first.originals.shape[-2:])  # before weights are fetched
    second = next(pairs, None)
    if second is None:
        settings.require_images(len(first.originals))
    return evaluate_stream(chain([first], [] if second is None else [second], pairs), settings)


def evaluate_stream(pairs: Iterable[ImagePairs], settings: PairSettings) -> Evaluation:
    """Evaluate batches of pairs as they come, of which one is in memory.

    See :func:`vqbench.evaluation.image_pairs.evaluate_pairs` for what it raises.
    """
    from vqbench.evaluation.image_pairs import evaluate_pairs
    from vqbench.execution.preparation import fetch
    from vqbench.measuring.value_rows import value_rows

    fetch(settings.assets())
    measurement = evaluate_pairs(pairs, settings)
    rows = value_rows(measurement)
    count = rows[0]["images"]
    return Evaluation(frame_of_values(rows), frame_per_image(measurement.images, settings.protocols, None, count))


def _require_codebook(codes: Any, num_codes: Any) -> None:
    """Raise UsageError unless codes and their number are given together."""
    if (codes is None) != (num_codes is None):
        raise UsageError("give `codes` and `num_codes` together: usage is a share of the codebook's size")


def _names(argument: str, names: str | Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words(argument, names)))
