"""Evaluate models that exist: functions, checkpoints, programs, finished runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from vqbench.api.evaluation import Evaluation
from vqbench.api.measure import HowToMeasure, measure_opened
from vqbench.errors import UsageError

if TYPE_CHECKING:
    from vqbench.dataset import Dataset
    from vqbench.measuring.inputs.image_input import ImageInput
    from vqbench.measuring.models.image_model import ImageModel
    from vqbench.measuring.models.model_inputs import ModelInputs
    from vqbench.measuring.pair_inputs import ReadingOptions


@dataclass(frozen=True)
class ModelOptions:
    """Which model reconstructs, and how images are handed to it.

    Attributes:
        model: ``FILE.py:name`` or ``package.module:name``, a callable images -> reconstructions or -> (reconstructions,
            codes); a folder that diffusers' ``save_pretrained`` wrote, of a VQModel or an AutoencoderKL; a checkpoint
            of taming-transformers; a file of torch.export or TorchScript; a finished run, by its key or folder. In
            Python also the callable itself.
        dataset: Name of a data set whose test split it reconstructs, in place of originals. None: of a run, its own.
        range: Of the images that it takes and returns: -1..1, 0..1 or 0..255. None: -1..1, unless it looks otherwise.
        batch_size: Images that it is given together. None: those of the evaluation for a run, else up to 100, of 2**20
            pixels together.
        trust: Whether to load files that hold code.
        runs: Folder that the key of a run is looked up in.
    """

    model: Any
    dataset: str | None = None
    range: str | None = None
    batch_size: int | None = None
    trust: bool = False
    runs: str | Path = "runs"


def measure_model(
    originals: Path | None,
    model: ModelOptions,
    num_codes: int | None = None,
    *,
    options: ReadingOptions | None = None,
    **how: Unpack[HowToMeasure],
) -> Evaluation:
    """Evaluate what a model makes of images, computing a part at a time.

    Args:
        originals: Images, as :func:`vqbench.api.measure.measure_files` takes them; None for those of a data set.
        model: What reconstructs them.
        num_codes: Size of the codebook, where the model does not say it.
        options: How originals are read.
        how: See :class:`vqbench.api.measure.HowToMeasure`; the model is computed on its device, too. What was
            interrupted resumes if originals and weights are the same.

    Raises:
        UsageError: A model that cannot be loaded, or whose output does not fit the images.
        RunError: A model that fails or returns NaN; images that are too few or too small for a metric.
        AssetError: Files that cannot be read.
    """
    inputs = opened_model(originals, model, num_codes, options, how.get("device", "cpu"))
    return measure_opened(inputs, **how)


def opened_model(
    originals: Path | None,
    model: ModelOptions,
    num_codes: int | None = None,
    options: ReadingOptions | None = None,
    device: str = "cpu",
) -> ModelInputs:
    """Load a model, open the originals, and reconstruct the first.

    See :func:`measure_model` for the arguments and errors.
    """
    from vqbench.measuring.models.model_inputs import ModelInputs
    from vqbench.measuring.pair_inputs import ReadingOptions

    if originals is not None and model.dataset is not None:
        raise UsageError(f"{originals} and --dataset {model.dataset}: give one of them")
    options = options or ReadingOptions()
    if options.by_order or options.as_rgb:
        raise UsageError("--by-order, --as-rgb: of two sides that exist; a model makes the partner of each original")
    loaded, own = _loaded(model, device)
    images = _originals(originals, model.dataset, own, options)
    options.require_array_in(images)
    return ModelInputs.open(images, _with_options(loaded, model), num_codes, options)


def require_originals_alone(**others: Any) -> None:
    """Raise UsageError for inputs, by their name, that a model takes the place of."""
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"{name} {value}: with a model, give originals or a data set alone; it makes the rest")


def _loaded(options: ModelOptions, device: str) -> tuple[ImageModel, tuple[str, Dataset] | None]:
    """Load the model, and of a run its data set."""
    from vqbench.measuring.models.callables import callable_model
    from vqbench.measuring.models.named_model import named_model
    from vqbench.training.engine import Engine

    place = Engine(device).device  # in float32, whatever was computed before
    if not isinstance(options.model, str | Path):
        return callable_model(options.model, place), None
    name = str(options.model)
    model = named_model(name, place, options.trust)
    return (model, None) if model is not None else _run(name, options.runs, device)


def _run(name: str, runs: str | Path, device: str) -> tuple[ImageModel, tuple[str, Dataset]]:
    """Load the model of a finished run. Raises UsageError where there is none."""
    from vqbench.api.trained_run import load_run
    from vqbench.measuring.models.trained_autoencoder import run_model

    try:
        trained = load_run(name, store=runs, device=device)
    except UsageError as error:
        raise UsageError(
            f"--model {name}: no FILE.py:name, no folder of diffusers, no file; and as a run: {error}"
        ) from error
    channels, size, _ = trained.image_shape
    model = run_model(trained.model, trained.spec.key, trained.device, channels, size)
    return model, (trained.spec.dataset.name, trained.dataset())


def _originals(
    path: Path | None, dataset: str | None, own: tuple[str, Dataset] | None, reading: ReadingOptions
) -> ImageInput:
    """Open the originals: at a path, of a data set, or the run's own."""
    from vqbench import registry
    from vqbench.execution.preparation import fetch
    from vqbench.measuring.inputs.split_input import SplitInput
    from vqbench.measuring.pair_inputs import originals_at

    if path is not None:
        return originals_at(path, reading)
    if dataset is not None:
        plugin, _, preset = registry.find("datasets", dataset)
        own = dataset, registry.create("datasets", plugin, **preset)
    if own is None:
        raise UsageError("give ORIGINALS or --dataset NAME, of which the model makes reconstructions")
    if reading.originals_as is not None:
        raise UsageError("--originals-as: of image files; a data set prepares its images itself")
    name, opened = own
    fetch(opened.assets)
    return SplitInput.of_dataset(name, opened)


def _with_options(model: ImageModel, options: ModelOptions) -> ImageModel:
    """Set range and batch size. Raises UsageError where the model has its own."""
    from vqbench.measuring.inputs.value_range import ValueRange

    if options.range is not None:
        if model.declared:
            raise UsageError(f"--model-range: {model.name} ({model.kind}) takes -1..1, as it was trained; leave it out")
        model = replace(model, range=ValueRange.parse(options.range, "--model-range"), declared=True)
    if options.batch_size is not None:
        if options.batch_size < model.least or (model.most or options.batch_size) < options.batch_size:
            bounds = f"{model.least} to {model.most}" if model.most else f"{model.least} or more"
            raise UsageError(f"--batch-size {options.batch_size}: {model.name} ({model.kind}) takes {bounds} images")
        model = replace(model, most=options.batch_size)
    return model
