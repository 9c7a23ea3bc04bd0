"""TF32 holds for the backbone alone: in the forward pass and in the backward pass, quantizers have true float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench import registry
from vqbench.backbone import Autoencoder, Backbone
from vqbench.functional.precision import allow_tf32
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.training.adversarial.passes import FullBatch, MicroBatches
from vqbench.training.engine import Engine

SEEN: list[tuple[str, str, str, str]] = []  # part, forward or backward, then the precision of products, convolutions


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """The settings hold for the whole process: they are restored, and what was seen is cleared."""
    backends: Any = torch.backends
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    before = [part.fp32_precision for part in parts]
    SEEN.clear()
    yield
    for part, value in zip(parts, before, strict=True):
        part.fp32_precision = value


def see(part: str, when: str) -> None:
    backends: Any = torch.backends
    SEEN.append((part, when, backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision))


class Probe(torch.autograd.Function):
    """The identity, which notes the settings that it runs under."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, part: str) -> Tensor:
        ctx.part = part
        see(part, "forward")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        see(ctx.part, "backward")
        return gradient, None


class ProbeBackbone(Backbone):
    """One convolution each way between two probes."""

    def __init__(self, learns: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Conv2d(1, 4, 2, 2), nn.ConvTranspose2d(4, 1, 2, 2)
        self.encoder.requires_grad_(learns)

    def encode(self, x: Tensor) -> Tensor:
        return Probe.apply(self.encoder(Probe.apply(x, "backbone")), "backbone")

    def decode(self, z_q: Tensor) -> Tensor:
        return Probe.apply(self.decoder(Probe.apply(z_q, "backbone")), "backbone")

    def last_layer(self) -> Tensor:
        return self.decoder.weight


class ProbeQuantizer(Quantizer):
    """Probes on all ways that a gradient takes through a quantizer: to the features, and to the codebook."""

    paper = "none"

    def __init__(self, num_codes: int = 8, dim: int = 4, inner: Quantizer | None = None) -> None:
        super().__init__(num_codes, dim)
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, "normal"))
        self.inner = inner

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        z = Probe.apply(z if self.inner is None else self.inner(z).z_q, "quantizer")
        codebook = Probe.apply(self.codebook, "quantizer")
        codes = Q.code_map(Q.assign(Q.flatten(z, self.dim), codebook), z)
        z_q = Q.look_up(codes, codebook)
        loss = Probe.apply(Q.vq_loss(z, z_q, 0.25), "quantizer")
        return QuantizerOutput(Probe.apply(Q.straight_through(z, z_q), "quantizer"), codes, loss)

    def decode(self, codes: Tensor) -> Tensor:
        return Q.look_up(codes, self.codebook)


class Bare(ProbeQuantizer):
    """The same without the decorator, as an outside plugin may be written."""

    forward = ProbeQuantizer.forward.__wrapped__  # type: ignore[attr-defined]


def require_right() -> None:
    """All of the backbone ran in TF32, all of the quantizer in float32, and the settings are back where they were."""
    assert {(part, when) for part, when, *_ in SEEN} == {(w, p) for w in ("backbone", "quantizer") for p in PASSES}
    wrong = [each for each in SEEN if each[2:] != {"backbone": ("tf32",) * 2, "quantizer": ("ieee",) * 2}[each[0]]]
    assert not wrong
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


PASSES = ("forward", "backward")


@pytest.mark.parametrize("make", [ProbeQuantizer, Bare, lambda: ProbeQuantizer(inner=ProbeQuantizer())])
def test_tf32_stays_in_the_backbone(make: Any) -> None:
    """A training step under TF32: encoder and decoder compute in it, the quantizer and its gradients do not, whether
    the quantizer is decorated, is not, or holds another one."""
    engine = Engine("cpu", "tf32")
    model = Autoencoder(ProbeBackbone(), make())
    wrapped = engine.setup(model)
    x = torch.randn(2, 1, 8, 8)
    for _ in range(2):
        reconstruction, out = wrapped(x.requires_grad_())
        engine.backward(model.quantizer.objective((reconstruction - x).square().mean(), out, 64))
        require_right()


def test_an_encoder_that_does_not_learn_leaves_the_settings_right() -> None:
    """Where no gradient leaves the quantizer towards the encoder, the end of the backward pass restores TF32."""
    allow_tf32(True)
    model = Autoencoder(ProbeBackbone(learns=False), ProbeQuantizer())
    reconstruction, out = model(torch.randn(2, 1, 8, 8))
    (reconstruction.square().mean() + out.loss).backward()
    require_right()


@pytest.mark.parametrize("parts", [None, 2])
def test_tf32_stays_in_the_backbone_of_an_adversarial_step(parts: int | None) -> None:
    """The same for a step whose gradients come from elsewhere, in one piece and in parts."""
    engine = Engine("cpu", "tf32")
    model, x = Autoencoder(ProbeBackbone(), ProbeQuantizer()), torch.randn(4, 1, 8, 8).requires_grad_()
    batch = FullBatch(model, engine, x) if parts is None else MicroBatches(model, engine, x, parts)
    batch.at_last_layer(torch.ones_like(batch.images))
    batch.backward(batch.out.loss, torch.ones_like(batch.images))
    require_right()


def test_an_engine_of_float32_has_no_tf32() -> None:
    """cuDNN's convolutions use TF32 by default: an engine of float32 forbids it, also after one of TF32."""
    Engine("cpu", "tf32")
    Engine("cpu", "float32")
    backends: Any = torch.backends
    assert [each.fp32_precision for each in (backends.cuda.matmul, backends.cudnn.conv)] == ["ieee"] * 2


def test_no_module_uses_the_older_switches() -> None:
    """PyTorch fails where older and newer switches of TF32 are mixed, so the older ones occur nowhere."""
    root = Path(__file__).parents[2]
    older = (".allow_tf32", "set_float32_matmul_precision(")
    folders = (root / "vqbench", root / "quantizers", root / "tests")
    files = {file: file.read_text() for folder in folders for file in folder.rglob("*.py") if file != Path(__file__)}
    found = [f"{file.name}: {word}" for file, text in files.items() for word in older if word in text]
    assert not found


@pytest.mark.parametrize("name", [name for name in registry.names("quantizers") if name != "lucidrains"])
def test_every_quantizer_leaves_the_settings_as_they_were(name: str) -> None:
    """A step of every quantizer under TF32 ends with the settings that it began with, and its values are the same."""
    ends = []
    for tf32 in (False, True):
        allow_tf32(tf32)
        torch.manual_seed(0)
        quantizer = registry.load("quantizers", name)(16, 8)
        z = torch.randn(2, 8, 4, 4, requires_grad=True)
        out = quantizer(2 * z)
        (out.z_q.square().sum() + out.loss).backward()
        assert torch.backends.cuda.matmul.fp32_precision == ("tf32" if tf32 else "ieee")
        ends.append(z.grad)
    assert torch.equal(*ends)
