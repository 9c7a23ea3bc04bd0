"""Autoencoders of diffusers, measured from a local folder: what diffusers' own forward pass makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vqbench
from tests.measuring.conftest import pairs, write_pairs
from vqbench.api.measure_models import ModelOptions, opened_model
from vqbench.errors import UsageError
from vqbench.networks.compat import ensure_torchvision

__all__ = ["pairs"]  # a fixture
pytest.importorskip("diffusers", reason="the extra `diffusers` is not installed")
SHAPE: dict[str, Any] = {
    "block_out_channels": (32, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
    "norm_num_groups": 8,
}


def saved(folder: Path, name: str, **changes: Any) -> Any:
    """A model with random weights, as save_pretrained leaves it."""
    ensure_torchvision()
    import diffusers

    torch.manual_seed(1)
    model = getattr(diffusers, name)(**SHAPE, **changes).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("norm", ["group", "spatial"])
def test_vqmodel(norm: str, tmp_path: Path) -> None:
    """A VQModel gives what its forward pass gives, and the codes that decode to it."""
    model = saved(tmp_path / "model", "VQModel", num_vq_embeddings=64, norm_type=norm)
    originals, _ = write_pairs(tmp_path, count=6)
    inputs = opened_model(originals, ModelOptions(tmp_path / "model"))
    batch = next(inputs.reader.batches())
    with torch.no_grad():
        expected = model(batch.originals).sample
        entries = model.quantize.embedding.weight[batch.codes.squeeze(-1)].permute(0, 3, 1, 2)
        quantized, _, _ = model.quantize(model.encode(batch.originals).latents)
    torch.testing.assert_close(batch.reconstructions, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(entries, quantized, rtol=1e-4, atol=1e-4)
    found = vqbench.evaluate(originals, model=tmp_path / "model", metrics=["l1", "usage"])
    error = (batch.reconstructions.clamp(-1, 1) - batch.originals).abs().mean() / 2
    assert found["l1"] == pytest.approx(float(error), rel=1e-5)
    assert found["usage"] == pytest.approx(100 * len(batch.codes.unique()) / 64)


def test_autoencoder_kl(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    """An AutoencoderKL decodes the mode of its posterior, and has no codes."""
    model = saved(tmp_path / "vae", "AutoencoderKL")
    inputs = opened_model(pairs[0], ModelOptions(tmp_path / "vae"))
    batch = next(inputs.reader.batches())
    with torch.no_grad():
        expected = model(batch.originals, sample_posterior=False).sample
    torch.testing.assert_close(batch.reconstructions, expected, rtol=1e-4, atol=1e-4)
    assert inputs.codes is None
    assert np.isfinite(vqbench.evaluate(pairs[0], model=tmp_path / "vae")["psnr"])


def test_folders_of_other_models(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    """A pipeline, a model of another class, a damaged one, and weights that lack some are one sentence each."""
    saved(tmp_path / "pipe" / "vae", "AutoencoderKL")
    (tmp_path / "pipe" / "model_index.json").write_text("{}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    saved(tmp_path / "empty", "VQModel")
    for weights in (tmp_path / "empty").glob("*.safetensors"):
        weights.unlink()
    for name, sentence in (
        ("pipe", "a pipeline of diffusers, not a model; give its autoencoder, .*vae"),
        ("other", "a model of class UNet2DModel; of diffusers' models, VQModel and AutoencoderKL"),
        ("damaged", "not JSON of a model"),
        ("empty", "cannot be loaded"),
    ):
        with pytest.raises(UsageError, match=sentence):
            vqbench.evaluate(pairs[0], model=tmp_path / name)


def test_weights_that_lack_parameters(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    """Parameters that the file lacks, which diffusers would leave at random, are refused."""
    from safetensors.torch import load_file, save_file

    saved(tmp_path / "model", "VQModel")
    (file,) = (tmp_path / "model").glob("*.safetensors")
    weights = load_file(file)
    del weights["quant_conv.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(UsageError, match=r"its weights lack 1 parameters \(quant_conv.weight\)"):
        vqbench.evaluate(pairs[0], model=tmp_path / "model")
