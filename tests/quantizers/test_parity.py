"""The paper's settings: what each row of its suites resolves to, and the headline setting against the plain form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import vqbench.functional as Q
from tests.support.reference_cvq import ReferenceCVQ
from vqbench import registry
from vqbench.functional import anchor_sampling
from vqbench.images import to_unit
from vqbench.planning.expansion import expand
from vqbench.planning.plan import PlannedRun
from vqbench.planning.suite_files import load_suite
from vqbench.quantizers.cvq import CVQ
from vqbench.recipes.autoencoder import variance

BATCH, POSITIONS, NUM_CODES, DIM = 1024, 7 * 7, 512, 64
STEPS, LEARNING_RATE = 20, 3e-4

# The training -----------------------------------------------------------------------------------------------------


@pytest.fixture
def float64() -> Iterator[None]:
    """New tensors are float64 within the test."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_same(ours: Tensor, expected: Tensor) -> None:
    """Equal up to 1e-9 of the largest entry."""
    error = (ours.detach() - expected.detach()).abs().max() / expected.detach().abs().max()
    assert error <= 1e-9, error


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("gradient", ["exact", "released"])
def test_the_headline_setting_trains_as_the_plain_form(
    monkeypatch: pytest.MonkeyPatch, gradient: Literal["exact", "released"]
) -> None:
    """Over 20 updates of the paper's size, losses, usage, codebook and all gradients are those of full sorts.

    Ours quantizes inside a real autoencoder that learns from real images (the batch, learning rate, K, D and
    objective of the paper; a narrow backbone saves time and changes none of what the quantizer sees but the values).
    So features move as they do in training, and codes are relocated, win features, and die. The plain form gets the
    same features and the same anchor draws, and nothing else: it has its own codebook, usage and Adam, so an error
    would stay and grow. That the encoder would go the same way follows from the gradient at the features, which is
    compared as well. Quantizers run in float64: in float32 a rounding changes one assignment in a million, and a
    single feature more or less changes how far an unused code is moved by a tenth. The backbone is float32.
    """
    torch.manual_seed(0)
    pixels = registry.load("datasets", "fashion_mnist_5k")().pixels("train")  # type: ignore[attr-defined]
    backbone: Any = registry.load("backbones", "conv")(1, DIM, hidden=32, residual_hidden=8).float()
    quantizer = CVQ(
        NUM_CODES,
        DIM,
        distance="cosine",
        anchor="probability",
        online=True,
        contrastive=True,
        contrastive_gradient=gradient,
    )
    drawn: list[Tensor] = []  # indices of the anchors
    take = anchor_sampling.take
    monkeypatch.setattr(anchor_sampling, "take", lambda features, index: drawn.append(index) or take(features, index))
    reference = ReferenceCVQ(
        quantizer.codebook.detach(), "cosine", True, True, lambda s: drawn[-1], released=gradient == "released"
    )
    adam = torch.optim.Adam([*backbone.parameters(), *quantizer.parameters()], LEARNING_RATE)
    reference_adam = torch.optim.Adam([reference.codebook], LEARNING_RATE)
    relocated, chosen, errors = [], [], []
    for step in range(STEPS):
        x = to_unit(pixels[torch.randperm(len(pixels))[:BATCH]])
        encoded = backbone.encode(x)
        z = encoded.detach().double().requires_grad_()  # (1024, 64, 7, 7)
        before = quantizer.codebook.detach().clone()
        out = quantizer(z)
        relocated.append(int(((quantizer.codebook - before).norm(dim=1) > 1e-3).sum()))
        out.z_q.retain_grad()
        error = F.mse_loss(backbone.decode(out.z_q.float()), x)
        adam.zero_grad()
        quantizer.objective(error, out, x[0].numel(), 1 / variance(pixels)).backward()
        assert z.grad is not None
        encoded.backward(z.grad.float())
        adam.step()

        features = Q.flatten(z.detach(), DIM).requires_grad_()  # (50176, 64)
        assert len(features) == BATCH * POSITIONS
        expected = reference.step(features, reference_adam)
        assert features.grad is not None
        assert len(drawn) == step + 1
        assert_same(out.loss, expected)
        assert_same(quantizer.usage, reference.usage)
        assert_same(quantizer.codebook.grad, reference.codebook.grad)
        assert_same(quantizer.codebook, reference.codebook)
        assert_same(z.grad, out.z_q.grad + Q.unflatten(features.grad, z))  # straight through, and the commitment
        chosen.append(int(out.codes.unique().numel()))
        errors.append(error.item())
        if step == 0:  # nearly all codes move from near zero: what the released order does to their gradient
            largest = quantizer.codebook.grad.abs().max()
            assert largest > 100 if gradient == "released" else largest < 1
    assert relocated[0] > 500  # and it was a training worth comparing:
    assert 10 < min(relocated) < 200
    assert max(chosen) > 400
    assert errors[-1] < 0.9 * errors[0]


# The rows -------------------------------------------------------------------------------------------------------------

BUDGET = {"num_codes": 512, "dim": 64}
RECIPE = {
    "epochs": 500,
    "batch_size": 1024,
    "learning_rate": 3e-4,
    "variance": "unit",  # of [0, 1] pixels, for an error on [-1, 1]
    "selection": "test",
    "selection_pass": "train",
    "subset": None,
    "precision": "float32",
}
BACKBONE = {"hidden": 128, "residual_hidden": 32, "blocks": 2}


def vq(distance: str) -> tuple[str, dict[str, Any]]:
    """VQ-VAE by gradient: commitment weighted by 0.25, codebook U(±1/K)."""
    return "vq", {**BUDGET, "distance": distance, "beta": 0.25, "beta_on": "commitment", "init": "uniform"}


def cvq(anchor: str, online: bool, contrastive: bool) -> tuple[str, dict[str, Any]]:
    """CVQ under cosine with the released constants; a contrastive term has its released gradient."""
    return "cvq", {
        **BUDGET,
        "distance": "cosine",
        "anchor": anchor,
        "online": online,
        "contrastive": contrastive,
        "contrastive_gradient": "released" if contrastive else "exact",
        "beta": 0.25,
        "decay": 0.99,
        "sharpness": 10.0,
        "epsilon": 1e-3,
        "temperature": 0.07,
    }


def hvq() -> tuple[str, dict[str, Any]]:
    """The published weights, temperatures and resets of Hierarchical Quantized Autoencoders."""
    return "hvq", {
        **BUDGET,
        "kl": 1e-3,
        "commitment": 1e-3,
        "temperature_start": 0.667,
        "temperature_end": 0.001,
        "reset_every": 20,
        "reset_threshold": 0.03,
    }


def sqvae(scale: float, anneal_steps: int) -> tuple[str, dict[str, Any]]:
    """SQ-VAE's published decay, ending where its authors' number of updates ends."""
    return "sqvae", {**BUDGET, "scale": scale, "decay": 1e-5, "anneal_steps": anneal_steps}


# (data set, row, setting of the printed table) -> quantizer, all its arguments
ABLATION = {
    ("A", "Baseline VQ-VAE"): vq("l2"),
    ("B", "+ Cosine distance"): vq("cosine"),
    ("C", "+ Anchor initialization (offline)"): cvq("probability", online=False, contrastive=False),
    ("D", "+ Anchor initialization (online)"): cvq("probability", online=True, contrastive=False),
    ("E", "+ Contrastive loss"): cvq("probability", online=True, contrastive=True),
}
ROWS: dict[str, dict[tuple[str, str, str | None], tuple[str, dict[str, Any]]]] = {
    "small_datasets": {
        ("mnist", "VQ-VAE", None): vq("l2"),
        ("mnist", "HVQ-VAE", None): hvq(),
        ("mnist", "SQ-VAE", None): sqvae(10.0, 156_300),
        ("mnist", "CVQ-VAE", None): cvq("probability", online=True, contrastive=True),
        ("cifar10", "VQ-VAE", None): vq("l2"),
        ("cifar10", "HVQ-VAE", None): hvq(),
        ("cifar10", "SQ-VAE", None): sqvae(20.0, 125_000),
        ("cifar10", "CVQ-VAE", None): cvq("probability", online=True, contrastive=True),
    },
    "ablation": {
        (dataset, *row): resolved
        for dataset in ("mnist", "cifar10", "fashion_mnist")
        for row, resolved in ABLATION.items()
    },
    "anchors": {
        (dataset, anchor, "online" if online else "offline"): cvq(anchor, online, contrastive=False)
        for dataset in ("mnist", "cifar10")
        for online in (False, True)
        for anchor in ("random", "unique", "probability", "closest")
    },
}


def entries(suite: str) -> dict[tuple[str, str, str | None], PlannedRun]:
    """The runs of ``suite``, by data set and printed row."""
    cells = {}
    for entry in expand(load_suite(suite)):
        assert entry.paper_row
        cells[entry.dataset, entry.paper_row, entry.paper_setting] = entry
    return cells


@pytest.mark.parametrize("suite", ROWS)
def test_rows_resolve_to_the_papers_settings(suite: str) -> None:
    """Each row of a suite of the paper has exactly these arguments, in the printed order, and no row is missing."""
    cells = {place: entry.run.quantizer for place, entry in entries(suite).items()}
    assert {place: (part.name, part.args) for place, part in cells.items()} == ROWS[suite]
    assert list(cells) == list(ROWS[suite])


@pytest.mark.parametrize(("suite", "printed"), [("small_datasets", "B.1"), ("ablation", "B.3"), ("anchors", "B.4")])
def test_all_rows_are_trained_and_measured_as_the_paper_s(suite: str, printed: str) -> None:
    """One recipe, backbone and seed for all rows, those of the released code, and its measuring protocol first."""
    spec = load_suite(suite)
    assert (spec.paper, spec.table.protocol, spec.measure) == (printed, "official", ["official", "clean"])
    for (dataset, _, _), entry in entries(suite).items():
        run = entry.run
        assert (run.recipe.name, run.recipe.args) == ("autoencoder", RECIPE)
        assert (run.backbone.name, run.backbone.args) == ("conv", BACKBONE)
        assert (run.dataset.name, run.dataset.args) == (dataset, {})
        assert (run.seed, run.parent) == (42, None)
