"""The same method in vector-quantize-pytorch, fed the same tensors: equal to a tolerance, or known to differ.

The reference is its release 1.32. Where its defaults differ from ours, they are set to ours and named.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vqbench.functional as Q
from tests.support.quantizing import DIM, NUM_CODES, feature_map
from vqbench.errors import UsageError
from vqbench.quantizers.fsq import FSQ
from vqbench.quantizers.grouped import Grouped
from vqbench.quantizers.l2norm_vq import L2NormVQ
from vqbench.quantizers.lfq import LFQ
from vqbench.quantizers.lucidrains import Lucidrains
from vqbench.quantizers.residual import Residual
from vqbench.quantizers.rotation import Rotation
from vqbench.quantizers.simvq import SimVQ
from vqbench.quantizers.vq import VQ
from vqbench.quantizers.vq_bridge import VQBridge
from vqbench.quantizers.vq_ema import VQEMA
from vqbench.quantizers.vq_ema_restart import VQEMARestart

try:
    import vector_quantize_pytorch as peer
except ImportError:
    peer = None  # type: ignore[assignment]

needs_peer = pytest.mark.skipif(peer is None, reason="vector-quantize-pytorch is not installed: pip install .[peers]")
# Its commitment weighs 1, its averages decay by 0.8 and its gradient is rotated by default.
AS_OURS: Any = {"commitment_weight": 0.25, "decay": 0.99, "rotation_trick": False}


def maps(count: int = 5) -> list[Tensor]:
    """Feature maps of equal size, each with a gradient."""
    return [feature_map(seed=seed) for seed in range(count)]


def gradient(z: Tensor, z_q: Tensor, loss: Tensor) -> Tensor:
    """The gradient at z of the loss and a fixed linear function of z_q."""
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(7))
    (result,) = torch.autograd.grad((z_q * upstream).sum() + loss.sum(), z)
    return result


def without_kmeans(quantizer: Any) -> Any:
    """The quantizer with averages that begin at one feature a code, as the package's do."""
    for module in quantizer.modules():
        if isinstance(module, VQEMARestart):
            module.started.fill_(True)
    return quantizer


def assert_same_steps(ours: nn.Module, theirs: nn.Module) -> None:
    """Five steps give equal codes, and z_q, loss and gradient to 1e-5."""
    for z in maps():
        out = ours(z)
        z_q, codes, loss = theirs(z)
        assert torch.equal(out.codes[..., 0], codes)
        torch.testing.assert_close(out.z_q, z_q, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.loss, loss.squeeze(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient(z, out.z_q, out.loss), gradient(z, z_q, loss), rtol=1e-4, atol=1e-5)


@needs_peer
@pytest.mark.parametrize("rotation", [False, True])
def test_running_means(rotation: bool) -> None:
    """Five steps of EMA without restarts: codes equal, values, loss, gradient and codebook to 1e-5, rotated or not."""
    ours: Any = VQEMARestart(NUM_CODES, DIM, threshold=0.0)
    theirs = peer.VectorQuantize(
        dim=DIM, codebook_size=NUM_CODES, accept_image_fmap=True, **(AS_OURS | {"rotation_trick": rotation})
    )
    theirs._codebook.embed.data.copy_(ours.codebook)
    theirs._codebook.embed_avg.data.copy_(ours.codebook)
    without_kmeans(ours)
    if rotation:
        wrapper = Rotation(NUM_CODES, DIM, codebook="restart", decay=0.99)
        wrapper.inner, ours = ours, wrapper
    assert_same_steps(ours, theirs)
    book = (ours.inner if rotation else ours).codebook
    torch.testing.assert_close(book, theirs.codebook, rtol=1e-5, atol=1e-5)


@needs_peer
def test_running_means_of_unit_features() -> None:
    """Five steps of the cosine codebook, started alike: codes equal, values, loss, gradient and codebook to 1e-5."""
    ours = VQEMA(NUM_CODES, DIM, distance="cosine", beta=0.25, decay=0.99)
    theirs = peer.VectorQuantize(
        dim=DIM, codebook_size=NUM_CODES, accept_image_fmap=True, use_cosine_sim=True, **AS_OURS
    )
    theirs._codebook.embed.data.copy_(ours.codebook)
    theirs._codebook.embed_avg.data.copy_(ours.codebook)
    assert_same_steps(ours, theirs)
    torch.testing.assert_close(ours.codebook, theirs.codebook, rtol=1e-5, atol=1e-5)


@needs_peer
def test_restarts_reset_the_averages_alike() -> None:
    """A starved code becomes a feature with average count = threshold in both; which feature is each one's own draw.

    Known difference: theirs is the feature itself, ours has the Laplace smoothing of the step, some 1e-5 of it.
    """
    ours = without_kmeans(VQEMARestart(3, DIM, threshold=2.0))
    theirs = peer.VectorQuantize(dim=DIM, codebook_size=3, accept_image_fmap=True, threshold_ema_dead_code=2, **AS_OURS)
    book = torch.stack([torch.zeros(DIM), torch.ones(DIM), torch.full((DIM,), 900.0)])
    z = feature_map()
    for quantizer, averages, counts in (
        (ours, ours.average_sums, ours.average_counts),
        (theirs, theirs._codebook.embed_avg[0], theirs._codebook.cluster_size[0]),
    ):
        quantizer.codebook = book.clone()
        counts.copy_(torch.tensor([9.0, 9.0, 1.0]))
        averages.copy_(book * counts[:, None])
        quantizer(z)
        assert counts[2] == 2
        assert torch.cdist(quantizer.codebook[2:], Q.flatten(z, DIM)).min() < 1e-3
        torch.testing.assert_close(averages[2], 2 * quantizer.codebook[2], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.codebook[:2], theirs.codebook[:2], rtol=1e-4, atol=1e-4)


@needs_peer
def test_fsq_numbers_codes_alike() -> None:
    """Every code decodes to the same levels, exactly."""
    for levels in ("8x6x5", "7x5x5x5x5"):
        counts = [int(word) for word in levels.split("x")]
        theirs, ours = peer.FSQ(counts), FSQ(512, len(counts), levels=levels)
        nn.init.eye_(ours.project_out.weight)
        nn.init.zeros_(ours.project_out.bias)
        codes = torch.arange(ours.num_codes)
        decoded = Q.flatten(ours.decode(codes.view(1, 1, -1, 1)), len(counts))
        assert torch.equal(decoded, theirs.implicit_codebook)


@needs_peer
def test_fsq_bounds_differently() -> None:
    """Known difference: (1 + ε) and an inverse tanh for the shift there, the paper's (1 − ε) and tan here.

    Odd levels have no shift, and fewer than 2 % of features change their code; with even levels fewer than 3 % do.
    """
    torch.manual_seed(0)
    z = torch.randn(4, 3, 40, 40)
    for levels, share in (("7x5x5", 0.02), ("8x6x8", 0.03)):
        theirs, ours = peer.FSQ([int(word) for word in levels.split("x")]), FSQ(512, 3, levels=levels)
        nn.init.eye_(ours.project_in.weight)
        nn.init.zeros_(ours.project_in.bias)
        differs = (ours(z).codes[..., 0] != theirs(z)[1]).float().mean()
        assert 0 < differs < share


@needs_peer
@pytest.mark.parametrize(("temperature", "tolerance"), [(1.0, 1e-4), (0.01, 2e-2)])
def test_lfq(temperature: float, tolerance: float) -> None:
    """Codes and values equal; loss and gradient to 1e-4 of their size at T = 1, and to 2 % at T = 0.01.

    Known difference: theirs takes logarithms of no less than 1e-5, which a sharp softmax falls below.
    """
    theirs = peer.LFQ(codebook_size=64, dim=6, entropy_loss_weight=0.1, commitment_loss_weight=0.25)
    ours = LFQ(64, 6, temperature=temperature)
    for linear in (ours.project_in, ours.project_out):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    z = feature_map(batch=20)
    out = ours(z)
    z_q, codes, loss = theirs(z, inv_temperature=1 / temperature)
    assert torch.equal(out.codes[..., 0], codes)
    torch.testing.assert_close(out.z_q, z_q)
    torch.testing.assert_close(out.loss, loss, rtol=tolerance, atol=1e-6)
    expected = gradient(z, z_q, loss)
    error = (gradient(z, out.z_q, out.loss) - expected).norm() / expected.norm()
    assert error < tolerance


@needs_peer
@pytest.mark.parametrize("rotation", [False, True])
def test_simvq(rotation: bool) -> None:
    """Codes, values, loss, and the gradients of z and of the linear map to 1e-5; theirs has no bias, ours is set to 0.

    Theirs rotates by default: the rotation trick is then put onto ours.
    """
    ours = SimVQ(NUM_CODES, DIM)
    nn.init.zeros_(ours.projection.bias)
    theirs = peer.SimVQ(dim=DIM, codebook_size=NUM_CODES, channel_first=True, rotation_trick=rotation)
    theirs.frozen_codebook.copy_(ours.frozen)
    theirs.code_transform.weight.data.copy_(ours.projection.weight)
    z = feature_map()
    out = ours(z)
    if rotation:
        out.z_q = Q.rotate(z, out.z_q)
    z_q, codes, loss = theirs(z)
    assert torch.equal(out.codes[..., 0], codes)
    torch.testing.assert_close(out.z_q, z_q, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out.loss, loss)
    on_map = [
        torch.autograd.grad(term, weight, retain_graph=True)[0]
        for term, weight in ((out.loss, ours.projection.weight), (loss, theirs.code_transform.weight))
    ]
    torch.testing.assert_close(*on_map, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(z, out.z_q, out.loss), gradient(z, z_q, loss), rtol=1e-4, atol=1e-5)


@needs_peer
def test_residual() -> None:
    """Five steps of three levels with a codebook each: codes equal, values and loss to 1e-5, gradients to 1e-4.

    Known differences: every level there passes the decoder's gradient straight through, so that it reaches z three
    times, here once; theirs gives one loss a level, ours their mean.
    """
    ours = without_kmeans(Residual(512, DIM, threshold=0.0))
    theirs = peer.ResidualVQ(dim=DIM, num_quantizers=3, codebook_size=8, **AS_OURS)
    for level, layer in zip(ours.levels, theirs.layers, strict=True):
        layer._codebook.embed.data.copy_(level.codebook)
        layer._codebook.embed_avg.data.copy_(level.codebook)
    for z in maps():
        out = ours(z)
        z_q, codes, losses = theirs(Q.flatten(z, DIM)[None])  # its maps must be square
        z_q = Q.unflatten(z_q[0], z)
        assert torch.equal(out.codes.flatten(0, 2), codes[0])
        torch.testing.assert_close(out.z_q, z_q, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.loss, losses.mean(), rtol=1e-5, atol=1e-6)
        ours_at_z = gradient(z, 3 * out.z_q, out.loss)
        torch.testing.assert_close(ours_at_z, gradient(z, z_q, losses.mean()), rtol=1e-4, atol=1e-5)


@needs_peer
def test_grouped() -> None:
    """Two chunks with a codebook each are two heads there: codes and values equal, in evaluation."""
    ours = Grouped(529, DIM, init="sonnet").eval()
    theirs = peer.VectorQuantize(
        dim=DIM, codebook_dim=3, heads=2, separate_codebook_per_head=True, codebook_size=23, accept_image_fmap=True
    ).eval()
    theirs._codebook.embed.data.copy_(torch.stack(ours.codebooks()))
    z = feature_map()
    out, (z_q, codes, _) = ours(z), theirs(z)
    assert torch.equal(out.codes, codes)
    torch.testing.assert_close(out.z_q, z_q)


@needs_peer
def test_l2norm_vq() -> None:
    """Cosine codes of 4 channels with the same maps: codes equal, values to 1e-6, in evaluation.

    Known difference: theirs learns by averages of unit vectors, ours by gradient.
    """
    ours = L2NormVQ(NUM_CODES, DIM, code_dim=4).eval()
    theirs = peer.VectorQuantize(
        dim=DIM, codebook_dim=4, codebook_size=NUM_CODES, use_cosine_sim=True, accept_image_fmap=True
    ).eval()
    theirs._codebook.embed.data.copy_(nn.functional.normalize(ours.codebook.detach(), dim=1))
    theirs.project_in.load_state_dict(ours.project_in.state_dict())
    theirs.project_out.load_state_dict(ours.project_out.state_dict())
    z = feature_map()
    out, (z_q, codes, _) = ours(z), theirs(z)
    assert torch.equal(out.codes[..., 0], codes)
    torch.testing.assert_close(out.z_q, z_q, rtol=1e-5, atol=1e-6)


@needs_peer
def test_vq_bridge() -> None:
    """The package, with our bridge as its codebook, selects the same codes and the same values to 1e-5."""
    ours = VQBridge(NUM_CODES, DIM, hidden=16)
    nn.init.normal_(ours.recover.weight)

    class Bridge(nn.Module):
        def forward(self, codes: Tensor) -> Tensor:
            return ours.codebook.view(codes.shape)

    theirs = peer.VectorQuantize(
        dim=DIM, codebook_size=NUM_CODES, accept_image_fmap=True, vq_bridge=Bridge(), rotation_trick=False
    ).eval()
    z = feature_map()
    out, (z_q, codes, _) = ours(z), theirs(z)
    assert torch.equal(out.codes[..., 0], codes)
    torch.testing.assert_close(out.z_q, z_q, rtol=1e-5, atol=1e-5)


# The wrapper ----------------------------------------------------------------------------------------------------------


@needs_peer
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rotation_trick": False, "learnable_codebook": True, "ema_update": False},
        {"heads": 2, "codebook_dim": 3},
        {"heads": 2, "codebook_dim": 3, "separate_codebook_per_head": True},
        {"use_cosine_sim": True, "codebook_dim": 4},
        {"kmeans_init": True, "threshold_ema_dead_code": 2.0},
    ],
    ids=lambda options: "-".join(options) or "defaults",
)
def test_the_wrapper_keeps_the_contract(options: dict[str, Any]) -> None:
    """Shapes, types, a gradient at z, and in evaluation ``decode`` of the codes is what the decoder got, exactly."""
    torch.manual_seed(0)
    quantizer, z = Lucidrains(NUM_CODES, DIM, **options), feature_map()
    out = quantizer(z)
    assert out.z_q.shape == z.shape
    assert out.codes.shape == (5, 4, 5, options.get("heads", 1))
    assert out.codes.dtype == torch.int64
    assert gradient(z, out.z_q, out.loss).abs().sum() > 0
    quantizer.eval()
    out = quantizer(z)
    assert torch.equal(quantizer.decode(out.codes), out.z_q)
    assert quantizer(z.bfloat16()).z_q.dtype == torch.bfloat16


@needs_peer
def test_the_wrapper_passes_its_arguments_on() -> None:
    """The wrapper's defaults are the package's, and what is set reaches it."""
    import inspect

    theirs = inspect.signature(peer.VectorQuantize.__init__).parameters
    for name, parameter in inspect.signature(Lucidrains.__init__).parameters.items():
        if name not in ("self", "num_codes", "dim"):
            assert parameter.default == theirs[name].default, name
    quantizer = Lucidrains(NUM_CODES, DIM, decay=0.7, commitment_weight=0.3)
    assert (quantizer.inner._codebook.decay, quantizer.inner.commitment_weight) == (0.7, 0.3)


@needs_peer
def test_vq_is_the_wrapper_with_a_learnable_codebook() -> None:
    """With ``learnable_codebook`` its gradient at z, and its codes, are those of VQ with β = 1, to 1e-5.

    Known difference: theirs is one term, mean((e − z)²), whose gradient reaches both sides with the same weight.
    """
    ours = VQ(NUM_CODES, DIM, beta=1.0, init="sonnet")
    theirs = Lucidrains(
        NUM_CODES, DIM, learnable_codebook=True, ema_update=False, rotation_trick=False, commitment_weight=1.0
    )
    theirs.inner._codebook.embed.data.copy_(ours.codebook.detach())
    z = feature_map()
    a, b = ours(z), theirs(z)
    assert torch.equal(a.codes, b.codes)
    torch.testing.assert_close(gradient(z, a.z_q, a.loss), gradient(z, b.z_q, b.loss), rtol=1e-5, atol=1e-6)


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrapper can be imported and listed; building it raises UsageError with the command."""
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    with pytest.raises(UsageError, match=r"pip install .vector-quantize-pytorch>=1\.32,<2"):
        Lucidrains(NUM_CODES, DIM)
