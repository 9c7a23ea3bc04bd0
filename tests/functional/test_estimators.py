"""The rotation trick and the loss of most codebooks, against hand-worked values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vqbench.functional as Q


def test_vq_loss_puts_beta_on_the_commitment() -> None:
    """Of (1 + β)·mean((z − e)²), the code gets the gradient of weight 1 and z that of weight β."""
    z, e = torch.tensor([3.0, 4.0]).requires_grad_(), torch.zeros(2).requires_grad_()
    loss = Q.vq_loss(z, e, 0.25)
    on_z, on_e = torch.autograd.grad(loss, (z, e))
    assert loss.item() == pytest.approx(1.25 * 12.5)
    assert on_z.tolist() == pytest.approx([0.75, 1])
    assert on_e.tolist() == pytest.approx([-3, -4])


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
