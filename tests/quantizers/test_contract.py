"""Every quantizer, preset and variant keeps the contract: by the conformance kit and further checks."""

from __future__ import annotations

import copy
from math import log2
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.quantizing import DIM, NUM_CODES, feature_map, train_step
from vqbench import registry, testing
from vqbench.quantizer import Quantizer

# Arguments beside the defaults and presets, which change what is computed.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "vq-cosine": ("vq", {"distance": "cosine"}),
    "vq-legacy-sonnet": ("vq", {"beta_on": "codebook", "init": "sonnet"}),
    "hvq-resets": ("hvq", {"reset_every": 2}),
    "sqvae-literal": ("sqvae", {"anneal_steps": None}),
    **{
        f"cvq-{distance}-{anchor}": ("cvq", {"distance": distance, "anchor": anchor})
        for distance in ("l2", "cosine")
        for anchor in ("random", "unique", "probability", "closest")
        if (distance, anchor) != ("cosine", "probability")  # the default
    },
    "fsq-levels": ("fsq", {"levels": "7x5x2"}),
    "fsp-mixed": ("fsp", {"levels": "6x4", "activation": "laplace", "quantize_rate": 0.5, "norm": "kurt"}),
    "nsvq-replaces": ("nsvq", {"replace_every": 2, "discard": 1.0}),
    "sf_diveq-curve": ("sf_diveq", {"skip_steps": 0, "average_steps": 0}),
    "spherical-fibonacci": ("spherical", {"points": "fibonacci", "code_dim": 3}),
    "optvq-heads": ("optvq", {"heads": 2, "iterations": 3}),
    "wasserstein_vq-small_queue": ("wasserstein_vq", {"queue": 32, "codebook_rate": None}),
    "arcvq-one-positive": ("arcvq", {"positives": 1, "scale": 10.0}),
    "looc-shuffled": ("looc", {"units": 3, "shuffle_scale": 2}),
    "vq_ema-cosine": ("vq_ema", {"distance": "cosine"}),
    "vq_ema_restart-random": ("vq_ema_restart", {"kmeans_iterations": 0}),
    "bsq-commitment": ("bsq", {"commitment": 0.2}),
    **{f"rotation-{codebook}": ("rotation", {"codebook": codebook}) for codebook in ("restart", "gradient", "cvq")},
    "l2norm_vq-narrow": ("l2norm_vq", {"code_dim": 4}),
    "grouped-uneven": ("grouped", {"groups": 4}),
    "grouped-shared": ("grouped", {"groups": 3, "shared": True}),
    "vq_ste_plus-plain": ("vq_ste_plus", {"inner_rate": 0.0, "affine": 1.0}),
    "offline_kmeans-fitted": ("offline_kmeans", {"fit_at": 0.3}),
}
OF_VARIANTS = (  # checks that other arguments may break; tests/conformance has those of ranks
    *("shapes", "code_range", "decode_inverts_codes", "encoder_learns", "everything_learns", "evaluation_repeats"),
    *("evaluation_changes_nothing", "state_dict_is_all", "small_batches", "memory_layout", "bfloat16"),
)
BUILT_IN = [name for name in testing.known("quantizers") if not name.startswith("lucidrains")]
CASES = [name for name in registry.names("quantizers") if name != "lucidrains"] + ["rq", "seqgan", *VARIANTS]
ALIKE = {"cvq-l2-closest", "identity", "hvq-resets", "sqvae-literal", "vq-cosine", "vq-legacy-sonnet"}  # to a compiler
WAITING = {"kmeans"}  # whose one fit asks whether a code moved
COMPILED = [case for case in CASES if case not in ALIKE | WAITING and not case.endswith(("-random", "-unique"))]


def build(case: str, num_codes: int = NUM_CODES, seed: int = 0) -> Quantizer:
    """The quantizer of ``case`` with weights from ``seed``."""
    torch.manual_seed(seed)
    name, variant = VARIANTS.get(case, (case, {}))
    _, cls, preset = registry.find("quantizers", name)
    quantizer: Quantizer = cls(num_codes, DIM, **{**preset, **variant})
    return quantizer


def state(quantizer: Quantizer) -> dict[str, Tensor]:
    """Copy the state_dict of the quantizer."""
    return copy.deepcopy(dict(quantizer.state_dict()))


@pytest.mark.parametrize("name", testing.known("quantizers"))
def test_every_quantizer_conforms(name: str) -> None:
    """No built-in quantizer or preset fails a check, and whatever is skipped says why."""
    if name.startswith("lucidrains"):
        pytest.importorskip("vector_quantize_pytorch", reason="a wrapper of vector-quantize-pytorch, an extra")
    report = testing.check(testing.case(name, kind="quantizer"))
    assert not [result for result in report.results if result.state == "FAIL"], report.text
    assert all(result.what for result in report.results if result.state == "SKIP")
    exact = [result for result in report.results if result.check == "decode_inverts_codes" and result.state == "WARN"]
    assert name.startswith("lucidrains") or not exact, "built-in quantizers decode bit for bit"


@pytest.mark.parametrize("case", VARIANTS)
def test_every_variant_conforms(case: str) -> None:
    """Nor does another setting of its arguments."""
    name, arguments = VARIANTS[case]
    subject = testing.case(name, num_codes=NUM_CODES, dim=DIM, **arguments)
    report = testing.check(subject, only=OF_VARIANTS)
    assert not [result for result in report.results if result.state == "FAIL"], report.text
    assert "decode_inverts_codes" not in {result.check for result in report.results if result.state == "WARN"}


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("sqvae")])
def test_a_single_feature(case: str) -> None:
    """One image with one position, less than any statistic needs, trains twice and evaluates without NaN."""
    quantizer, z = build(case), torch.randn(1, DIM, 1, 1, requires_grad=True)
    assert train_step(quantizer, z, seed=3).isfinite()
    assert train_step(quantizer, z, seed=4).isfinite()
    assert all(tensor.isfinite().all() for tensor in quantizer.state_dict().values())
    assert quantizer.eval()(z).z_q.isfinite().all()


@pytest.mark.integration
@pytest.mark.parametrize("case", COMPILED)
def test_a_training_step_compiles_as_one_graph(case: str) -> None:
    """torch.compile traces a training step without a graph break, so without waiting for the device, to equal ends.

    z_q is dense, in either layout.
    """
    torch._dynamo.reset()
    quantizers, z = (build(case), build(case)), feature_map()
    outs = []
    for forward in (quantizers[0], torch.compile(quantizers[1], fullgraph=True, backend="eager")):
        torch.manual_seed(4)
        outs.append(forward(z))
    torch.testing.assert_close(outs[0].loss, outs[1].loss)
    torch.testing.assert_close(state(quantizers[0]), state(quantizers[1]))
    assert any(outs[0].z_q.is_contiguous(memory_format=f) for f in (torch.contiguous_format, torch.channels_last))


@pytest.mark.parametrize(
    ("case", "parameters"),
    [("vq", 144), ("vq_ema", 0), ("hvq", 144), ("sqvae", 145), ("cvq", 144), ("cvq_offline", 144)],
)
def test_the_codebook_is_all_that_learns(case: str, parameters: int) -> None:
    """The codebook is (num_codes, dim), a parameter unless it is an average; SQ-VAE adds one scalar."""
    quantizer = build(case)
    assert quantizer.state_dict()["codebook"].shape == (NUM_CODES, DIM)
    assert sum(parameter.numel() for parameter in quantizer.parameters()) == parameters


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in ("identity", "distortion_bound")])  # bounds
def test_bits_are_within_five_percent_of_the_budget(name: str) -> None:
    """At 512 codes a position costs 9 bits within 5 %; where positions share no codes, by depth and codes."""
    quantizer = testing.case(name, kind="quantizer", num_codes=512, dim=64).build()
    assert quantizer.bits == pytest.approx(9, rel=0.05)
    if name != "multiscale":
        assert quantizer.bits == pytest.approx(log2(quantizer.num_codes**quantizer.depth))


def test_bits_of_multiscale_follow_its_side() -> None:
    """The budget is met at a side of 7, too."""
    assert testing.case("multiscale", num_codes=512, dim=64, side=7).build().bits == pytest.approx(9, rel=0.05)


@pytest.mark.parametrize("name", registry.names("quantizers"))
def test_every_quantizer_names_its_paper(name: str) -> None:
    """Each class names a year, and an arXiv number or that none exists."""
    paper = registry.load("quantizers", name).paper
    assert any(str(year) in paper for year in range(1980, 2030))
    assert "arXiv" in paper
