"""The contract of the quantizers beyond the paper's, and the formulas that their docstrings name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from vqbench.quantizer import Quantizer
from vqbench.quantizers.bsq import BSQ
from vqbench.quantizers.entropy_vq import EntropyVQ
from vqbench.quantizers.fsq import FSQ
from vqbench.quantizers.grouped import Grouped
from vqbench.quantizers.gumbel import Gumbel
from vqbench.quantizers.ibq import IBQ
from vqbench.quantizers.l2norm_vq import L2NormVQ
from vqbench.quantizers.lfq import LFQ
from vqbench.quantizers.multiscale import MultiScale
from vqbench.quantizers.offline_kmeans import OfflineKMeans
from vqbench.quantizers.residual import Residual
from vqbench.quantizers.rotation import Rotation
from vqbench.quantizers.simvq import SimVQ
from vqbench.quantizers.vq_bridge import VQBridge
from vqbench.quantizers.vq_ema_restart import VQEMARestart
from vqbench.quantizers.vq_ste_plus import VQSTEPlus

NUM_CODES, DIM = 24, 6

CASES: dict[str, tuple[type[Quantizer], dict[str, Any]]] = {
    "fsq": (FSQ, {}),
    "fsq-levels": (FSQ, {"levels": "7x5x2"}),
    "vq_ema_restart": (VQEMARestart, {}),
    "vq_ema_restart-random": (VQEMARestart, {"kmeans_iterations": 0}),
    "lfq": (LFQ, {}),
    "bsq": (BSQ, {"commitment": 0.2}),
    "simvq": (SimVQ, {}),
    **{f"rotation-{c}": (Rotation, {"codebook": c}) for c in ("ema", "restart", "gradient", "cvq")},
    "l2norm_vq": (L2NormVQ, {"code_dim": 4}),
    "residual": (Residual, {}),
    "rq": (Residual, dict(Residual.presets["rq"])),
    "grouped": (Grouped, {}),
    "grouped-uneven": (Grouped, {"groups": 4}),
    "movq": (Grouped, {"groups": 3, "shared": True}),
    "gumbel": (Gumbel, {}),
    "ibq": (IBQ, {}),
    "entropy_vq": (EntropyVQ, {}),
    "multiscale": (MultiScale, {}),
    "vq_ste_plus": (VQSTEPlus, {}),
    "vq_ste_plus-plain": (VQSTEPlus, {"inner_rate": 0.0, "affine": 1.0}),
    "vq_bridge": (VQBridge, {"hidden": 16}),
    "offline_kmeans": (OfflineKMeans, {}),
    "offline_kmeans-fitted": (OfflineKMeans, {"fit_at": 0.3}),
    "seqgan": (EntropyVQ, dict(EntropyVQ.presets["seqgan"])),
}


def build(case: str, num_codes: int = NUM_CODES, dim: int = DIM, seed: int = 0) -> Quantizer:
    """The quantizer of ``case`` with weights from ``seed``."""
    torch.manual_seed(seed)
    kind, arguments = CASES[case]
    return kind(num_codes, dim, **arguments)


def feature_map(batch: int = 5, side: int = 4, seed: int = 1) -> Tensor:
    """A feature map (batch, DIM, side, side + 1), unequal sides, with a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, DIM, side, side + 1, generator=generator).requires_grad_()


def state(quantizer: Quantizer) -> dict[str, Tensor]:
    """A copy of everything that the quantizer saves."""
    return copy.deepcopy(dict(quantizer.state_dict()))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two states hold the same tensors, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def train_step(quantizer: Quantizer, z: Tensor, seed: int) -> Tensor:
    """One step of plain gradient descent, seeded as a recipe seeds it; gives the objective."""
    torch.manual_seed(seed)
    quantizer.anneal(0.3)
    quantizer.zero_grad()
    out = quantizer(z)
    target = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
    loss = quantizer.objective((out.z_q - target).square().mean(), out, pixels=z[0].numel())
    loss.backward()
    with torch.no_grad():
        for name, parameter in quantizer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            parameter.sub_(0.01 * parameter.grad)
    return loss.detach()


@pytest.mark.parametrize("case", CASES)
def test_output_has_the_contracts_shapes_types_and_ranges(case: str) -> None:
    """z_q looks like z, in a dense layout; codes are int64 (B, H, W, depth) in [0, K), loss and logs finite scalars."""
    quantizer, z = build(case), feature_map()
    for training in (True, False):
        out = quantizer.train(training)(z)
        assert out.z_q.shape == z.shape
        assert out.z_q.dtype == z.dtype
        assert out.z_q.is_contiguous() or out.z_q.is_contiguous(memory_format=torch.channels_last)
        assert out.codes.shape == (5, 4, 5, quantizer.depth)
        assert out.codes.dtype == torch.int64
        assert ((out.codes >= 0) & (out.codes < quantizer.num_codes)).all()
        for scalar in (out.loss, *out.logs.values()):
            assert scalar.shape == ()
            assert scalar.isfinite()


@pytest.mark.parametrize("case", CASES)
def test_decode_inverts_codes_in_evaluation(case: str) -> None:
    """The decoder gets exactly what ``decode`` gives for the codes, after a training step; nothing changes by it."""
    quantizer, z = build(case), feature_map()
    train_step(quantizer, z, seed=3)
    quantizer.eval()
    before = state(quantizer)
    torch.manual_seed(1)
    out = quantizer(z)
    torch.manual_seed(2)
    again = quantizer(z)
    assert torch.equal(quantizer.decode(out.codes), out.z_q)
    assert torch.equal(out.z_q, again.z_q)
    assert torch.equal(out.loss, again.loss)
    assert same(before, state(quantizer))


@pytest.mark.parametrize("case", CASES)
def test_gradients(case: str) -> None:
    """The decoder's gradient arrives at z, and every parameter gets a gradient that is not zero within two steps."""
    quantizer, z = build(case), feature_map()
    (quantizer(z).z_q * torch.randn(z.shape)).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0
    train_step(quantizer, feature_map(seed=2), seed=3)
    train_step(quantizer, feature_map(seed=2), seed=4)
    for name, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_state_goes_on_as_the_original(case: str) -> None:
    """After a round trip through ``state_dict`` the next two training steps are the same, bit for bit."""
    original = build(case)
    for step in range(3):
        train_step(original, feature_map(seed=step), seed=step)
    loaded = build(case, seed=99)
    loaded.load_state_dict(original.state_dict())
    for step in (7, 8):
        losses = [train_step(quantizer, feature_map(seed=step), seed=step) for quantizer in (original, loaded)]
        assert torch.equal(*losses)
        assert same(state(original), state(loaded))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(1, DIM, 3, 4), (1, DIM, 1, 2), (1, DIM, 1, 1)])
def test_fewer_features_than_codes(case: str, shape: tuple[int, ...]) -> None:
    """One image with 12, 2 or 1 positions trains twice and evaluates without NaN."""
    quantizer, z = build(case), torch.randn(shape, requires_grad=True)
    assert train_step(quantizer, z, seed=3).isfinite()
    assert train_step(quantizer, z, seed=4).isfinite()
    assert all(tensor.isfinite().all() for tensor in quantizer.state_dict().values())
    assert quantizer.eval()(z).z_q.isfinite().all()


@pytest.mark.parametrize("case", CASES)
def test_memory_layout_and_precision(case: str) -> None:
    """A channels-last input gives what its contiguous copy gives; bfloat16 keeps its type and float32's codes."""
    z = torch.randn(3, 4, 5, DIM).permute(0, 3, 2, 1)
    outs = []
    for layout in (z, z.contiguous()):
        torch.manual_seed(5)
        outs.append(build(case)(layout))
    torch.testing.assert_close(outs[0].z_q, outs[1].z_q)
    assert torch.equal(outs[0].codes, outs[1].codes)
    half, quantizer = z.bfloat16(), build(case).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = quantizer(half)
    assert out.z_q.dtype == torch.bfloat16
    assert out.loss.dtype == torch.float32
    assert torch.equal(out.codes, quantizer(half.float()).codes)


@pytest.mark.parametrize("case", CASES)
def test_a_training_step_compiles_as_one_graph(case: str) -> None:
    """torch.compile traces a training step without a graph break, so without waiting for the device, to equal ends."""
    torch._dynamo.reset()
    quantizers, z = (build(case), build(case)), feature_map()
    outs = []
    for forward in (quantizers[0], torch.compile(quantizers[1], fullgraph=True, backend="eager")):
        torch.manual_seed(4)
        outs.append(forward(z))
    torch.testing.assert_close(outs[0].loss, outs[1].loss)
    torch.testing.assert_close(state(quantizers[0]), state(quantizers[1]))


@pytest.mark.parametrize("case", CASES)
def test_every_quantizer_names_its_paper(case: str) -> None:
    """Each class names a year and an arXiv number."""
    kind = CASES[case][0]
    assert any(str(year) in kind.paper for year in range(1980, 2030))
    assert "arXiv" in kind.paper
