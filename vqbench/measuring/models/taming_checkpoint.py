"""VQGAN checkpoints of taming-transformers, with the YAML file of their training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vqbench import registry
from vqbench.assets.content import digest_of_file
from vqbench.backbone import Autoencoder
from vqbench.errors import UsageError
from vqbench.measuring.models.image_model import ImageModel
from vqbench.measuring.models.trained_autoencoder import autoencoder_model

CLASSES = ("VQModel", "VQModelInterface", "VQNoDiscModel")  # one codebook, searched by its distance


def taming_model(path: Path, device: torch.device) -> ImageModel:
    """Load a VQGAN; only tensors are read from the file, nothing in it runs.

    The architecture is in the YAML file beside it, see :func:`config_of`.

    Raises UsageError for a configuration that is missing or of another model, AssetError for a file that is no such
    checkpoint, or whose weights do not fit the configuration.
    """
    config = config_of(path)
    given = _parameters(config)
    shape = given["ddconfig"]
    digest = digest_of_file(path)
    sides = [shape["resolution"] >> level for level in range(len(shape["ch_mult"]))]
    attention = [str(side) for side in shape["attn_resolutions"] if side in sides]
    backbone = registry.create(
        "backbones",
        "pretrained",
        channels=shape["in_channels"],
        dim=given["embed_dim"],
        file=str(path.absolute()),
        sha256=digest,
        width=shape["ch"],
        multipliers="x".join(map(str, shape["ch_mult"])),
        blocks=shape["num_res_blocks"],
        attention="x".join(attention) or "none",
        z_channels=shape["z_channels"],
        size=shape["resolution"],
    )
    codebook = backbone.codebook
    if tuple(codebook.shape) != (given["n_embed"], given["embed_dim"]):
        raise UsageError(
            f"{path}: its codebook has {len(codebook)} codes of {codebook.shape[1]} dimensions, in {config} "
            f"{given['n_embed']} of {given['embed_dim']}; give the configuration of this checkpoint"
        )
    quantizer = registry.create("quantizers", "vq", num_codes=len(codebook), dim=codebook.shape[1])
    quantizer.codebook.data.copy_(codebook)
    return autoencoder_model(
        Autoencoder(backbone, quantizer), str(path), "VQGAN checkpoint", device, channels=shape["in_channels"]
    )


def config_of(path: Path) -> Path:
    """Find the YAML file of a checkpoint.

    In its folder: STEM.yaml, else the only .yaml file; else ../configs as taming-transformers writes it: model.yaml, or
    the only file *-project.yaml. Raises UsageError for none or several.
    """
    beside, above = path.parent, path.absolute().parent.parent / "configs"
    for choice in (
        [path.with_suffix(".yaml")],
        sorted(beside.glob("*.yaml")),
        [above / "model.yaml"],
        sorted(above.glob("*-project.yaml")),
    ):
        found = [each for each in choice if each.is_file()]
        if len(found) > 1:
            names = ", ".join(each.name for each in found[:5])
            raise UsageError(f"{path}: {len(found)} files may be its configuration ({names}); name it {path.stem}.yaml")
        if found:
            return found[0]
    raise UsageError(
        f"{path}: weights alone, without an architecture; put its YAML file beside it as {path.stem}.yaml, or give "
        "FILE.py:name with a function that builds the model"
    )


def _parameters(config: Path) -> dict[str, Any]:
    """Return ``model.params`` of a configuration, checked. Raises UsageError."""
    import yaml

    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        target = str(content["model"]["target"]).rpartition(".")[2]
        params = dict(content["model"]["params"])
        shape = dict(params["ddconfig"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{config}: not a configuration of taming-transformers ({type(error).__name__}: {str(error)[:100]})"
        ) from None
    if target not in CLASSES or shape.get("double_z"):
        raise UsageError(
            f"{config}: a {target}, which has another quantizer; {', '.join(CLASSES)} are read, others by FILE.py:name"
        )
    whole = {"n_embed": params, "embed_dim": params} | dict.fromkeys(
        ("in_channels", "out_ch", "ch", "num_res_blocks", "z_channels", "resolution"), shape
    )
    for name, where in whole.items():
        _require(config, name, where, lambda value: isinstance(value, int) and value > 0)
    for name in ("ch_mult", "attn_resolutions"):
        _require(config, name, shape, lambda value: isinstance(value, list) and all(isinstance(v, int) for v in value))
    if shape["in_channels"] != shape["out_ch"]:
        raise UsageError(f"{config}: {shape['in_channels']} channels in and {shape['out_ch']} out; give an autoencoder")
    return {**params, "ddconfig": shape}


def _require(config: Path, name: str, where: Mapping[str, Any], fits: Any) -> None:
    if name not in where or not fits(where[name]):
        raise UsageError(f"{config}: {name} is {where.get(name)!r:.60}; write it as taming-transformers does")
