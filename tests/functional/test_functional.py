"""The shared mathematics of the quantizers, against plain forms of the same formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import vqbench.functional as Q
from tests.support.reference_cvq import contrastive, similarity
from vqbench.errors import UsageError
from vqbench.functional.anchor_sampling import CANDIDATES, closest
from vqbench.functional.contrastive import contrast
from vqbench.functional.extremes import Extremes, select_by_partition, select_by_topk

DISTANCES: Any = ("l2", "cosine")


def rows(n: int, dim: int = 5, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Random features or codes (n, dim), float64."""
    return scale * torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_flatten_orders_images_then_rows_then_columns() -> None:
    """Feature i is image, row and column of i, and ``unflatten`` inverts it."""
    z = torch.arange(2 * 3 * 2 * 4).view(2, 3, 2, 4)
    flat = Q.flatten(z, 3)
    assert torch.equal(flat[1 * 8 + 1 * 4 + 2], z[1, :, 1, 2])
    assert torch.equal(Q.unflatten(flat, z), z)


@pytest.mark.parametrize("distance", DISTANCES)
def test_inner_product_form_gives_the_similarities(distance: Any) -> None:
    """The rows' inner products are the cosine, or minus the squared distance."""
    features, codebook = rows(11), rows(7, seed=1)
    a, b = Q.inner_product_form(features, codebook, distance)
    torch.testing.assert_close(a @ b.T, similarity(features, codebook, distance))
    torch.testing.assert_close(Q.squared_distances(features, codebook), torch.cdist(features, codebook) ** 2)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("block", [1, 60, 10**6])
def test_assign_is_the_argmax_whatever_the_block(distance: Any, block: int) -> None:
    """Blockwise assignment equals the argmax of the whole similarity matrix."""
    features, codebook = rows(101), rows(23, seed=1)
    expected = similarity(features, codebook, distance).argmax(1)
    assert torch.equal(Q.assign(features, codebook, distance, block), expected)


@pytest.mark.parametrize("block", [1, 60, 10**6])
def test_closest_is_the_argmax_over_features_the_lowest_among_equals(block: int) -> None:
    """The running maximum over blocks equals the argmax of the whole, and of repeated features the first is taken."""
    features, codebook = rows(50).repeat(2, 1), rows(23, seed=1)
    a, b = Q.inner_product_form(features, codebook, "l2")
    index = closest(a, b, block)
    assert (index < 50).all()
    assert torch.equal(index, similarity(features[:50], codebook, "l2").argmax(0))


@given(codes=st.lists(st.integers(0, 6), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_counts_and_sums(codes: list[int]) -> None:
    """Counts are numpy's bincount, and sums the product with the one-hot matrix."""
    index, features = torch.tensor(codes), rows(len(codes))
    assert torch.equal(Q.code_counts(index, 7), torch.bincount(index, minlength=7))
    torch.testing.assert_close(Q.code_sums(features, index, 7), F.one_hot(index, 7).double().T @ features)


def test_lloyd_finds_separate_clusters() -> None:
    """From a feature of each, two clouds give their means and counts; a centre without features stays."""
    cloud = torch.randn(30, 2)
    features = torch.cat([cloud, cloud[:20] + 50])
    centres, counts = Q.lloyd(features, torch.stack([features[0], features[40], torch.full((2,), 900.0)]), 3)
    torch.testing.assert_close(centres[:2], torch.stack([cloud.mean(0), features[30:].mean(0)]))
    assert centres[2].tolist() == [900, 900]
    assert counts.tolist() == [30, 20, 0]


def test_perplexity() -> None:
    """Perplexity is K for uniform shares and 1 for a single code."""
    assert Q.perplexity(torch.full((8,), 1 / 8)).item() == pytest.approx(8, rel=1e-6)
    assert Q.perplexity(F.one_hot(torch.tensor(3), 8).float()).item() == pytest.approx(1, rel=1e-6)


def test_straight_through_is_exact() -> None:
    """The value is that of z_q to the last bit, the gradient that of z, and none reaches z_q."""
    z, z_q = (1e6 * rows(9)).requires_grad_(), rows(9, seed=1).requires_grad_()
    out = Q.straight_through(z, z_q)
    out.backward(rows(9, seed=2))
    assert torch.equal(out, z_q)
    assert z.grad is not None
    assert torch.equal(z.grad, rows(9, seed=2))
    assert z_q.grad is None


def test_gumbel_noise_draws_from_the_softmax() -> None:
    """The argmax of logits plus noise has the softmax's frequencies."""
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])
    share = torch.bincount((logits + Q.gumbel(100_000, 4, logits.device)).argmax(1), minlength=4) / 1e5
    torch.testing.assert_close(share, logits.softmax(0), atol=0.006, rtol=0)


# --- Anchors --------------------------------------------------------------------------------------------------------


def chi_square(index: Tensor, probability: Tensor) -> float:
    """Pearson's statistic over its degrees of freedom, about 1 if ``index`` was drawn from ``probability``."""
    counts = torch.bincount(index, minlength=len(probability))
    expected = probability * len(index)
    return (((counts - expected) ** 2 / expected).sum() / (len(probability) - 1)).item()


@pytest.mark.parametrize("distance", DISTANCES)
def test_probability_anchors_have_the_softmaxs_frequencies(distance: Any) -> None:
    """30,000 equal codes draw from 600 features, which are several groups, as softmax_i(s_ik), by chi-square."""
    torch.manual_seed(0)
    features = rows(600, dim=3, scale=0.7).float()
    code = torch.tensor([[0.5, -0.2, 0.1]])
    drawn = Q.anchors("probability", features, code.expand(30_000, 3), distance)
    index = torch.cdist(drawn, features).argmin(1)
    probability = similarity(features, code, distance)[:, 0].softmax(0)
    uniform = torch.full((600,), 1 / 600)
    assert 0.8 < chi_square(index, probability) < 1.2  # 599 degrees of freedom: standard deviation 0.058
    assert chi_square(index, uniform) > 2


def test_probability_anchors_of_different_codes_follow_their_own_similarities() -> None:
    """Under l2 with sharp weights, each code draws the feature that lies on it."""
    torch.manual_seed(0)
    features = 100 * rows(1000).float()
    order = torch.randperm(1000)[:64]
    assert torch.equal(Q.anchors("probability", features, features[order] + 0.01, "l2"), features[order])


@pytest.mark.parametrize("distance", DISTANCES)
def test_probability_anchors_survive_underflow(distance: Any) -> None:
    """With similarities down to −1e9, where every exp() is zero, each code still gets a feature and never NaN."""
    torch.manual_seed(0)
    features = (30_000 + rows(300)).float()
    drawn = Q.anchors("probability", features, rows(40, seed=1).float(), distance)
    assert drawn.isfinite().all()
    assert (torch.cdist(drawn, features).amin(1) == 0).all()


def test_random_anchors_repeat_and_unique_ones_do_not() -> None:
    """``random`` draws with replacement; ``unique`` uses every feature once before any twice."""
    torch.manual_seed(0)
    features, codebook = rows(40), rows(100, seed=1)
    for rule, num_codes, distinct in (("unique", 30, 30), ("unique", 100, 40), ("random", 40, None)):
        drawn = Q.anchors(rule, features, codebook[:num_codes], "l2")  # type: ignore[arg-type]
        index = torch.cdist(drawn, features).argmin(1)
        counts = torch.bincount(index, minlength=40)
        assert torch.equal(features[index], drawn)
        if distinct is None:
            assert counts.max() > 1
        else:
            assert (counts > 0).sum() == distinct
            assert counts.max() - counts.min() <= 1


def test_random_anchors_are_uniform() -> None:
    """Every feature is drawn equally often, by chi-square."""
    torch.manual_seed(0)
    features = torch.arange(50.0)[:, None]
    drawn = Q.anchors("random", features, torch.zeros(20_000, 1), "l2")
    assert chi_square(drawn[:, 0].long(), torch.full((50,), 1 / 50)) < 1.6


def test_rejection_rounds_leave_almost_no_code_without_anchor() -> None:
    """At the least acceptance, e⁻², the chance that a code accepts none of its candidates is below 1e-9."""
    assert (1 - torch.tensor(-2.0).exp().item()) ** CANDIDATES < 1e-9


@pytest.mark.parametrize("distance", DISTANCES)
def test_farthest_anchors_are_the_least_similar_features(distance: Any) -> None:
    """The farthest anchor is the feature with the greatest distance, or smallest cosine, computed in NumPy."""
    features, codebook = rows(50), rows(7, seed=1)
    z, e = features.double().numpy(), codebook.double().numpy()
    if distance == "l2":
        far = ((z[:, None] - e[None]) ** 2).sum(2)
    else:
        far = -(z @ e.T) / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(e, axis=1)
    assert torch.equal(Q.anchors("farthest", features, codebook, distance), features[far.argmax(0)])


def test_unknown_anchor_is_refused() -> None:
    """A misspelt rule raises UsageError with the nearest name."""
    with pytest.raises(UsageError, match="did you mean 'closest'"):
        Q.anchors("closet", rows(4), rows(2), "l2")  # type: ignore[arg-type]


# --- The contrastive term -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("n", "num_codes"), [(2, 5), (3, 5), (10, 3), (101, 7), (400, 16)])
@pytest.mark.parametrize("block", [1, 10**6])
def test_contrastive_loss_and_gradient_equal_the_sorted_form(
    monkeypatch: pytest.MonkeyPatch, distance: Any, n: int, num_codes: int, block: int
) -> None:
    """Value and codebook gradient are those of full sorts and autograd, for any block; features get no gradient."""
    monkeypatch.setattr("vqbench.functional.codes.BLOCK", block)
    features, codebook = rows(n, scale=0.3).requires_grad_(), rows(num_codes, seed=1, scale=0.3).requires_grad_()
    loss = Q.contrastive_loss(features, codebook, distance, 0.07)
    (3 * loss).backward()
    expected = contrastive(similarity(features.detach(), codebook, distance))
    (expected_gradient,) = torch.autograd.grad(3 * expected, codebook)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(codebook.grad, expected_gradient)
    assert features.grad is None


def test_rebound_gradient_is_that_of_torch_when_a_parameter_is_rebound_before_backward() -> None:
    """With ``rebound``, the codebook's gradient is what rebinding ``.data`` gives, not the true one."""
    features, codebook, relocated = rows(50), rows(7, seed=1, scale=0.1), rows(7, seed=2)
    released = torch.nn.Parameter(codebook.clone())
    loss = contrastive(torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(released).T)
    released.data = relocated
    loss.backward()

    ours = torch.nn.Parameter(codebook.clone())
    value = Q.contrastive_loss(features, ours.clone(), "cosine", 0.07, rebound=ours)
    with torch.no_grad():
        ours.copy_(relocated)
    value.backward()
    torch.testing.assert_close(value, loss)
    torch.testing.assert_close(ours.grad, released.grad)

    exact = torch.nn.Parameter(codebook.clone())
    Q.contrastive_loss(features, exact, "cosine", 0.07).backward()
    assert exact.grad is not None
    assert released.grad is not None
    assert released.grad.norm() > 10 * exact.grad.norm()


def test_contrastive_ties_fill_exactly_the_places_left() -> None:
    """Many equal features, as an image's background gives them, count as often as in the sorted form."""
    features, codebook = rows(3).repeat(20, 1), rows(8, seed=1).requires_grad_()
    loss = Q.contrastive_loss(features, codebook, "cosine", 0.07)
    (gradient,) = torch.autograd.grad(loss, codebook)
    expected = contrastive(similarity(features, codebook, "cosine"))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, codebook)[0])


def test_contrastive_term_of_a_given_similarity_matrix() -> None:
    """N = 10, K = 3: three positives, five negatives, and the losses of the three codes."""
    i, k = torch.arange(10, dtype=torch.float64), torch.arange(3, dtype=torch.float64)
    s = 0.1 * torch.cos(0.7 * i + 1.3 * k[:, None])  # (K, N)
    losses, _ = contrast(s, torch.eye(10, dtype=torch.float64), num_codes=3, temperature=0.07)
    assert losses.tolist() == pytest.approx([0.55471751, 0.58674307, 0.44604083], abs=5e-9)
    assert losses.mean().item() == pytest.approx(0.529167136, abs=5e-10)


def test_contrastive_loss_of_one_feature_is_zero() -> None:
    """Without negatives the term and its gradient are zero."""
    codebook = rows(3).requires_grad_()
    loss = Q.contrastive_loss(rows(1, seed=1), codebook, "cosine", 0.07)
    loss.backward()
    assert loss == 0
    assert codebook.grad is not None
    assert (codebook.grad == 0).all()


def test_contrastive_loss_does_not_overflow() -> None:
    """Under l2 the logits are unbounded; distances of 1e4 over 0.07 still give a finite value and gradient."""
    codebook = (100 * rows(8).float()).requires_grad_()
    loss = Q.contrastive_loss(rows(64, seed=1).float(), codebook, "l2", 0.07)
    loss.backward()
    assert loss.isfinite()
    assert codebook.grad is not None
    assert codebook.grad.isfinite().all()


# --- Extremes and chunks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("select", [select_by_topk, select_by_partition])
@pytest.mark.parametrize(("near", "far"), [(1, 1), (7, 25), (1, 49), (50, 25), (2, 25)])
@pytest.mark.parametrize("tied", [False, True])
def test_both_kernels_select_what_a_sorted_row_has_at_its_ends(
    monkeypatch: pytest.MonkeyPatch, select: Callable[..., Extremes], near: int, far: int, tied: bool
) -> None:
    """Places, mean, edge, sum and weights are those of the sorted row; of equal entries as many count as fit."""
    monkeypatch.setattr("vqbench.functional.extremes.AT_ONCE", 100)  # several parts, of two rows
    s = rows(7, seed=2).repeat(1, 17)[:, :50] + 1e-3 * rows(50).sum(1)
    if tied:
        s = (3 * s).round()
        s[3] = 1.0
    ordered = s.sort(1).values
    weighed = s.clone()
    extremes = select(weighed, near, far)
    expected = (ordered[:, :far] - ordered[:, far - 1 : far]).exp()
    assert all(len(row.unique()) == near for row in extremes.nearest)
    torch.testing.assert_close(s.gather(1, extremes.nearest).sort(1).values, ordered[:, -near:])
    torch.testing.assert_close(extremes.positive, ordered[:, -near:].mean(1, keepdim=True))
    torch.testing.assert_close(extremes.edge, ordered[:, far - 1 : far])
    torch.testing.assert_close(extremes.total, expected.sum(1, keepdim=True))
    torch.testing.assert_close(weighed.sort(1).values[:, -far:], expected, rtol=1e-6, atol=0)
    assert (weighed.sort(1).values[:, :-far] < 1e-30).all()


@pytest.mark.parametrize("select", [select_by_topk, select_by_partition])
def test_a_row_with_a_nan_has_a_sum_that_is_none(select: Callable[..., Extremes]) -> None:
    """NaN is not silently left out of the selection, and the other rows are unaffected."""
    s = rows(3).repeat(1, 10)[:, :20]
    clean = select(s.clone(), 3, 10)
    s[1, 4] = torch.nan
    extremes = select(s, 3, 10)
    assert extremes.total[[0, 2]].equal(clean.total[[0, 2]])
    assert (extremes.total + extremes.positive)[1].isnan().all()


@pytest.mark.parametrize("kept", [0, 10**9])
@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_chunks_and_recomputation_change_no_value_and_no_gradient(
    monkeypatch: pytest.MonkeyPatch, block: int, kept: int
) -> None:
    """Rows, sums, noise and gradients are those of one whole matrix, whether backward keeps or recomputes blocks."""

    def step() -> list[Tensor]:
        features, codebook = rows(30).requires_grad_(), rows(5, seed=1).requires_grad_()

        def weigh(part: Tensor, noise: Tensor | None, codes: Tensor) -> tuple[Tensor, ...]:
            d = Q.squared_distances(part, codes)
            assert noise is not None
            weights = (noise - d).softmax(1)
            return weights @ codes, weights.argmax(1), (weights * d).sum()

        torch.manual_seed(3)
        mixed, chosen, cost = Q.map_chunks(weigh, features, 5, [codebook], noisy=True)
        (mixed.square().sum() + cost).backward()
        assert features.grad is not None
        assert codebook.grad is not None
        return [mixed, chosen, cost, features.grad, codebook.grad, torch.rand(3)]  # and what is drawn after it

    whole = step()
    monkeypatch.setattr("vqbench.functional.codes.BLOCK", 4 * block)
    monkeypatch.setattr("vqbench.functional.chunked.KEPT", kept)
    for ours, expected in zip(step(), whole, strict=True):
        torch.testing.assert_close(ours, expected)
