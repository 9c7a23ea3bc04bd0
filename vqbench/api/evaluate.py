"""Evaluate images of any model by the metrics and protocols of runs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqbench.api.arguments import whole_number, words
from vqbench.errors import UsageError, counted, nearest

if TYPE_CHECKING:
    from pandas import DataFrame

    from vqbench.evaluation.image_pairs import ImagePairs, PairSettings
    from vqbench.evaluation.reconstructions import Measurement

WIDTH = 80  # of a printed table


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The values of some images, and the conditions that they are measured under.

    Attributes:
        values: One row per protocol and metric: ``protocol``, ``images``, ``metric``, ``label``, ``value`` in ``unit``
            (NaN where it does not apply), ``higher_is_better``, ``digits`` worth printing, ``metric_version``,
            ``protocol_version``, and ``note``, what a reader of the value must know.
        per_image: One row per protocol and image, in the order of the images: ``protocol``, ``image`` (from 0), and a
            column for each metric that has a value per image.
    """

    values: DataFrame
    per_image: DataFrame

    def __getitem__(self, metric: str) -> float:
        """Return the value of ``metric``.

        Raises UsageError for an unknown metric, and if several protocols have it.
        """
        found = self.values[self.values.metric == metric]
        if found.empty:
            raise UsageError(f"metric {metric!r} was not evaluated; {nearest(metric, self.values.metric.unique())}")
        if len(found) > 1:
            raise UsageError(
                f"{metric!r} was evaluated under {' and '.join(found.protocol)}; choose a row of `.values`"
            )
        return float(found.value.iloc[0])

    def table(self) -> str:
        """Return the values as text: one row per metric, one column per protocol."""
        from tabulate import tabulate

        from vqbench.protocol import measuring

        protocols = list(dict.fromkeys(self.values.protocol))
        rows = []
        for _, same in self.values.groupby("metric", sort=False):
            first = same.iloc[0]
            cells = ["–" if value != value else f"{value:.{first.digits}f}" for value in same.value]
            name = f"{first.label} ({first.unit})" if first.unit else first.label
            rows.append([name, *cells, "higher" if first.higher_is_better else "lower"])
        head = ["metric", *protocols, "better"]
        align = ["left", *["right"] * len(protocols), "left"]
        lines = [counted(int(self.values.images.iloc[0]), "image"), ""]
        text = tabulate(rows, head, "simple", disable_numparse=True, colalign=align)
        lines += [*(line.rstrip() for line in text.splitlines()), ""]
        remarks = [f"{name}: {measuring(name).summary}." for name in protocols] + _notes(self.values)
        lines += [line for remark in remarks for line in textwrap.wrap(remark, WIDTH)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.table()


def evaluate(
    originals: Any,
    reconstructions: Any,
    codes: Any = None,
    num_codes: int | None = None,
    *,
    protocol: str | Sequence[str] = "clean",
    metrics: Sequence[str] | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Evaluate reconstructions of images, by whatever model, as runs are evaluated.

    Returns values with protocol and unit, and values per image; printed, they are a table. They are comparable with
    those of tables of the same protocol and images. uint8 levels and floats of level / 255 are the same image; nothing
    is resized, and floats are converted to 8 bits only where a protocol does so.

    Args:
        originals: (N, C, H, W) with 1 or 3 channels, uint8 or floats in [0, 1], a numpy array or a tensor.
        reconstructions: likewise, of the same shape and in the same order.
        codes: whole numbers in [0, num_codes): (N, h, w), (N, h, w, depth) or (N, tokens). For usage, perplexity, bits.
        num_codes: size of the codebook.
        protocol: ``clean``, ``official`` (as the released code of CVQ-VAE evaluates), or both.
        metrics: names that ``vqbench list metrics`` prints. None: those that need no weights, which ``lpips``, ``rfid``
            and ``kid`` fetch on first use.
        device: where networks are computed: auto, cpu, cuda or cuda:N.

    Raises:
        UsageError: arrays of a wrong type, range or shape; codes beyond ``num_codes``; an unknown name.
        RunError: images that are too few or too small for a metric.
        AssetError: weights of a network that cannot be fetched.

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
    from vqbench.evaluation.image_pairs import PairSettings, default_metrics, pairs_of
    from vqbench.training.engine import devices_of

    size = _codebook_size(codes, num_codes)
    pairs = pairs_of(originals, reconstructions, codes)
    settings = PairSettings(
        protocols=_names("protocol", protocol),
        metrics=default_metrics(codes is not None) if metrics is None else _names("metrics", metrics),
        num_codes=size,
        depth=1 if pairs.codes is None else pairs.codes.shape[-1],
        device=devices_of(device, 1)[0],
    )
    settings.require_images(len(pairs.originals))  # before weights are fetched
    settings.require_size(*pairs.originals.shape[-2:])
    return evaluate_stream([pairs], settings)


def evaluate_stream(pairs: Iterable[ImagePairs], settings: PairSettings) -> Evaluation:
    """Evaluate batches of pairs as they come, of which one is in memory.

    See :func:`vqbench.evaluation.image_pairs.evaluate_pairs` for what it raises.
    """
    from vqbench.evaluation.image_pairs import evaluate_pairs
    from vqbench.execution.preparation import fetch

    fetch(settings.assets())
    measurement = evaluate_pairs(pairs, settings)
    return Evaluation(_values(measurement), _per_image(measurement, settings.protocols))


def _codebook_size(codes: Any, num_codes: Any) -> int | None:
    """Return the size of the codebook, if any.

    Raises UsageError unless codes and their number are given together.
    """
    if (codes is None) != (num_codes is None):
        raise UsageError("give `codes` and `num_codes` together: usage is a share of the codebook's size")
    return None if num_codes is None else whole_number("num_codes", num_codes, 2)


def _values(measurement: Measurement) -> DataFrame:
    import pandas as pd

    from vqbench import registry

    rows = []
    for protocol, values in measurement.values.items():
        for name, value in values.items():
            metric = registry.load("metrics", name)
            note = ""
            if value.images < metric.few:
                note = f"{metric.label} is not ranked: it needs at least {metric.few:,} images, here {value.images:,}."
            elif value.value == float("inf"):
                note = f"{metric.label} is infinite: some images are reconstructed without any error."
            rows.append(
                {
                    "protocol": protocol,
                    "images": value.images,
                    "metric": name,
                    "label": metric.label,
                    "value": float("nan") if value.value is None else value.value,
                    "unit": metric.unit,
                    "higher_is_better": metric.better == "max",
                    "digits": metric.digits,
                    "metric_version": value.metric_version,
                    "protocol_version": value.protocol_version,
                    "note": note,
                }
            )
    return pd.DataFrame(rows)


def _per_image(measurement: Measurement, protocols: Sequence[str]) -> DataFrame:
    import pandas as pd

    frames = []
    for protocol in protocols:
        columns = {
            name.removeprefix(f"{protocol}/"): values
            for name, values in measurement.images.items()
            if name.startswith(f"{protocol}/")
        }
        count = next(iter(measurement.values[protocol].values())).images
        frames.append(pd.DataFrame({"protocol": protocol, "image": range(count), **columns}))
    return pd.concat(frames, ignore_index=True)


def _names(argument: str, names: str | Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words(argument, names)))


def _notes(values: DataFrame) -> list[str]:
    return [note for note in values.note.unique() if note]
