"""Trained runs: the model of a run in a script of your own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from vqbench.backbone import Autoencoder
    from vqbench.dataset import Dataset
    from vqbench.evaluation.coding import ImageCoder
    from vqbench.evaluation.exporting.exported_run import ExportedFolder
    from vqbench.spec import RunSpec
    from vqbench.store.record import Record

PLUGIN = str | Path


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """The model of a finished run, with what it was trained as and its results.

    Images are (N, C, S, S) with the channels and the side that the run was trained on, numpy arrays or tensors on any
    device, in any number: **uint8 in gives uint8 out, floats in [0, 1] give floats in [0, 1]**, and anything else is
    refused. What comes out are tensors on the CPU. A split of the data set gives bit for bit what the run's evaluation
    saw on the same machine and device: images pass through the model in batches of the same size.

    Attributes:
        coder: what the methods below call.
        record: the stored values by protocol and metric, the history of the training, and where it was trained.
    """

    coder: ImageCoder
    record: Record

    @property
    def model(self) -> Autoencoder:
        """The autoencoder, an ``nn.Module`` in evaluation mode.

        It takes and returns images in [-1, 1].
        """
        return self.coder.model

    @property
    def spec(self) -> RunSpec:
        """What decides the weights of the run, with all arguments and the key."""
        return self.record.run

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.coder.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, S, S) of the images that the model takes."""
        return self.coder.channels, self.coder.size, self.coder.size

    @property
    def num_codes(self) -> int | None:
        """Size of the codebook; None where nothing is quantized."""
        quantizer = self.model.quantizer
        return quantizer.num_codes if quantizer.depth else None

    def encode(self, images: Any) -> torch.Tensor:
        """Encode images to codes.

        Args:
            images: (N, C, S, S), uint8 or floats in [0, 1].

        Returns:
            (N, h, w, depth) int64, each in [0, num_codes).

        Raises:
            UsageError: images of another shape, type or range; a run that quantizes nothing.
        """
        return self.coder.encode(images)

    def decode(self, codes: Any) -> torch.Tensor:
        """Decode codes to images.

        Args:
            codes: (N, h, w, depth) whole numbers in [0, num_codes), as :meth:`encode` returns them.

        Returns:
            (N, C, S, S) float32 in [0, 1], bit for bit those of :meth:`reconstruct`.

        Raises:
            UsageError: codes of another shape or beyond the codebook; a run that quantizes nothing.
        """
        return self.coder.decode(codes)

    def reconstruct(self, images: Any) -> torch.Tensor:
        """Reconstruct images.

        Args:
            images: (N, C, S, S), uint8 or floats in [0, 1].

        Returns:
            (N, C, S, S), rounded uint8 for uint8 images, else float32 in [0, 1]. Evaluate the floats, since rounding to
            8 bits changes values of metrics.

        Raises:
            UsageError: images of another shape, type or range.
        """
        return self.coder.reconstruct(images)

    def export(self, folder: str | Path, *, reconstructions: bool = False) -> ExportedFolder:
        """Write a folder that :func:`load_run` loads anywhere.

        Weights as safetensors, programs of ``torch.export`` for encoder and decoder, what is needed to rebuild the
        model with the digests of these files as JSON, and a model card. Nothing is a pickle.

        Args:
            folder: a new or an empty folder, which appears as a whole or not at all.
            reconstructions: also write float32 reconstructions and codes of the test split.

        Returns:
            Its ``path``, the ``sizes`` of its files in bytes, and in ``left_out`` why programs are missing, if any.

        Raises:
            UsageError: a folder with content.
            StoreError: the folder cannot be written.
        """
        from vqbench.evaluation.exporting.exported_run import export
        from vqbench.system.paths import path_of

        return export(self.coder, self.record, path_of(folder), self.dataset() if reconstructions else None)

    def test_images(self) -> torch.Tensor:
        """Return the test split that the run was evaluated on, in its order.

        Returns:
            (N, C, S, S) uint8.

        Raises:
            AssetError: the data set is not on this machine and cannot be fetched.
        """
        from vqbench.images import resident

        return resident(self.dataset().pixels("test"))

    def dataset(self) -> Dataset:
        """Open the data set that the run was trained on.

        Raises:
            AssetError: it is not on this machine.
        """
        from vqbench import registry

        part = self.spec.dataset
        dataset: Dataset = registry.create("datasets", part.name, **part.args)
        return dataset

    def __repr__(self) -> str:
        from vqbench.evaluation.trained_model import variant

        spec, (channels, side, _) = self.spec, self.image_shape
        codes = "no codes" if self.num_codes is None else f"{self.num_codes:,} codes"
        what = f"{variant(spec.quantizer)} on {spec.dataset.name}, seed {spec.seed}"
        return f"<TrainedRun {spec.key}: {what}; {channels}x{side}x{side} images, {codes}, on {self.device}>"


def load_run(
    run: str | Path,
    row: str | None = None,
    *,
    store: str | Path = "runs",
    device: str = "auto",
    plugins: PLUGIN | Sequence[PLUGIN] = (),
) -> TrainedRun:
    """Load the model of a finished run, such as ``vqbench.load_run("quick", "cvq")``.

    The tutorial on trained models is an example from training to export.

    Args:
        run: key of a run, the beginning of a key, the path of a run's folder or of a folder that ``vqbench export``
            wrote, or the name of a suite.
        row: label or quantizer of a row, if ``run`` is a suite.
        store: folder of the runs.
        device: auto (a GPU where one exists), cpu, cuda or cuda:N.
        plugins: .py files with the plugins that the run uses.

    Raises:
        UsageError: no run, or more than one, is called so: the message lists what exists. Likewise for a second stage,
            and for a run of other versions of its plugins.
        StoreError: the weights are not there, or damaged.
    """
    from vqbench import registry
    from vqbench.api.arguments import device_name, text_or_path, words
    from vqbench.api.finished_runs import find_run
    from vqbench.evaluation.coding import ImageCoder
    from vqbench.evaluation.exporting import exported_run
    from vqbench.evaluation.trained_model import load_model
    from vqbench.store.results import ResultStore
    from vqbench.system.paths import path_of

    text_or_path("run", run, "a key, a folder or the name of a suite")
    text_or_path("store", store, "the folder of the runs")
    device = device_name(device)
    for path in words("plugins", plugins):
        registry.add_file(path_of(path))
    if row is None and exported_run.is_exported(path_of(run)):
        coder, record = exported_run.load(path_of(run), device)
        return TrainedRun(coder, record)
    found, record = find_run(ResultStore(path_of(store)), run, row)
    trained = load_model(found, record, device)
    dataset = trained.dataset
    return TrainedRun(ImageCoder(trained.model, trained.engine.device, dataset.channels, dataset.size), record)
