"""The formulas of the quantizers beyond the paper's, against hand-worked values and brute force."""

from __future__ import annotations

from math import log, log2, prod, sqrt, tan
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from tests.quantizers.test_modern import DIM, NUM_CODES, feature_map, train_step
from vqbench.errors import UsageError
from vqbench.quantizers.bsq import BSQ
from vqbench.quantizers.entropy_vq import EntropyVQ
from vqbench.quantizers.fsq import FSQ
from vqbench.quantizers.grouped import Grouped
from vqbench.quantizers.gumbel import Gumbel
from vqbench.quantizers.ibq import IBQ
from vqbench.quantizers.l2norm_vq import L2NormVQ
from vqbench.quantizers.lfq import LFQ
from vqbench.quantizers.multiscale import MultiScale, grids, resample
from vqbench.quantizers.offline_kmeans import OfflineKMeans
from vqbench.quantizers.residual import Residual
from vqbench.quantizers.rotation import Rotation
from vqbench.quantizers.simvq import SimVQ
from vqbench.quantizers.vq import VQ
from vqbench.quantizers.vq_bridge import VQBridge
from vqbench.quantizers.vq_ema import VQEMA
from vqbench.quantizers.vq_ema_restart import VQEMARestart
from vqbench.quantizers.vq_ste_plus import VQSTEPlus


def pass_through(quantizer: Any) -> Any:
    """The quantizer with its linear maps set to the identity: ``dim`` is its own number of channels."""
    for linear in (quantizer.project_in, quantizer.project_out):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    return quantizer


def as_map(rows: Tensor) -> Tensor:
    """Features (N, D) as a map (1, D, 1, N)."""
    return rows.T[None, :, None]


def all_signs(num_bits: int) -> Tensor:
    """All codes of L bits as signs (2^L, L), the first bit the highest."""
    return torch.tensor([[2 * (code >> bit & 1) - 1 for bit in range(num_bits)][::-1] for code in range(2**num_bits)])


# The budget -----------------------------------------------------------------------------------------------------------


def test_scalar_levels_are_the_published_ones_or_near() -> None:
    """The paper's table, 8x8x8 for 512, and within 5 % of the bits for every size from 5 to 5,000."""
    published = {256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5), 2**14: (8, 8, 8, 6, 5)}
    assert {codes: Q.scalar_levels(codes) for codes in published} == published
    assert [Q.scalar_levels(codes) for codes in (512, 24, 125)] == [(8, 8, 8), (5, 5), (5, 5, 5)]
    for codes in (*range(5, 100), 200, 333, 700, 2000, 5000):
        assert abs(log2(prod(Q.scalar_levels(codes))) / log2(codes) - 1) < 0.05, codes


def test_nearest_root() -> None:
    """512 codes are 3 levels of 8, 2 of 23 and 4 of 5; a level has never fewer than 2."""
    assert [Q.nearest_root(512, depth) for depth in (1, 2, 3, 4, 9, 20)] == [512, 23, 8, 5, 2, 2]


@pytest.mark.parametrize(
    "quantizer",
    [
        *(kind(512, 64) for kind in (FSQ, LFQ, BSQ, Residual, Grouped, MultiScale)),
        Residual(512, 64, depth=4, shared=True),
        Grouped(512, 64, groups=4, shared=True),
        MultiScale(512, 64, side=7),
    ],
    ids=lambda quantizer: f"{type(quantizer).__name__}-{quantizer.depth}",
)
def test_bits_are_within_five_percent_of_the_budget(quantizer: Any) -> None:
    """At 512 codes a position costs 9 bits within 5 %, counted by hand from the codes."""
    assert quantizer.bits == pytest.approx(9, rel=0.05)
    if not isinstance(quantizer, MultiScale):
        assert quantizer.bits == pytest.approx(log2(quantizer.num_codes**quantizer.depth))


# FSQ ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "reach", "offset", "shift", "expected"),
    [
        (5, 1.998, 0, 0, [-1, -0.5, 0, 0.5, 1]),
        (6, 2.4975, 0.5, 0.202918, [-1, -1 / 3, 0, 1 / 3, 2 / 3]),
        (7, 2.997, 0, 0, [-1, -1 / 3, 0, 1 / 3, 1]),
        (8, 3.4965, 0.5, 0.143983, [-1, -0.5, 0, 0.25, 0.75]),
    ],
)
def test_fsq_rounds_as_published(count: int, reach: float, offset: float, shift: float, expected: list[float]) -> None:
    """Constants of a channel of 5 to 8 levels, and what becomes of −3, −0.5, 0, 0.5 and 3."""
    quantizer = pass_through(FSQ(512, 1, levels=str(count)))
    constants = [quantizer.reach.item(), quantizer.offset.item(), quantizer.shift.item()]
    assert constants == pytest.approx([reach, offset, shift], abs=1e-6)
    z_q = quantizer(as_map(torch.tensor([[-3.0], [-0.5], [0.0], [0.5], [3.0]]))).z_q
    assert z_q.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_fsq_codes_are_all_the_combinations() -> None:
    """Every code decodes to levels of its own, that spell it in mixed radix: 7 levels first, then 5, then 2."""
    quantizer = pass_through(FSQ(512, 3, levels="7x5x2"))
    codes = torch.arange(70).view(1, 1, 70, 1)
    values = Q.flatten(quantizer.decode(codes), 3)
    digits = (values * torch.tensor([3, 2, 1]) + torch.tensor([3, 2, 1])).round().long()
    assert torch.equal(digits @ torch.tensor([1, 7, 35]), torch.arange(70))
    assert (digits.amin(0).tolist(), digits.amax(0).tolist()) == ([0, 0, 0], [6, 4, 1])
    inside = quantizer.reach - 0.01
    y = torch.clamp(digits - torch.tensor([3, 2, 1]) + quantizer.offset, -inside, inside)
    wanted = torch.atanh(y / quantizer.reach) - quantizer.shift
    assert torch.equal(quantizer(as_map(wanted)).codes, codes)


def test_fsq_gradient_is_that_of_the_bounding() -> None:
    """The gradient passes the rounding: d tanh(z + shift)·reach / ⌊L/2⌋."""
    quantizer = pass_through(FSQ(512, 1, levels="8"))
    z = torch.tensor([[0.4]]).requires_grad_()
    quantizer(as_map(z)).z_q.sum().backward()
    reach = 7 * 0.999 / 2
    assert z.grad is not None
    assert z.grad.item() == pytest.approx((1 - torch.tensor(0.4 + tan(0.5 / reach)).tanh().item() ** 2) * reach / 4)


def test_fsq_wants_levels_that_read_like_levels() -> None:
    """Words and single levels raise UsageError."""
    with pytest.raises(UsageError, match="like 8x5x5x5, not '8,5'"):
        FSQ(512, 4, levels="8,5")
    with pytest.raises(UsageError, match="at least 2 levels"):
        FSQ(512, 4, levels="8x1")


# Bits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_bits", [1, 2, 5])
def test_bits_pack_and_unpack(num_bits: int) -> None:
    """Codes are the signs read as a binary number, the first the highest; zero counts as minus."""
    signs = all_signs(num_bits)
    assert torch.equal(Q.pack_bits(signs), torch.arange(2**num_bits))
    assert torch.equal(Q.unpack_bits(torch.arange(2**num_bits), num_bits), signs.float())
    assert Q.signs(torch.tensor([-2.0, 0.0, 2.0])).tolist() == [-1, -1, 1]


@pytest.mark.parametrize("num_bits", [1, 2, 3, 6])
def test_entropies_of_bits_are_those_over_all_codes(num_bits: int) -> None:
    """Entropy and mean posterior from the bits equal those of the product distribution over all 2^L codes."""
    logits = torch.randn(7, num_bits, generator=torch.Generator().manual_seed(0)).double()
    posterior = (logits @ all_signs(num_bits).double().T / 2).softmax(1)  # (7, 2^L)
    torch.testing.assert_close(Q.bit_entropy(logits), -(posterior * posterior.log()).sum(1))
    torch.testing.assert_close(Q.mean_bit_posterior(logits), posterior.mean(0))


def test_lfq_loss_by_brute_force() -> None:
    """Commitment and both entropies, from a softmax of 2⟨y, c⟩/T over all codes."""
    quantizer = pass_through(LFQ(16, 4, commitment=0.3, entropy=0.2, diversity=0.7, temperature=0.5)).double()
    y = torch.randn(9, 4).double()
    out = quantizer(as_map(y))
    codes = all_signs(4).double()
    p = (2 * y @ codes.T / 0.5).softmax(1)
    entropies = -(p * p.log()).sum(1).mean() + 0.7 * (p.mean(0) * p.mean(0).log()).sum()
    expected = 0.3 * (y - y.sign()).square().mean() + 0.2 * entropies
    torch.testing.assert_close(out.loss, expected)
    assert torch.equal(out.codes.flatten(), torch.cdist(y, codes).argmin(1))
    torch.testing.assert_close(Q.flatten(out.z_q, 4), y.sign())


def test_bsq_loss_by_brute_force() -> None:
    """On the sphere: the nearest corner, and entropies from a softmax of 2τ⟨u, c⟩ over all corners, divided by τ."""
    quantizer = pass_through(BSQ(16, 4, entropy=0.2, diversity=0.7, commitment=0.3, inverse_temperature=3.0)).double()
    y = torch.randn(9, 4).double()
    out = quantizer(as_map(y))
    u, codes = F.normalize(y), all_signs(4).double() / 2
    p = (2 * 3 * u @ codes.T).softmax(1)
    entropies = -(p * p.log()).sum(1).mean() + 0.7 * (p.mean(0) * p.mean(0).log()).sum()
    nearest = torch.cdist(u, codes).argmin(1)
    torch.testing.assert_close(out.loss, 0.2 * entropies / 3 + 0.3 * (u - codes[nearest]).square().sum(1).mean())
    assert torch.equal(out.codes.flatten(), nearest)
    torch.testing.assert_close(Q.flatten(out.z_q, 4), codes[nearest])


def test_vq_loss_puts_beta_on_the_commitment() -> None:
    """Of (1 + β)·mean((z − e)²), the code gets the gradient of weight 1 and z that of weight β."""
    z, e = torch.tensor([3.0, 4.0]).requires_grad_(), torch.zeros(2).requires_grad_()
    loss = Q.vq_loss(z, e, 0.25)
    on_z, on_e = torch.autograd.grad(loss, (z, e))
    assert loss.item() == pytest.approx(1.25 * 12.5)
    assert on_z.tolist() == pytest.approx([0.75, 1])
    assert on_e.tolist() == pytest.approx([-3, -4])


# Codebooks with a map -------------------------------------------------------------------------------------------------


def test_simvq_moves_all_codes_by_the_linear_map() -> None:
    """Loss and codes are those of VQ with the mapped codebook; one step moves codes that nothing chose, C stays."""
    quantizer, z = SimVQ(NUM_CODES, DIM), feature_map()
    assert quantizer.frozen.std().item() == pytest.approx(1 / sqrt(DIM), rel=0.2)
    plain = VQ(NUM_CODES, DIM)
    plain.codebook.data.copy_(quantizer.frozen @ quantizer.projection.weight.T + quantizer.projection.bias)
    out, expected = quantizer(z), plain(z)
    assert torch.equal(out.codes, expected.codes)
    torch.testing.assert_close(out.loss, expected.loss)
    before, frozen = quantizer.codebook.detach().clone(), quantizer.frozen.clone()
    train_step(quantizer, z, seed=0)
    assert (quantizer.codebook != before).any(1).all()
    assert len(out.codes.unique()) < NUM_CODES
    assert torch.equal(quantizer.frozen, frozen)


def test_vq_bridge_starts_with_equal_codes_and_parts_them() -> None:
    """At the start code 0 takes every feature; after some steps of Adam several codes are used, and 24 share tokens."""
    torch.manual_seed(0)
    quantizer, z = VQBridge(NUM_CODES, DIM, hidden=16), feature_map(batch=20)
    assert (quantizer(z).codes == 0).all()
    assert quantizer.codebook.shape == (NUM_CODES, DIM)
    adam = torch.optim.Adam(quantizer.parameters(), 1e-2)
    for _ in range(30):
        adam.zero_grad()
        quantizer(z).loss.backward()
        adam.step()
    assert len(quantizer(z).codes.unique()) > 3


def test_l2norm_vq_knows_directions_alone() -> None:
    """Codes are of the largest cosine, the decoder gets the unit code, and lengths of z and e change nothing."""
    quantizer = pass_through(L2NormVQ(NUM_CODES, DIM, code_dim=DIM))
    z = feature_map()
    out = quantizer(z)
    units, book = F.normalize(Q.flatten(z, DIM)), F.normalize(quantizer.codebook)
    chosen = book[(units @ book.T).argmax(1)]
    torch.testing.assert_close(Q.flatten(out.z_q, DIM), chosen)
    torch.testing.assert_close(out.loss, 1.25 * (units - chosen).square().mean())
    quantizer.codebook.data *= torch.rand(NUM_CODES, 1) + 0.5
    again = quantizer(3 * z)
    assert torch.equal(out.codes, again.codes)
    torch.testing.assert_close(out.loss, again.loss)


# The rotation trick ---------------------------------------------------------------------------------------------------


def test_rotation_on_the_toy() -> None:
    """z = (3, 4, 0), e = (0, 2, 1): forward e, and the gradient of (1, 1, 1) to six digits."""
    z = torch.tensor([3.0, 4.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    e = torch.tensor([0.0, 2.0, 1.0]).view(1, 3, 1, 1)
    out = Q.rotate(z, e)
    out.sum().backward()
    assert torch.equal(out, e)
    assert z.grad is not None
    assert z.grad.flatten().tolist() == pytest.approx([0.738393, 0.196205, 0.127590], abs=1e-6)


def test_rotation_keeps_the_angle_of_the_gradient() -> None:
    """The Jacobian is λR: it takes z to e, R is orthogonal, and g makes with e the angle that λRᵀg makes with z."""
    torch.manual_seed(0)
    z, e = torch.randn(2, 5).double()
    jacobian: Any = torch.autograd.functional.jacobian(lambda v: Q.rotate(v[None], e[None])[0], z)
    torch.testing.assert_close(jacobian @ z, e)
    rotation = jacobian * z.norm() / e.norm()
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(5).double())
    g = torch.randn(5).double()
    torch.testing.assert_close(F.cosine_similarity(g, e, 0), F.cosine_similarity(jacobian.T @ g, z, 0))


@pytest.mark.parametrize(("z", "e"), [([1.0, 0.0], [-2.0, 0.0]), ([0.0, 0.0], [1.0, 0.0]), ([1.0, 0.0], [0.0, 0.0])])
def test_rotation_is_finite_where_it_is_singular(z: list[float], e: list[float]) -> None:
    """Opposite vectors and zeros give finite gradients and the code itself."""
    at = torch.tensor([z]).requires_grad_()
    out = Q.rotate(at, torch.tensor([e]))
    out.sum().backward()
    assert out.tolist() == [e]
    assert at.grad is not None
    assert at.grad.isfinite().all()


def test_rotation_changes_the_gradient_alone() -> None:
    """Codes, values, loss and codebook after a step are those of vq_ema; the gradient at z is another."""
    torch.manual_seed(0)
    inner = VQEMA(NUM_CODES, DIM, beta=1.0, decay=0.8)
    quantizer = Rotation(NUM_CODES, DIM)
    quantizer.inner.load_state_dict(inner.state_dict())
    gradients = []
    for model in (inner, quantizer):
        z = feature_map()
        out = model(z)
        (out.z_q * torch.arange(DIM).view(DIM, 1, 1)).sum().backward()
        gradients.append((out.z_q.detach(), out.codes, out.loss.detach(), z.grad))
    for ours, expected in zip(gradients[1][:3], gradients[0][:3], strict=True):
        torch.testing.assert_close(ours, expected)
    assert torch.equal(inner.codebook, quantizer.inner.codebook)
    assert not torch.allclose(gradients[0][3], gradients[1][3])


# Running means --------------------------------------------------------------------------------------------------------


def test_lloyd_finds_separate_clusters() -> None:
    """From a feature of each, two clouds give their means and counts; a centre without features stays."""
    cloud = torch.randn(30, 2)
    features = torch.cat([cloud, cloud[:20] + 50])
    centres, counts = Q.lloyd(features, torch.stack([features[0], features[40], torch.full((2,), 900.0)]), 3)
    torch.testing.assert_close(centres[:2], torch.stack([cloud.mean(0), features[30:].mean(0)]))
    assert centres[2].tolist() == [900, 900]
    assert counts.tolist() == [30, 20, 0]


def test_restart_starts_by_kmeans_and_then_averages() -> None:
    """The first step's codebook is Lloyd's from drawn features, and the averages then follow γh + (1 − γ)v from it."""
    quantizer = VQEMARestart(3, 2, threshold=0.0).double()
    z = torch.randn(2, 2, 3, 3).double()
    torch.manual_seed(5)
    out = quantizer(z)
    torch.manual_seed(5)
    fresh = Q.anchors("unique", Q.flatten(z, 2), quantizer.codebook, "l2")
    centres, counts = Q.lloyd(Q.flatten(z, 2), fresh, 10)
    torch.testing.assert_close(out.z_q, Q.look_up(out.codes, centres))
    one_hot = F.one_hot(out.codes.flatten(), 3).double()
    n = 0.99 * counts.clamp(min=1) + 0.01 * one_hot.sum(0)
    m = 0.99 * counts.clamp(min=1)[:, None] * centres + 0.01 * one_hot.T @ Q.flatten(z, 2)
    torch.testing.assert_close(quantizer.codebook, m / ((n + 1e-5) / (n.sum() + 3e-5) * n.sum())[:, None])


def test_restart_puts_starved_codes_onto_features_for_good() -> None:
    """A code far away becomes a feature of the batch, and the next step's average does not take it back."""
    quantizer = VQEMARestart(4, 2, threshold=1.0)
    quantizer.started.fill_(True)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [5.0, 5.0], [900.0, 900.0], [-900.0, 0.0]]))
    quantizer.average_counts.copy_(torch.tensor([20.0, 20.0, 0.5, 20.0]))
    quantizer.average_sums.copy_(quantizer.codebook * quantizer.average_counts[:, None])
    z = torch.randn(1, 2, 6, 6) + 1
    quantizer(z)
    moved = quantizer.codebook[2].clone()
    assert torch.cdist(moved[None], Q.flatten(z, 2)).min() < 1e-3
    assert quantizer.average_counts[2] == 1
    torch.testing.assert_close(quantizer.codebook[3], torch.tensor([-900.0, 0.0]), rtol=1e-3, atol=0)
    assert quantizer(z).codes.eq(2).any()
    assert (quantizer.codebook[2] - moved).norm() < 2


def test_restart_with_no_threshold_never_moves_an_unused_code() -> None:
    """At threshold 0 a code that nothing chooses stays where it was put, however long."""
    quantizer = VQEMARestart(2, 2, threshold=0.0)
    quantizer.started.fill_(True)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [900.0, 900.0]]))
    quantizer.average_sums.copy_(quantizer.codebook)
    for _ in range(50):
        quantizer(torch.randn(1, 2, 6, 6))
    torch.testing.assert_close(quantizer.codebook[1], torch.full((2,), 900.0), rtol=1e-3, atol=0)


def test_offline_kmeans_is_the_identity_until_it_is_fitted() -> None:
    """Before ``fit_at`` z and its gradient pass; after it the code does, with no gradient; evaluation gives codes."""
    quantizer, z = OfflineKMeans(NUM_CODES, DIM, fit_at=0.5), feature_map()
    for progress in (0.0, 0.4999):
        quantizer.anneal(progress)
        out = quantizer(z)
        assert torch.equal(out.z_q, z)
        (gradient,) = torch.autograd.grad(out.z_q.sum(), z)
        assert torch.equal(gradient, torch.ones_like(z))
    quantizer.anneal(0.5)
    book = quantizer.codebook.clone()
    out = quantizer(z)
    assert out.loss == 0
    assert not torch.equal(book, quantizer.codebook)
    (gradient,) = torch.autograd.grad(out.z_q.sum(), z)
    assert gradient.abs().sum() == 0
    assert torch.equal(quantizer.eval().decode(quantizer(z).codes), quantizer(z).z_q)


def test_offline_kmeans_fits_once() -> None:
    """The first step from ``fit_at`` on starts from k-means on its batch, the next and a resumed one do not."""
    quantizer = OfflineKMeans(NUM_CODES, DIM, fit_at=0.5, threshold=0.0)
    quantizer(feature_map(seed=1))
    quantizer.anneal(0.7)
    torch.manual_seed(3)
    z = feature_map(batch=20, seed=2)
    out = quantizer(z)
    torch.manual_seed(3)
    fresh = Q.anchors("unique", Q.flatten(z, DIM), quantizer.codebook, "l2")
    centres, _ = Q.lloyd(Q.flatten(z.detach(), DIM), fresh, 50)
    torch.testing.assert_close(out.z_q, Q.look_up(out.codes, centres))
    resumed = OfflineKMeans(NUM_CODES, DIM, fit_at=0.5, threshold=0.0)
    resumed.load_state_dict(quantizer.state_dict())
    for again in (quantizer, resumed):
        before = again.codebook.clone()
        again.anneal(0.8)
        again(feature_map(seed=9) + 100)  # far features: a fit would jump there
        assert (again.codebook - before).norm(dim=1).median() < 10


# Several codes a position ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_residual_is_greedy(shared: bool) -> None:
    """In evaluation every level takes the code nearest to what is left; z_q is their sum, the loss the mean error."""
    quantizer = Residual(512, DIM, shared=shared).eval()
    for level in quantizer.levels:
        level.codebook.normal_()
    z = feature_map()
    out = quantizer(z)
    left, loss = Q.flatten(z, DIM), 0.0
    for depth in range(3):
        book = quantizer.levels[0 if shared else depth].codebook
        chosen = torch.cdist(left, book).argmin(1)
        assert torch.equal(chosen, out.codes[..., depth].flatten())
        left = left - book[chosen]
        loss += 0.25 * left.square().mean().item() / 3
    torch.testing.assert_close(Q.flatten(z - out.z_q, DIM), left)
    assert out.loss.item() == pytest.approx(loss, rel=1e-5)


def test_residual_shared_codebook_learns_once_a_step_from_all_levels() -> None:
    """All levels of a training step see the codebook as evaluation does; one update follows, by all residuals."""
    quantizer = Residual(512, DIM, depth=4, shared=True, threshold=0.0)
    quantizer(feature_map(seed=5))
    level, z = quantizer.levels[0], feature_map(batch=9)
    before = {name: value.clone() for name, value in level.state_dict().items()}
    expected = quantizer.eval()(z)
    out = quantizer.train()(z)
    assert torch.equal(out.codes, expected.codes)
    assert torch.equal(out.z_q, expected.z_q)
    residuals, left = [], Q.flatten(z, DIM)
    for codes in out.codes.unbind(-1):
        residuals.append(left)
        left = left - before["codebook"][codes.flatten()]
    one_hot = F.one_hot(out.codes.permute(3, 0, 1, 2).flatten(), quantizer.num_codes).float()
    torch.testing.assert_close(level.average_counts, 0.99 * before["average_counts"] + 0.01 * one_hot.sum(0))
    sums = 0.99 * before["average_sums"] + 0.01 * one_hot.T @ torch.cat(residuals)
    torch.testing.assert_close(level.average_sums, sums)


def test_residual_levels_learn_each_from_what_is_left() -> None:
    """After some steps the error falls with every level that is decoded."""
    torch.manual_seed(0)
    quantizer, z = Residual(512, DIM), feature_map(batch=40)
    for _ in range(20):
        quantizer(z)
    codes = quantizer.eval()(z).codes
    errors, total = [], torch.zeros_like(z)
    for depth, level in enumerate(quantizer.levels):
        total = total + Q.look_up(codes[..., depth, None], level.codebook)
        errors.append((z - total).square().mean().item())
    assert errors[0] > 1.2 * errors[1] > 1.4 * errors[2]


@pytest.mark.parametrize("shared", [False, True])
def test_grouped_is_the_nearest_of_all_combinations(shared: bool) -> None:
    """The chunks' codes are the nearest of the product codebook, written out; the loss is VQ's on whole vectors."""
    quantizer = Grouped(9, DIM, groups=2, shared=shared)
    assert quantizer.num_codes == 3
    nn.init.normal_(quantizer.codebook)
    z = feature_map()
    out = quantizer(z)
    first, second = quantizer.codebooks()
    product = torch.cat([first.repeat_interleave(3, 0), second.repeat(3, 1)], 1)  # (9, DIM)
    chosen = torch.cdist(Q.flatten(z, DIM), product).argmin(1)
    assert torch.equal(out.codes.flatten(0, 2) @ torch.tensor([3, 1]), chosen)
    torch.testing.assert_close(Q.flatten(out.z_q, DIM), product[chosen])
    torch.testing.assert_close(out.loss, 1.25 * (Q.flatten(z, DIM) - product[chosen]).square().mean())


def test_grouped_wants_groups_that_fit() -> None:
    """More groups than channels, or a shared codebook for unequal chunks, raise UsageError."""
    with pytest.raises(UsageError, match="7 groups need at least as many channels, not 6"):
        Grouped(512, DIM, groups=7)
    with pytest.raises(UsageError, match="divide 6, not 4"):
        Grouped(512, DIM, groups=4, shared=True)


# Soft choices ---------------------------------------------------------------------------------------------------------


def test_gumbel_kl_and_temperature() -> None:
    """The KL is 0 for equal logits and ln K for a sure one; the temperature is half a cosine from 1 to 1/16."""
    quantizer = Gumbel(8, 2, kl=2.0)
    nn.init.zeros_(quantizer.logits.weight)
    nn.init.zeros_(quantizer.logits.bias)
    z = torch.randn(2, 2, 3, 3)
    assert quantizer(z).loss.item() == pytest.approx(0, abs=1e-6)
    quantizer.logits.bias.data[3] = 100.0
    assert quantizer(z).loss.item() == pytest.approx(2 * log(8), rel=1e-5)
    assert (quantizer.eval()(z).codes == 3).all()
    seen = []
    for progress in (0, 0.25, 0.5, 1):
        quantizer.anneal(progress)
        seen.append(quantizer.temperature.item())
    assert seen == pytest.approx([1, 0.0625 + 0.9375 * (1 + sqrt(0.5)) / 2, 0.53125, 0.0625])


def test_gumbel_samples_by_its_logits() -> None:
    """Cold, z_q is one code vector, drawn with the softmax of the logits, wherever the codes lie."""
    torch.manual_seed(0)
    quantizer = Gumbel(3, 2)
    nn.init.zeros_(quantizer.logits.weight)
    quantizer.logits.bias.data.copy_(torch.tensor([0.1, 0.6, 0.3]).log())
    quantizer.temperature.fill_(1e-4)
    out = quantizer(torch.zeros(1, 2, 100, 100))
    share = torch.bincount(out.codes.flatten(), minlength=3) / 1e4
    torch.testing.assert_close(share, torch.tensor([0.1, 0.6, 0.3]), atol=0.02, rtol=0)
    close = (out.z_q - quantizer.decode(out.codes)).abs().amax(1) < 1e-3
    assert close.float().mean() > 0.99


def test_ibq_gradient_goes_through_the_softmax() -> None:
    """z_q is the code of the largest product, its gradient that of Σ p_k e_k with e held; all codes get one."""
    torch.manual_seed(0)
    quantizer = IBQ(5, 3).double()
    nn.init.normal_(quantizer.codebook)
    rows, g = torch.randn(4, 3).double().requires_grad_(), torch.randn(4, 3).double()
    z_q = Q.flatten(quantizer(as_map(rows)).z_q, 3)
    book = quantizer.codebook
    torch.testing.assert_close(z_q, book[(rows @ book.T).argmax(1)])
    gradient, on_codes = torch.autograd.grad((z_q * g).sum(), (rows, book))
    soft = (rows @ book.T).softmax(1) @ book.detach()
    expected, through_logits = torch.autograd.grad((soft * g).sum(), (rows, book))
    torch.testing.assert_close(gradient, expected)
    one_hot = F.one_hot((rows @ book.T).argmax(1), 5).double()
    torch.testing.assert_close(on_codes, through_logits + one_hot.T @ g)
    assert (on_codes.abs().sum(1) > 0).all()


def test_ibq_loss_by_hand() -> None:
    """2 + β times the squared error, and the entropies at T; β falls on the codebook's term."""
    torch.manual_seed(0)
    quantizer = IBQ(5, 3, beta=0.3, entropy=0.2, temperature=0.5).double()
    nn.init.normal_(quantizer.codebook)
    rows = torch.randn(4, 3).double()
    logits = rows @ quantizer.codebook.T
    p = (logits / 0.5).softmax(1)
    entropies = -(p * p.log()).sum(1).mean() + (p.mean(0) * p.mean(0).log()).sum()
    error = (rows - quantizer.codebook[logits.argmax(1)]).square().mean()
    torch.testing.assert_close(quantizer(as_map(rows)).loss, 2.3 * error + 0.2 * entropies)


@pytest.mark.parametrize("certainty", [0.0, 1.0])
def test_entropy_vq_loss_by_hand(certainty: float) -> None:
    """VQ's loss plus the entropies of softmax(−‖z − e‖²/T)."""
    torch.manual_seed(0)
    quantizer = EntropyVQ(5, 3, entropy=0.2, certainty=certainty, temperature=0.5).double()
    nn.init.normal_(quantizer.codebook)
    plain = VQ(5, 3).double()
    plain.load_state_dict(quantizer.state_dict())
    rows = torch.randn(4, 3).double()
    p = (-torch.cdist(rows, quantizer.codebook).square() / 0.5).softmax(1)
    entropies = -certainty * (p * p.log()).sum(1).mean() + (p.mean(0) * p.mean(0).log()).sum()
    torch.testing.assert_close(quantizer(as_map(rows)).loss, plain(as_map(rows)).loss + 0.2 * entropies)


# Multi-scale ----------------------------------------------------------------------------------------------------------


def test_multiscale_grids_and_bits() -> None:
    """Sides 8 and 7 have 85 and 70 cells; the bits count those, follow the size of training, and not of evaluation."""
    assert grids(4, 8, 7) == [(1, 1), (2, 2), (4, 4), (8, 7)]
    quantizer = MultiScale(512, 2, side=8)
    assert quantizer.num_codes == 110
    assert quantizer.bits == pytest.approx(85 / 64 * log2(110))
    quantizer.eval()(torch.randn(1, 2, 7, 7))
    assert quantizer.bits == pytest.approx(85 / 64 * log2(110))
    quantizer.train()(torch.randn(1, 2, 7, 7))
    assert quantizer.bits == pytest.approx(70 / 49 * log2(110))
    assert MultiScale(512, 2, side=7).num_codes == 79


@pytest.mark.parametrize(("size", "target"), [((7, 5), (4, 3)), ((8, 8), (2, 2)), ((3, 4), (1, 1))])
def test_multiscale_resampling_is_torchs(size: tuple[int, int], target: tuple[int, int]) -> None:
    """Averaging down is the adaptive mean, and going up the bicubic interpolation, of torch."""
    z = torch.randn(2, 3, *size)
    torch.testing.assert_close(resample(z, *target, "area"), F.adaptive_avg_pool2d(z, target))
    small = torch.randn(2, 3, *target)
    expected = F.interpolate(small, size, mode="bicubic")
    torch.testing.assert_close(resample(small, *size, "bicubic"), expected, atol=1e-5, rtol=1e-5)


def test_multiscale_by_hand() -> None:
    """With convolutions of zero every scale adds half its code: each takes the code nearest to the mean left."""
    quantizer = MultiScale(512, 1, scales=2, side=2, scale_codes=3)
    for conv in quantizer.convolutions:
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    quantizer.codebook.data.copy_(torch.tensor([[0.0], [2.0], [6.0]]))
    z = torch.tensor([[[[4.2, 6.0], [6.0, 5.0]]]])  # mean 5.3: code 2 (6), adds 3; left 1.2 3 3 2: code 1, adds 1
    out = quantizer(z)
    assert out.codes[..., 0].flatten().tolist() == [2, 2, 2, 2]
    assert out.codes[..., 1].flatten().tolist() == [1, 1, 1, 1]
    assert out.z_q.flatten().tolist() == pytest.approx([4, 4, 4, 4])
    errors = [(1.44 + 9 + 9 + 4) / 4, (0.04 + 4 + 4 + 1) / 4]
    assert out.loss.item() == pytest.approx(1.25 * sum(errors) / 2)


# VQ-STE++ -------------------------------------------------------------------------------------------------------------


def test_vq_ste_plus_step_is_gradient_descent_with_a_bound() -> None:
    """A small rate is a step of SGD on mean((c − z)²); a large one lands every used code on its mean, and no unused."""
    torch.manual_seed(0)
    z = feature_map().double()
    rows = Q.flatten(z.detach(), DIM)
    for rate in (1e-3, 1e6):
        quantizer = VQSTEPlus(5, DIM, inner_rate=rate, affine=2.0).double()
        nn.init.normal_(quantizer.codes)
        nn.init.normal_(quantizer.scale, std=0.1)
        before, codes = quantizer.codes.detach().clone(), Q.assign(rows, quantizer.codebook)
        error = (F.embedding(codes, quantizer.codebook) - rows).square().mean()
        (gradient,) = torch.autograd.grad(error, quantizer.codes)
        quantizer(z)
        if rate < 1:
            torch.testing.assert_close(quantizer.codes.detach(), before - rate * gradient)
        else:
            one_hot = F.one_hot(codes, 5).double()
            mean = one_hot.T @ rows / one_hot.sum(0).clamp(min=1)[:, None]
            used = one_hot.sum(0) > 0
            torch.testing.assert_close(quantizer.codebook.detach()[used], mean[used])
            assert torch.equal(quantizer.codes.detach()[~used], before[~used])


def test_vq_ste_plus_gradients() -> None:
    """The decoder's gradient reaches z whole and the code by ν; β weighs the codebook's term, 1 − β the commitment."""
    quantizer = VQSTEPlus(1, 2, beta=0.9, affine=3.0, synchronise=0.2, inner_rate=0.0)
    quantizer.codes.data.zero_()
    z = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).requires_grad_()
    out = quantizer(z)
    on_z, on_code, on_shift = torch.autograd.grad(
        out.z_q.sum(), (z, quantizer.codes, quantizer.shift), retain_graph=True
    )
    assert on_z.flatten().tolist() == [1, 1]
    assert on_code.flatten().tolist() == pytest.approx([0.2, 0.2])
    assert on_shift.tolist() == pytest.approx([0.6, 0.6])
    on_z, on_code = torch.autograd.grad(out.loss, (z, quantizer.codes))
    assert on_z.flatten().tolist() == pytest.approx([0.1 * 3, 0.1 * 4])
    assert on_code.flatten().tolist() == pytest.approx([-0.9 * 3, -0.9 * 4])
