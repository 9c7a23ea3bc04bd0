"""Programs of ``torch.export``: every built-in quantizer has them, or a reason why not."""

from __future__ import annotations

import io

import pytest
import torch

from vqbench import registry
from vqbench.backbone import Autoencoder
from vqbench.errors import UsageError
from vqbench.evaluation.coding import ImageCoder
from vqbench.evaluation.exporting.programs import programs
from vqbench.functional.precision import allow_tf32

QUICK = ("vq", "residual", "sqvae")  # the others are traced by `tox -e slow`
WITHOUT_ENCODER = {"lucidrains": "no encode.pt2: torch.export cannot trace Lucidrains, whose code branches on values"}
NAMES = [
    name if name in (*QUICK, *WITHOUT_ENCODER) else pytest.param(name, marks=pytest.mark.slow)
    for name in registry.names("quantizers")
    if name not in ("identity", "distortion_bound")
]


def coder(name: str) -> ImageCoder:
    try:
        found = registry.resolve("quantizers", name, {}, {"num_codes": 64, "dim": 8})
        quantizer = registry.create("quantizers", found.name, **found.args)
    except UsageError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    backbone = registry.load("backbones", "conv")(1, 8, hidden=8, residual_hidden=4)
    model = Autoencoder(backbone, quantizer).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ImageCoder(model, torch.device("cpu"), 1, 16)


@pytest.mark.parametrize("name", NAMES)
def test_programs_take_any_number_of_images(name: str) -> None:
    """The saved programs give the model's codes and images, for one image and for more than a block of features."""
    allow_tf32(False)  # as an engine leaves the switches, which torch.export cannot read
    subject = coder(name)
    made = programs(subject)
    expected = [WITHOUT_ENCODER[name]] if name in WITHOUT_ENCODER else []
    assert len(made.left_out) == len(expected)
    assert all(text.startswith(start) for text, start in zip(made.left_out, expected, strict=True))
    for count in (1, 70):
        images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(count))
        codes = subject.encode(images)
        if "encode.pt2" in made.files:
            assert torch.equal(torch.export.load(io.BytesIO(made.files["encode.pt2"])).module()(images), codes)
        decoded = torch.export.load(io.BytesIO(made.files["decode.pt2"])).module()(codes)
        torch.testing.assert_close(decoded.detach(), subject.decode(codes), rtol=0, atol=1e-5)


def test_a_run_without_codes_has_no_programs() -> None:
    """The upper bound quantizes nothing, and says so."""
    made = programs(coder("identity"))
    assert made.files == {}
    assert made.left_out == [
        "no programs: this run quantizes nothing, so it has no codes; reconstruct its images instead"
    ]
