"""The contract of every built-in quantizer, and the behaviour that its own docstring promises."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vqbench.functional as Q
from tests.support.reference_cvq import ReferenceCVQ
from vqbench.errors import UsageError
from vqbench.quantizer import Quantizer
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.hvq import HVQ
from vqbench.quantizers.identity import Identity
from vqbench.quantizers.sqvae import SQVAE
from vqbench.quantizers.vq import VQ
from vqbench.quantizers.vq_ema import VQEMA

NUM_CODES, DIM = 24, 6
ANCHORS = ("random", "unique", "probability", "closest")

CASES: dict[str, tuple[type[Quantizer], dict[str, Any]]] = {
    "identity": (Identity, {}),
    "vq": (VQ, {}),
    "vq-cosine": (VQ, {"distance": "cosine"}),
    "vq-legacy-sonnet": (VQ, {"beta_on": "codebook", "init": "sonnet"}),
    "vq_ema": (VQEMA, {}),
    "hvq": (HVQ, {"reset_every": 2}),
    "sqvae": (SQVAE, {}),
    "sqvae-literal": (SQVAE, {"anneal_steps": None}),
    "cvq-offline": (CVQ, dict(CVQ.presets["cvq_offline"])),
    "cvq-online": (CVQ, dict(CVQ.presets["cvq_online"])),
    **{f"cvq-{d}-{a}": (CVQ, {"distance": d, "anchor": a}) for d in ("l2", "cosine") for a in ANCHORS},
}
CODED = [name for name in CASES if name != "identity"]
LEARNED = [name for name in CODED if name != "vq_ema"]


def build(case: str, num_codes: int = NUM_CODES, dim: int = DIM, seed: int = 0) -> Quantizer:
    """The quantizer of ``case`` with weights from ``seed``."""
    torch.manual_seed(seed)
    kind, arguments = CASES[case]
    return kind(num_codes, dim, **arguments)


def feature_map(batch: int = 5, side: int = 4, dim: int = DIM, seed: int = 1) -> Tensor:
    """A feature map (batch, dim, side, side + 1), unequal sides, with a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, dim, side, side + 1, generator=generator).requires_grad_()


def state(quantizer: nn.Module) -> dict[str, Tensor]:
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
    loss = quantizer.objective(out.z_q.square().mean(), out, pixels=z[0].numel())
    loss.backward()
    with torch.no_grad():
        for parameter in quantizer.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.01 * parameter.grad)
    return loss.detach()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_output_has_the_contracts_shapes_types_and_ranges(case: str, training: bool) -> None:
    """z_q looks like z, codes are int64 (B, H, W, depth) in [0, K), the loss and every log are finite scalars."""
    quantizer, z = build(case).train(training), feature_map()
    out = quantizer(z)
    assert out.z_q.shape == z.shape
    assert out.z_q.dtype == z.dtype
    assert out.codes.shape == (5, 4, 5, quantizer.depth)
    assert out.codes.dtype == torch.int64
    assert ((out.codes >= 0) & (out.codes < NUM_CODES)).all()
    for scalar in (out.loss, *out.logs.values()):
        assert scalar.shape == ()
        assert scalar.isfinite()


@pytest.mark.parametrize("case", CODED)
def test_decode_inverts_codes(case: str) -> None:
    """In evaluation the decoder gets exactly what ``decode`` gives for the codes, after training steps too."""
    quantizer, z = build(case), feature_map()
    train_step(quantizer, z, seed=3)
    quantizer.eval()
    out = quantizer(z)
    assert torch.equal(quantizer.decode(out.codes), out.z_q)


@pytest.mark.parametrize("case", CASES)
def test_gradient_reaches_the_encoder(case: str) -> None:
    """The decoder's gradient arrives at z, and is not zero."""
    quantizer, z = build(case), feature_map()
    (quantizer(z).z_q * torch.randn(z.shape)).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("case", LEARNED)
def test_gradient_reaches_every_parameter(case: str) -> None:
    """Codebook and scalars all get a finite gradient that is not zero, and no gradient fails on the relocation."""
    quantizer, z = build(case), feature_map()
    out = quantizer(z)
    quantizer.objective(out.z_q.square().mean(), out, pixels=z[0].numel()).backward()
    for name, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("case", CASES)
def test_evaluation_changes_nothing_and_is_deterministic(case: str) -> None:
    """In evaluation the state stays bit for bit, and neither the past nor the seed changes the answer."""
    quantizer, z = build(case), feature_map()
    train_step(quantizer, z, seed=3)
    quantizer.eval()
    before = state(quantizer)
    torch.manual_seed(1)
    first = quantizer(z)
    torch.manual_seed(2)
    second = quantizer(z)
    assert torch.equal(first.z_q, second.z_q)
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.loss, second.loss)
    assert same(before, state(quantizer))


@pytest.mark.parametrize("case", CODED)
def test_training_moves_the_codebook(case: str) -> None:
    """One training step changes the codebook."""
    quantizer = build(case)
    before = state(quantizer)["codebook"]
    train_step(quantizer, feature_map(), seed=3)
    assert not torch.equal(before, quantizer.state_dict()["codebook"])


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
@pytest.mark.parametrize(("batch", "side"), [(1, 3), (1, 1)])
def test_fewer_features_than_codes(case: str, batch: int, side: int) -> None:
    """One image, with 12 or 2 positions for 24 codes, trains and evaluates without NaN."""
    quantizer, z = build(case), feature_map(batch, side)
    assert train_step(quantizer, z, seed=3).isfinite()
    assert all(tensor.isfinite().all() for tensor in quantizer.state_dict().values())
    assert quantizer.eval()(z).z_q.isfinite().all()


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c][0] is not SQVAE])
def test_a_single_feature(case: str) -> None:
    """One image with a single position, less than any statistic needs, trains without NaN."""
    quantizer, z = build(case), torch.randn(1, DIM, 1, 1, requires_grad=True)
    assert train_step(quantizer, z, seed=3).isfinite()
    assert all(tensor.isfinite().all() for tensor in quantizer.state_dict().values())


@pytest.mark.parametrize("case", CASES)
def test_memory_layout_does_not_matter(case: str) -> None:
    """A transposed, channels-last input gives what its contiguous copy gives, in a contiguous map."""
    z = torch.randn(3, 4, 5, DIM).permute(0, 3, 2, 1)
    assert not z.is_contiguous()
    outs = []
    for layout in (z, z.contiguous()):
        torch.manual_seed(5)
        outs.append(build(case)(layout))
    torch.testing.assert_close(outs[0].z_q, outs[1].z_q)
    assert torch.equal(outs[0].codes, outs[1].codes)


@pytest.mark.parametrize("case", CODED)
def test_codebook_has_the_budgets_size(case: str) -> None:
    """The codebook is (num_codes, dim), a parameter unless it is an average; SQ-VAE adds one scalar and no one more."""
    quantizer = build(case)
    assert quantizer.state_dict()["codebook"].shape == (NUM_CODES, DIM)
    expected = {"vq_ema": 0, "sqvae": NUM_CODES * DIM + 1, "sqvae-literal": NUM_CODES * DIM + 1}
    assert sum(p.numel() for p in quantizer.parameters()) == expected.get(case, NUM_CODES * DIM)


@pytest.mark.parametrize("case", CODED)
def test_bits(case: str) -> None:
    """512 codes cost 9 bits a position."""
    assert build(case, num_codes=512).bits == 9


def test_identity_is_not_quantized() -> None:
    """Identity hands z on as the same tensor, costs infinitely many bits and refuses to decode."""
    quantizer, z = Identity(NUM_CODES, DIM), feature_map()
    out = quantizer(z)
    assert out.z_q is z
    assert (quantizer.depth, quantizer.bits) == (0, float("inf"))
    with pytest.raises(UsageError, match="no codes to decode"):
        quantizer.decode(out.codes)


@pytest.mark.parametrize("case", CODED)
def test_autocast_does_not_change_the_codes(case: str) -> None:
    """Under bfloat16 autocast, float32 features are assigned as without it, and the state stays float32."""
    plain, autocast = build(case, num_codes=512).eval(), build(case, num_codes=512).eval()
    z = feature_map(batch=20, side=10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = autocast(z)
    assert torch.equal(out.codes, plain(z).codes)
    assert torch.equal(out.z_q, plain(z).z_q)
    half = autocast(z.bfloat16())
    assert half.z_q.dtype == torch.bfloat16
    assert half.loss.dtype == torch.float32


@pytest.mark.parametrize(
    "case", ["vq", "vq_ema", "hvq", "sqvae", "cvq-l2-probability", "cvq-cosine-probability", "cvq-cosine-closest"]
)
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


def test_bad_input_is_one_clear_sentence() -> None:
    """Wrong shapes and unknown names raise UsageError and say what was expected."""
    with pytest.raises(UsageError, match=r"needs features \(B, 6, H, W\), not \(2, 5, 3, 3\)"):
        VQ(4, 6)(torch.zeros(2, 5, 3, 3))
    with pytest.raises(UsageError, match=r"codes must be \(B, H, W, 1\)"):
        VQ(4, 6).decode(torch.zeros(2, 3, 3, dtype=torch.int64))
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        VQ(4, 6, distance="cosin")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown anchor 'none'"):
        CVQ(4, 6, anchor="none")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1"):
        VQ(0, 6)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_ties_go_to_the_lowest_index(distance: Any) -> None:
    """Of equal codes the first is chosen by VQ, for all features."""
    quantizer = VQ(8, DIM, distance=distance)
    quantizer.codebook.data[:] = torch.ones(DIM)
    assert (quantizer(feature_map()).codes == 0).all()


def test_cosine_hands_on_the_code_as_it_is() -> None:
    """Under cosine, scaling the codebook leaves the assignment and scales what the decoder gets."""
    quantizer, z = VQ(NUM_CODES, DIM, distance="cosine"), feature_map()
    small = quantizer(z)
    quantizer.codebook.data *= 4
    large = quantizer(z)
    assert torch.equal(small.codes, large.codes)
    torch.testing.assert_close(large.z_q, 4 * small.z_q)


@pytest.mark.parametrize(("beta_on", "on_z", "on_code"), [("commitment", 0.25, 1.0), ("codebook", 1.0, 0.25)])
def test_beta_weighs_the_term_it_names(beta_on: Any, on_z: float, on_code: float) -> None:
    """β falls on the encoder's or the codebook's gradient as ``beta_on`` says; the loss's value is the same."""
    quantizer = VQ(1, 2, beta_on=beta_on)
    quantizer.codebook.data.zero_()
    z = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).requires_grad_()
    loss = quantizer(z).loss
    loss.backward()
    assert loss.item() == pytest.approx(1.25 * 12.5)
    assert z.grad is not None
    assert z.grad.flatten().tolist() == pytest.approx([3 * on_z, 4 * on_z])
    assert quantizer.codebook.grad is not None
    assert quantizer.codebook.grad.flatten().tolist() == pytest.approx([-3 * on_code, -4 * on_code])


def test_vq_ema_is_the_debiased_running_mean() -> None:
    """After some steps each code is the smoothed ratio of explicit weighted sums over all steps, from step one on."""
    quantizer = VQEMA(3, 2).double()
    totals, sums = torch.zeros(3).double(), torch.zeros(3, 2).double()
    steps = 4
    for t in range(1, steps + 1):
        z = torch.randn(2, 2, 3, 3).double()
        old = quantizer.codebook.clone()
        out = quantizer(z)
        assert torch.equal(out.z_q, Q.look_up(out.codes, old))  # this step's features get the codebook as it was
        weight = 0.01 * 0.99 ** (steps - t) / (1 - 0.99**steps)
        one_hot = nn.functional.one_hot(out.codes.flatten(), 3).double()
        totals += weight * one_hot.sum(0)
        sums += weight * one_hot.T @ Q.flatten(z, 2)
    n = totals.sum()
    expected = sums / ((totals + 1e-5) / (n + 3e-5) * n)[:, None]
    torch.testing.assert_close(quantizer.codebook, expected)


def test_vq_ema_has_no_codebook_loss() -> None:
    """The loss is β times the commitment alone, in training and in evaluation."""
    quantizer, z = VQEMA(NUM_CODES, DIM), feature_map()
    for training in (False, True):
        out = quantizer.train(training)(z)
        torch.testing.assert_close(out.loss, 0.25 * (out.z_q - z).square().mean())


def test_hvq_resets_a_starved_code_onto_the_most_used_one() -> None:
    """At the check, and only then, the least used code becomes the most used one plus little noise, counts zero."""
    quantizer = HVQ(3, 2, reset_every=2)
    book = torch.tensor([[5.0, 5.0], [0.0, 0.0], [90.0, 90.0]])
    quantizer.codebook.data.copy_(book)
    z = torch.tensor([[5.0, 5.0]] * 5 + [[0.0, 0.0]] * 3).T.reshape(1, 2, 2, 4)
    quantizer(z)
    assert torch.equal(quantizer.codebook, book)
    assert quantizer.counts.tolist() == [5, 3, 0]
    quantizer(z)
    assert torch.equal(quantizer.codebook[:2], book[:2])
    assert 0 < (quantizer.codebook[2] - book[0]).abs().max() < 0.06
    assert quantizer.counts.tolist() == [0, 0, 0]


def test_hvq_keeps_codes_that_are_used_enough() -> None:
    """No code moves where the least used one has more than the threshold's share of the most used one."""
    quantizer = HVQ(2, 2, reset_every=1)
    book = torch.tensor([[5.0, 5.0], [0.0, 0.0]])
    quantizer.codebook.data.copy_(book)
    quantizer(torch.tensor([[5.0, 5.0]] * 3 + [[0.0, 0.0]]).T.reshape(1, 2, 2, 2))
    assert torch.equal(quantizer.codebook, book)


def test_hvq_temperature_is_linear() -> None:
    """The temperature goes from 0.667 to 0.001 in proportion to the progress."""
    quantizer = HVQ(4, 2)
    seen = []
    for progress in (0, 0.5, 1):
        quantizer.anneal(progress)
        seen.append(quantizer.temperature.item())
    assert seen == pytest.approx([0.667, 0.334, 0.001])


def test_hvq_objective_divides_by_the_pixels() -> None:
    """The objective is weight·error + loss/pixels."""
    quantizer = HVQ(4, DIM)
    out = quantizer(feature_map())
    expected = 10 * 0.3 + out.loss / 784
    torch.testing.assert_close(quantizer.objective(torch.tensor(0.3), out, 784, weight=10.0), expected)


@pytest.mark.parametrize(("case", "temperature"), [("hvq", 0.001), ("sqvae", 1e-4)])
def test_a_cold_relaxed_sample_is_a_draw_from_the_posterior(case: str, temperature: float) -> None:
    """As the temperature nears zero, z_q is one code vector, drawn with the posterior's probabilities."""
    quantizer = build(case, num_codes=3, dim=2)
    quantizer.get_buffer("temperature").fill_(temperature)
    z = torch.zeros(1, 2, 100, 100)
    out = quantizer(z)
    codebook = quantizer.get_parameter("codebook").detach()
    distance = codebook.square().sum(1)
    factor = quantizer.precision.detach() / 2 if isinstance(quantizer, SQVAE) else 1
    nearest = torch.cdist(Q.flatten(out.z_q.detach(), 2), codebook)
    share = torch.bincount(nearest.argmin(1), minlength=3) / 1e4
    torch.testing.assert_close(share, (-factor * distance).softmax(0), atol=0.02, rtol=0)
    assert (nearest.amin(1) < 1e-3).float().mean() > 0.99


def test_sqvae_variance_starts_as_published() -> None:
    """σ² starts at 11 for exp(s) = 10, and at 21 for exp(s) = 20."""
    assert (1 / SQVAE(4, 2).precision).item() == pytest.approx(11)
    assert (1 / SQVAE(4, 2, scale=20.0).precision).item() == pytest.approx(21)


def test_sqvae_temperature() -> None:
    """By progress it ends where 156,300 updates end, 0.2095; literally it is exp(−1e-5·t), and t is in the state."""
    rescaled, literal = SQVAE(4, 2), SQVAE(4, 2, anneal_steps=None)
    rescaled.anneal(1.0)
    assert rescaled.temperature.item() == pytest.approx(0.2095, abs=5e-5)
    rescaled.anneal(0.0)
    assert rescaled.temperature.item() == 1
    for _ in range(3):
        literal.anneal(0.9)
    assert literal.temperature.item() == pytest.approx(0.99997, abs=1e-7)
    resumed = SQVAE(4, 2, anneal_steps=None)
    resumed.load_state_dict(literal.state_dict())
    resumed.anneal(0.9)
    assert resumed.temperature.item() == pytest.approx(0.99996, abs=1e-7)


def test_sqvae_objective_is_a_log_likelihood() -> None:
    """The objective is (P/2)·ln(P·error) + loss, and the protocol's weight does not enter."""
    quantizer = SQVAE(NUM_CODES, DIM)
    out = quantizer(feature_map())
    expected = 392 * torch.tensor(784 * 0.05).log() + out.loss
    for weight in (1.0, 10.5):
        torch.testing.assert_close(quantizer.objective(torch.tensor(0.05), out, 784, weight=weight), expected)


def test_offline_relocates_exactly_once() -> None:
    """The first training step moves unused codes onto features; no later one, nor one after a reload, moves any."""
    quantizer, z = CVQ(NUM_CODES, DIM, **CVQ.presets["cvq_offline"]), feature_map()
    initial = quantizer.codebook.detach().clone()
    quantizer.eval()(z)
    assert torch.equal(quantizer.codebook, initial)
    quantizer.train()(z)
    first = quantizer.codebook.detach().clone()
    assert not torch.equal(first, initial)
    resumed = CVQ(NUM_CODES, DIM, **CVQ.presets["cvq_offline"])
    resumed.load_state_dict(quantizer.state_dict())
    for again in (quantizer, resumed):
        again(feature_map(seed=8))
        assert torch.equal(again.codebook, first)


def test_online_moves_unused_codes_to_the_new_features() -> None:
    """Online, a code that nothing chooses follows the latest batch: nearly the anchor itself, 0.999 of the way."""
    quantizer = CVQ(2, 2, distance="l2", contrastive=False)
    quantizer.codebook.data.copy_(torch.tensor([[1.0, 1.0], [500.0, 500.0]]))
    for value in (1.0, 2.0):
        quantizer.codebook.data[1] = 500.0
        quantizer(torch.full((1, 2, 2, 2), value))
        expected = 500 + torch.exp(torch.tensor(-1e-3)) * (value - 500)
        torch.testing.assert_close(quantizer.codebook[1].detach(), expected.expand(2), rtol=1e-4, atol=0)


def test_backward_sees_the_codebook_before_the_relocation() -> None:
    """Under cosine, the contrastive gradient equals that of the old codebook, although most codes were moved."""
    quantizer, z = CVQ(NUM_CODES, DIM, contrastive=True), feature_map() + 1
    old = quantizer.codebook.detach().clone()
    quantizer(z).loss.backward()
    moved = (quantizer.codebook.detach() - old).norm(dim=1) > 0.1
    assert moved.sum() > NUM_CODES // 2
    still = VQ(NUM_CODES, DIM, distance="cosine")
    still.codebook.data.copy_(old)
    term = Q.contrastive_loss(Q.flatten(z.detach(), DIM), still.codebook, "cosine", 0.07)
    (still(z).loss + term).backward()
    torch.testing.assert_close(quantizer.codebook.grad, still.codebook.grad)


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("contrast", [True, False])
@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("anchor", ["closest", "given"])
def test_cvq_equals_the_plain_sorting_form(
    monkeypatch: pytest.MonkeyPatch, anchor: str, distance: Any, contrast: bool, online: bool
) -> None:
    """Over five Adam steps codebook, usage and loss are those of whole matrices, full sorts and autograd."""
    torch.manual_seed(0)
    given: list[Tensor] = []  # the draws, the same for both

    def pick(s: Tensor) -> Tensor:
        return s.sort(dim=0, stable=True).indices[-1] if anchor == "closest" else given[-1]

    if anchor == "given":
        monkeypatch.setattr(Q, "anchors", lambda rule, features, codebook, distance: features[given[-1]])
    quantizer = CVQ(NUM_CODES, DIM, distance=distance, anchor="closest", contrastive=contrast, online=online).double()
    reference = ReferenceCVQ(quantizer.codebook.detach(), distance, online, contrast, pick)
    adam = torch.optim.Adam(quantizer.parameters(), 0.02)
    reference_adam = torch.optim.Adam([reference.codebook], 0.02)
    for _ in range(5):
        z = torch.randn(5, DIM, 4, 5).double() * 0.3 + 0.5
        given.append(torch.randint(100, (NUM_CODES,)))
        loss = quantizer(z).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        expected = reference.step(Q.flatten(z, DIM), reference_adam)
        torch.testing.assert_close(loss.detach(), expected)
        torch.testing.assert_close(quantizer.usage, reference.usage, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(quantizer.codebook, reference.codebook, rtol=1e-6, atol=1e-7)


def test_every_quantizer_names_its_paper() -> None:
    """Each class names authors, title, venue and year, and arXiv's number where there is one."""
    for kind, _ in CASES.values():
        assert any(str(year) in kind.paper for year in range(2000, 2030))
        assert "arXiv" in kind.paper


def test_an_offline_codebook_relocates_again_after_an_earlier_state_is_loaded() -> None:
    """Whether the one relocation is done is what the loaded state says, not what this object did before."""
    torch.manual_seed(0)
    quantizer = CVQ(8, 4, online=False, contrastive=False).train()
    fresh = {name: value.clone() for name, value in quantizer.state_dict().items()}
    z = torch.randn(2, 4, 5, 5)
    quantizer(z)
    moved = quantizer.codebook.detach().clone()
    quantizer(z)
    assert torch.equal(quantizer.codebook, moved), "offline relocates once"
    quantizer.load_state_dict(fresh)
    quantizer(z)
    assert not torch.equal(quantizer.codebook, fresh["codebook"])
