"""Autoencoders that diffusers' save_pretrained wrote: VQModel and AutoencoderKL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqbench.errors import UsageError
from vqbench.measuring.models.image_model import Compute, ImageModel, weights_digest
from vqbench.networks.compat import ensure_torchvision

CONFIG = "config.json"
CLASSES = ("VQModel", "AutoencoderKL")


def is_diffusers_folder(folder: Path) -> bool:
    """Return whether a folder has what ``save_pretrained`` writes."""
    return (folder / CONFIG).is_file() or (folder / "model_index.json").is_file()


def diffusers_model(folder: Path, device: torch.device) -> ImageModel:
    """Load an autoencoder from a local folder.

    Nothing is fetched, and nothing in it runs. A VQModel returns its codes. An AutoencoderKL decodes the mode of its
    posterior, which is deterministic.

    Raises UsageError for folders of other models, and without the package diffusers.
    """
    name = _class_of(folder)
    loaded = _loaded(folder, name).to(device).eval()
    config = loaded.config
    if config.in_channels != config.out_channels:
        raise UsageError(f"{folder}: it takes {config.in_channels} channels and returns {config.out_channels}")
    compute: Compute = _quantized(loaded) if name == "VQModel" else _mode(loaded)
    stamp = ("diffusers", name, json.dumps(dict(config), sort_keys=True, default=str), weights_digest(loaded))
    return ImageModel(
        str(folder),
        f"diffusers' {name}",
        compute,
        stamp,
        device,
        declared=True,
        channels=config.in_channels,
        num_codes=config.num_vq_embeddings if name == "VQModel" else None,
    )


def _class_of(folder: Path) -> str:
    """Return the class that a folder's configuration names.

    Raises UsageError for others than :data:`CLASSES`.
    """
    if not (folder / CONFIG).is_file():
        parts = [
            path.parent.name for path in sorted(folder.glob(f"*/{CONFIG}")) if path.parent.name in ("vae", "vqvae")
        ]
        which = f"; give its autoencoder, {folder / parts[0]}" if parts else ""
        raise UsageError(f"{folder}: a pipeline of diffusers, not a model{which}")
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        name = content.get("_class_name") if isinstance(content, dict) else None
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / CONFIG}: not JSON of a model ({error})") from None
    if name not in CLASSES:
        raise UsageError(f"{folder}: a model of class {name}; of diffusers' models, {' and '.join(CLASSES)} are read")
    return str(name)


def _loaded(folder: Path, name: str) -> Any:
    ensure_torchvision()
    try:
        import diffusers
    except ImportError as error:
        raise UsageError(f"{folder}: needs the package diffusers ({error}); pip install 'vqbench[diffusers]'") from None
    try:
        loaded, report = getattr(diffusers, name).from_pretrained(
            str(folder), local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise UsageError(f"{folder}: cannot be loaded ({' '.join(str(error).split())[:200]})") from error
    absent = [*report["missing_keys"], *report["mismatched_keys"]]
    if absent:  # which would be left at random
        raise UsageError(f"{folder}: its weights lack {len(absent)} parameters ({absent[0]}); save the model again")
    return loaded.float()


def _quantized(model: Any) -> Compute:
    def compute(x: Tensor) -> tuple[Tensor, Tensor]:
        z = model.encode(x).latents  # (B, dim, h, w)
        z_q, _, (_, _, codes) = model.quantize(z)
        spatial = z_q if model.config.norm_type == "spatial" else None
        y: Tensor = model.decoder(model.post_quant_conv(z_q), spatial)
        return y, codes.view(len(z), *z.shape[-2:])

    return compute


def _mode(model: Any) -> Compute:
    def compute(x: Tensor) -> Tensor:
        y: Tensor = model.decode(model.encode(x).latent_dist.mode()).sample
        return y

    return compute
