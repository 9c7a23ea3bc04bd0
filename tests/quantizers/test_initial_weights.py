"""What every quantizer starts from is what its docstring states, and its defaults are the published ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from fnmatch import fnmatch
from math import log, prod, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from vqbench import registry
from vqbench.quantizer import Quantizer

NUM_CODES, DIM = 512, 64
FAN_IN, XAVIER = "U(±1/√fan-in)", "U(±√(6/(fan-in + fan-out)))"
LINEAR = {"project_in.*": FAN_IN, "project_out.*": FAN_IN}
SONNET = {"codebook": "U(±√(3/D))", "average_counts": "0", "average_sums": "0"}
POSITIVE = {"codebook": "U(0, 1/K)"}
CUBE = "U(±1/K) divided by their length"
UNIT = "normal vectors divided by their length"
RESTART = SONNET | {"average_counts": "1", "average_sums": "codes"}

# By quantizer, of every floating-point entry of its state: a distribution as the docstring writes it, a constant, or
# "codes" for a copy of the codebook.
STARTS: dict[str, dict[str, str]] = {
    "arcvq": {"codebook": CUBE},
    "bsq": LINEAR,
    "cvq": {"codebook": "U(±1/K)", "usage": "0"},
    "distortion_bound": {},
    "diveq": POSITIVE,
    "cvq_grouped": {"chunks.codebook": "U(±1/K)", "chunks.usage": "0"},
    "entropy_vq": {"codebook": "U(±√(3/K))"},
    "fsp": LINEAR,
    "fsq": LINEAR,
    "grouped": {"codebook": "U(±1/K)"},
    "gumbel": {"codebook": "N(0, 1)", "logits.*": "U(±1/√D)", "temperature": "1"},
    "hvq": {"codebook": "N(0, 1)", "temperature": "0.667"},
    "ibq": {"codebook": "N(0, 1)"},
    "identity": {},
    "kmeans": {"codebook": "U(±√(3/D))"},
    "l2norm_vq": {"codebook": "N(0, 1)", **LINEAR},
    "lfq": LINEAR,
    "looc": {"grouped.chunks.codebook": "U(±1/K)", "grouped.chunks.usage": "0"},
    "multiscale": {"codebook": "U(±1/K)", "convolutions.*": FAN_IN},
    "nsvq": POSITIVE,
    "offline_kmeans": RESTART,
    "optvq": {"points": "N(0, 1)", "projection.weight": "N(0, 1/D)", "projection.bias": "U(±1/√D)"},
    "residual": {f"levels.*.{name}": start for name, start in RESTART.items()},
    "rotation": {f"inner.{name}": start for name, start in SONNET.items()},
    "sf_diveq": POSITIVE | {"run_sums": "0"},
    "simvq": {"frozen": "N(0, 1/D)", "projection.*": "U(±1/√D)"},
    "spherical": LINEAR | {"codebook": UNIT},
    "sqvae": {"codebook": "N(0, 1)", "log_scale": str(log(10)), "temperature": "1"},
    "vq": {"codebook": "U(±1/K)"},
    "vq_bridge": {"seed": "U(±1/K)", "recover.*": "0", "*.bias": "0", "*.weight": XAVIER},
    "vq_ema": SONNET,
    "vq_ema_restart": RESTART,
    "vq_ste_plus": {"codes": "U(±1/K)", "scale": "0", "shift": "0"},
    "wasserstein_vq": {"codebook": "N(0, 0.01²)", "queue": "N(0, 0.01²)"},
}
CHOSEN = {  # what is chosen by an argument
    ("vq", "sonnet"): "U(±√(3/D))",
    ("grouped", "sonnet"): "U(±√(3/D))",
}

# U(±bound) and N(0, deviation²), from the weight's shape (fan-out, fan-in, …), K and D.
SCALES: dict[str, Callable[[tuple[int, ...], int, int], float]] = {
    "U(±1/K)": lambda shape, k, d: 1 / k,
    "U(0, 1/K)": lambda shape, k, d: 1 / k / 2,  # around its middle
    "U(±√(3/D))": lambda shape, k, d: sqrt(3 / d),
    "U(±√(3/K))": lambda shape, k, d: sqrt(3 / k),
    "U(±1/√D)": lambda shape, k, d: 1 / sqrt(d),
    FAN_IN: lambda shape, k, d: 1 / sqrt(prod(shape[1:])),
    XAVIER: lambda shape, k, d: sqrt(6 / (shape[0] + shape[1])),
    "N(0, 1)": lambda shape, k, d: 1.0,
    "N(0, 1/D)": lambda shape, k, d: 1 / sqrt(d),
    "N(0, 0.01²)": lambda shape, k, d: 0.01,
    UNIT: lambda shape, k, d: 1 / sqrt(shape[1]),  # of many dimensions, each nearly normal
}

# Arguments that releases fix, as they fix them: in the class, or in the configuration of the published models.
DEFAULTS: dict[str, dict[str, Any]] = {
    "arcvq": {"beta": 0.25, "scale": 5.0, "margin": 0.1, "positives": 3, "arc_decay": 5e-4, "radius_growth": 3e-4},
    "bsq": {"entropy": 0.1, "diversity": 1.0, "commitment": 0.0, "inverse_temperature": 1.0},
    "cvq": {"distance": "cosine", "anchor": "probability", "beta": 0.25, "decay": 0.99, "temperature": 0.07},
    "diveq": {"noise": 0.001, "replace_every": 100, "discard": 0.01, "perturbation": 1e-9},
    "entropy_vq": {"beta": 0.25, "entropy": 0.1, "certainty": 1.0, "temperature": 0.01},
    "fsp": {"activation": "tanh", "quantize_rate": 0.0, "norm": "none"},
    "fsq": {"epsilon": 1e-3, "bound": "tanh"},
    "gumbel": {"kl": 5e-4, "temperature_start": 1.0, "temperature_end": 1 / 16},
    "ibq": {"beta": 0.25, "entropy": 0.05, "temperature": 0.01},
    "l2norm_vq": {"code_dim": 8, "beta": 0.25},
    "lfq": {"commitment": 0.25, "entropy": 0.1, "diversity": 1.0, "temperature": 0.01},
    "looc": {"shuffle_scale": 0, "distance": "cosine", "anchor": "closest", "beta": 0.25},
    "multiscale": {"beta": 0.25},
    "nsvq": {"replace_every": 100, "discard": 0.01, "perturbation": 1e-9},
    "optvq": {"beta": 0.25, "epsilon": 10.0, "iterations": 5, "heads": 1},
    "residual": {"beta": 0.25, "decay": 0.99, "epsilon": 1e-5, "threshold": 1.0},
    "rotation": {"codebook": "ema", "beta": 1.0, "decay": 0.8},
    "sf_diveq": {"noise": 0.001, "skip_steps": 1000, "average_steps": 50},
    "simvq": {"beta": 0.25},
    "spherical": {"code_dim": 24},
    "sqvae": {"scale": 10.0, "decay": 1e-5},
    "vq": {"beta": 0.25, "beta_on": "commitment"},
    "vq_bridge": {"patch": 16, "hidden": 256, "blocks": 2, "heads": 4, "beta": 0.25},
    "vq_ema": {"beta": 0.25, "decay": 0.99, "epsilon": 1e-5, "distance": "l2"},
    "vq_ste_plus": {"beta": 0.95, "affine": 10.0, "synchronise": 0.2, "inner_rate": 50.0},
    "wasserstein_vq": {"alpha": 1.0, "beta": 0.1, "gamma": 0.5, "queue": 65536, "codebook_rate": 0.02},
}


def build(name: str, **arguments: Any) -> Quantizer:
    torch.manual_seed(0)
    quantizer: Quantizer = registry.load("quantizers", name)(NUM_CODES, DIM, **arguments)
    return quantizer


def text(name: str) -> str:
    """A quantizer's docstring in one line."""
    return " ".join((inspect.getdoc(registry.load("quantizers", name)) or "").split())


def start_of(name: str, key: str) -> str:
    starts = [start for pattern, start in STARTS[name].items() if fnmatch(key, pattern)]
    assert starts, f"{name}: no start is stated for {key}"
    return starts[0]


def require_uniform(values: Tensor, bound: float) -> None:
    """Within ±bound and close to it, with the mean and the deviation that go with it."""
    count = values.numel()
    assert values.abs().max() <= bound * (1 + 1e-6)
    assert values.abs().max() >= bound * (1 - 12 / count)
    assert abs(values.mean()) <= 5 * bound / sqrt(3 * count)
    assert values.square().mean().sqrt().item() == pytest.approx(bound / sqrt(3), rel=3 / sqrt(count))


def require_normal(values: Tensor, deviation: float) -> None:
    """The mean, the deviation, and the share beyond two deviations of a normal distribution."""
    count, units = values.numel(), values / deviation
    assert abs(units.mean()) <= 5 / sqrt(count)
    assert units.std().item() == pytest.approx(1, rel=4 / sqrt(count))
    assert (units.abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=1.1 / sqrt(count))
    assert units.abs().max() > 3


def require_cube(values: Tensor) -> None:
    """Vectors of length 1 whose directions are those of points in a cube, not of a sphere.

    The kurtosis of their entries is 1.8 as a uniform distribution's, where normal vectors have 3.
    """
    torch.testing.assert_close(values.norm(dim=1), torch.ones(len(values)))
    assert abs(values.mean()) <= 5 / sqrt(values.numel() * values.shape[1])
    assert (values**4).mean().item() / values.square().mean().item() ** 2 == pytest.approx(1.8, abs=0.05)


def require_start(name: str, quantizer: Quantizer, key: str, start: str) -> None:
    state = quantizer.state_dict()
    values = state[key]
    if start == "codes":
        assert torch.equal(values, state[key.replace("average_sums", "codebook")])
    elif start == CUBE:
        require_cube(values)
    elif start not in SCALES:
        torch.testing.assert_close(values, torch.full_like(values, float(start)))
    else:
        owner = key.replace(".bias", ".weight")  # a bias has the bound of its weight
        codes = NUM_CODES if "codebook" not in key else len(values)
        scale = SCALES[start](tuple(state[owner].shape), codes, DIM)
        values = values - scale if start.startswith("U(0") else values
        (require_uniform if start.startswith("U") else require_normal)(values, scale)


@pytest.mark.parametrize("name", STARTS)
def test_quantizers_start_as_their_docstrings_state(name: str) -> None:
    """Every floating-point entry of the state has the stated distribution: its kind, bounds, mean and deviation."""
    quantizer = build(name)
    for key, values in quantizer.state_dict().items():
        if values.is_floating_point():
            start = start_of(name, key)
            stated = start not in {*SCALES, CUBE} or start in text(name)
            assert stated, f"{name} does not state that {key} starts at {start}"
            require_start(name, quantizer, key, start)


@pytest.mark.parametrize(("name", "init"), CHOSEN)
def test_a_start_that_is_chosen_is_as_stated(name: str, init: str) -> None:
    """The starts that ``init`` offers beside the default."""
    assert CHOSEN[name, init] in text(name)
    require_start(name, build(name, init=init), "codebook", CHOSEN[name, init])


def test_every_built_in_quantizer_is_compared() -> None:
    """A quantizer that is added states its start, too; the wrapper has the package's own."""
    assert set(STARTS) == set(registry.names("quantizers")) - {"lucidrains"} - set(registry.added("quantizers"))


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_the_published_ones(name: str) -> None:
    """Where a release fixes an argument, ours has that value unless a suite says otherwise."""
    given = inspect.signature(registry.load("quantizers", name)).parameters
    assert {argument: given[argument].default for argument in DEFAULTS[name]} == DEFAULTS[name]


OF_TEXTBOOKS = ("identity", "vq", "hvq", "offline_kmeans", "kmeans", "distortion_bound")


@pytest.mark.parametrize("name", [name for name in STARTS if name not in OF_TEXTBOOKS])
def test_differences_from_releases_are_declared(name: str) -> None:
    """A docstring lists the differences from the released code, or says that none exists."""
    assert "Differs from" in text(name) or "No code of this setting was released" in text(name)
