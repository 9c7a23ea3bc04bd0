"""How other tools evaluate by default, as protocols with their sources.

No value is stored under them; ``vqbench explain`` leads from and to them. Settings of metrics that a tool does not have
are those of ``clean``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vqbench.errors import UsageError, nearest, shortened
from vqbench.protocol import MEASURE, MeasureProtocol

_CLEAN = MEASURE["clean"]


@dataclass(frozen=True)
class ToolProtocol:
    """What a tool computes by default."""

    protocol: MeasureProtocol
    metrics: tuple[str, ...]  # that the tool has
    source: str
    tested: str = ""  # by what; empty where no test against the tool exists


def _tool(name: str, metrics: tuple[str, ...], source: str, tested: str = "", **settings: object) -> ToolProtocol:
    summary = f"as {name} evaluates by default"
    return ToolProtocol(replace(_CLEAN, name=name, summary=summary, **settings), metrics, source, tested)  # type: ignore[arg-type]  # fields of the protocol


OTHER_TOOLS: Mapping[str, ToolProtocol] = {
    tool.protocol.name: tool
    for tool in (
        _tool(
            "torch-fidelity",
            ("rfid", "kid"),
            "torch-fidelity 0.4, feature_extractor_inceptionv3.py: bilinear to 299 as TensorFlow 1 had it",
            "the package",
        ),
        _tool(
            "torchmetrics",
            ("psnr", "ssim", "lpips", "rfid"),
            "torchmetrics 1.9: PeakSignalNoiseRatio of the mean error, SSIM of a Gaussian window, LPIPS of AlexNet, "
            "FID by torch-fidelity's network after an antialiased resize; PSNR, SSIM and LPIPS with data_range=1 and "
            "normalize=True for images in [0, 1], FID of images of 8 bits",
            "the package",
            psnr_mean="set",
            ssim_border="reflect",
            lpips_net="alex",
            fid_resize="torchmetrics",
        ),
        _tool(
            "scikit-image",
            ("psnr", "ssim"),
            "scikit-image 0.26, skimage.metrics: structural_similarity of a uniform 7x7 window; data_range=1",
            "the package",
            ssim="uniform7",
        ),
        _tool(
            "pytorch-fid",
            ("rfid",),
            "pytorch-fid 0.3, inception.py: F.interpolate to 299, bilinear, align_corners=False, no antialiasing",
            "the package, on the weights of torch-fidelity",
            fid_resize="pytorch",
        ),
        _tool(
            "clean-fid",
            ("rfid",),
            "clean-fid 0.1.35, resize.py, mode clean: Pillow's bicubic filter per channel in floats; on the weights of "
            "torch-fidelity, as clean-fid's own TorchScript network is not to be had",
            "the package, on the weights of torch-fidelity",
            fid_resize="clean",
        ),
        _tool(
            "taming",
            ("rfid",),
            "taming-transformers, README: rFID by torch-fidelity, no evaluation script; here against the originals",
        ),
        _tool(
            "llamagen",
            ("psnr", "ssim", "rfid"),
            "LlamaGen, tokenizer_image/reconstruction_vq_ddp.py: 8 bits by floor(127.5 x + 128), PSNR per image, SSIM "
            "of a uniform 7x7 window with data_range=2 on [0, 1]; its FID (guided-diffusion's graph) is taken to be "
            "torch-fidelity's, untested",
            "its arithmetic, by scikit-image",
            pixels="round",
            ssim="uniform7",
            ssim_range=2.0,
        ),
    )
}


def named_protocol(name: str) -> MeasureProtocol:
    """Return the protocol ``name``, of vqbench or of another tool.

    Raises UsageError for an unknown name.
    """
    known = {**MEASURE, **{each: tool.protocol for each, tool in OTHER_TOOLS.items()}}
    if name not in known:
        raise UsageError(f"unknown protocol {shortened(name)!r}; {nearest(name, known)}")
    return known[name]
