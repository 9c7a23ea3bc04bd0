"""Write and load folders that hold a trained model for use elsewhere.

``model.safetensors`` are the weights, ``run.json`` is all that is needed to rebuild the model, with the record, a
digest of itself and those of the other files but ``README.md``, which is for people. ``encode.pt2`` and ``decode.pt2``
are programs of ``torch.export``. Loading checks the digests of what it reads: ``run.json`` and the weights.
Nothing in it is a pickle, and nothing in it is executed when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vqbench
from vqbench.dataset import Dataset
from vqbench.errors import Damaged, StoreError, Unwritable, UsageError
from vqbench.evaluation import code_files
from vqbench.evaluation.coding import ImageCoder
from vqbench.evaluation.exporting.model_card import model_card
from vqbench.evaluation.exporting.programs import programs
from vqbench.evaluation.reconstructions import BATCH
from vqbench.evaluation.trained_model import engine_of, require_versions
from vqbench.images import batches
from vqbench.spec import RunSpec
from vqbench.store.record import Record
from vqbench.system import files, stored_files
from vqbench.training.model_building import outline, require_planned

FORMAT = 1
WEIGHTS, ABOUT, CARD = "model.safetensors", "run.json", "README.md"
CODES, RECONSTRUCTIONS = "codes.npz", "reconstructions.npy"


@dataclass(frozen=True)
class ExportedFolder:
    """What an export wrote."""

    path: Path
    sizes: dict[str, int]  # bytes of each file
    left_out: list[str]  # why programs are missing, a sentence each


def is_exported(folder: Path) -> bool:
    """Return whether ``folder`` has a file that :func:`export` wrote."""
    return (folder / ABOUT).is_file() or (folder / WEIGHTS).is_file()


def export(
    coder: ImageCoder,
    record: Record,
    folder: Path,
    dataset: Dataset | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExportedFolder:
    """Write a folder from which the model can be loaded, here or elsewhere.

    It appears as a whole or not at all.

    Args:
        coder: the model.
        record: of its run.
        folder: must not exist, or be empty.
        dataset: also write codes and reconstructions of its test split.
        progress: called with (images done, images in all) of these; may raise Interrupted.

    Raises:
        UsageError: a folder with content.
        Unwritable: the file system refuses.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not empty; name a new folder with -o")
    with _as_a_whole(folder) as scratch:
        _write_weights(coder, record, scratch / WEIGHTS)
        made = programs(coder)
        for name, content in made.files.items():
            (scratch / name).write_bytes(content)
        if dataset is not None:
            _write_split(coder, record.run, dataset, scratch, progress)
        about = _about(coder, record)
        about["files"] = {path.name: _digest(path) for path in sorted(scratch.iterdir())}
        (scratch / CARD).write_text(model_card(coder, record, about, made.left_out), encoding="utf-8")
        about["digest"] = _content_digest(about)
        (scratch / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(scratch.iterdir())}
    return ExportedFolder(folder, sizes, made.left_out)


def load(folder: Path, device: str) -> tuple[ImageCoder, Record]:
    """Load the model and the record of an exported folder.

    Raises Damaged for content that does not fit its digests, UsageError for a run of other versions of its plugins, and
    StoreError for files that cannot be read.
    """
    try:
        about = stored_files.json_of(folder / ABOUT)
        if about["format"] > FORMAT:
            raise StoreError(f"{folder}: was exported by a later vqbench ({about['vqbench']}); upgrade vqbench")
        if about.pop("digest") != _content_digest(about):
            raise ValueError("its content does not fit its digest")
        record = Record.from_content(about["record"])
        channels, size = int(about["images"]["channels"]), int(about["images"]["size"])
        digest = about["files"][WEIGHTS]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{folder / ABOUT}: not what `vqbench export` wrote ({error}); export the run again") from error
    require_versions(record.run)
    require_planned(record.run)
    if _digest(folder / WEIGHTS) != digest:
        raise Damaged(f"{folder / WEIGHTS}: its content does not fit its digest; export the run again")
    engine = engine_of(record.run, device)
    model = outline(record.run, channels)
    _load_weights(model, folder / WEIGHTS)
    return ImageCoder(model.to(engine.device).eval(), engine.device, channels, size), record


def _write_weights(coder: ImageCoder, record: Record, path: Path) -> None:
    from safetensors.torch import save

    weights = {name: value.detach().cpu().contiguous().clone() for name, value in coder.model.state_dict().items()}
    content = save(weights, {"format": "pt", "vqbench_run": record.run.key})
    path.write_bytes(content)  # save_file would make a file that no other user can read


def _load_weights(model: torch.nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[-1].strip()[:160]
        raise Damaged(f"{path}: not the weights of this run ({reason}); export it again") from error


def _about(coder: ImageCoder, record: Record) -> dict[str, Any]:
    """Return what is needed to rebuild the model, as JSON data."""
    quantizer = coder.model.quantizer
    codes: dict[str, Any] | None = None
    if quantizer.depth:
        height, width, depth = coder.map_shape
        codes = {
            "shape": [height, width, depth],
            "num_codes": quantizer.num_codes,
            "bits": height * width * quantizer.bits,
        }
    return {
        "format": FORMAT,
        "vqbench": vqbench.__version__,
        "key": record.run.key,
        "images": {"channels": coder.channels, "size": coder.size, "range": [0, 1]},
        "codes": codes,
        "record": json.loads(record.to_json()),
    }


def _write_split(
    coder: ImageCoder, run: RunSpec, dataset: Dataset, folder: Path, progress: Callable[[int, int], None]
) -> None:
    """Write codes and reconstructions of the test split, a batch at a time."""
    pixels = dataset.pixels("test")
    total = len(pixels)
    shape = (total, coder.channels, coder.size, coder.size)
    out = np.lib.format.open_memmap(folder / RECONSTRUCTIONS, "w+", np.float32, shape)
    codes = []
    done = 0
    for part in batches(pixels, torch.arange(total), BATCH):
        images = part.float() / 255  # floats in, so floats out
        out[done : done + len(part)] = coder.reconstruct(images).numpy()
        if coder.model.quantizer.depth:
            codes.append(coder.encode(images))
        done += len(part)
        progress(done, total)
    out.flush()
    if codes:
        names = [f"{number:06}" for number in range(total)]
        code_files.write(folder / CODES, code_files.CodeFile.of(coder, run, torch.cat(codes), names))


@contextmanager
def _as_a_whole(folder: Path) -> Iterator[Path]:
    """Yield a scratch folder that becomes ``folder`` if nothing fails."""
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
        try:
            yield scratch
            os.replace(scratch, folder)  # onto an empty folder, too
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise Unwritable(f"{folder}: cannot write ({error.strerror or error}); name another folder with -o") from error


def _content_digest(about: dict[str, Any]) -> str:
    """Return the sha256 of the content of ``run.json``, but for the digest itself."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    """Return the sha256 of a file."""
    sha = hashlib.sha256()
    try:
        with files.open_regular(path) as file:
            while part := file.read(2**22):
                sha.update(part)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
    return sha.hexdigest()
