"""Perturbed FID: rFID of codes that are replaced by near ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.support.measured_batches import cheap_distance, cheap_features
from tests.support.tiny_models import TestImages, autoencoder, greys
from vqbench import registry
from vqbench.evaluation.reconstructions import Evaluator
from vqbench.metrics import pfid, rfid
from vqbench.networks import inception
from vqbench.quantizer import Quantizer
from vqbench.spec import seeds

CPU = torch.device("cpu")


def values(*metrics: str, quantizer: str = "vq", seed: int = 1, count: int = 130) -> list[float | None]:
    """The values of an untrained model on the first images, in their order."""
    evaluator = Evaluator(TestImages(greys(count)), CPU, keep=False)  # type: ignore[arg-type]  # all that it uses
    measured = evaluator.measure(autoencoder(quantizer), {"clean": metrics}, seeds=seeds(seed, "images"))
    return [measured.values["clean"][name].value for name in metrics]


@pytest.fixture
def cheap(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features and a distance that cost nothing, in place of Inception's and of a root of matrices."""
    monkeypatch.setattr(inception, "features", cheap_features)
    monkeypatch.setattr(rfid, "frechet_distance", cheap_distance)


@pytest.mark.parametrize("argument", ["alpha", "beta"])
def test_without_replaced_codes_it_is_rfid(argument: str, cheap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rate or a share of 0 the value is that of rFID, digit for digit; with the defaults it is another."""
    plain, perturbed = values("rfid", "pfid")
    assert perturbed != plain > 0
    monkeypatch.setattr(pfid.PerturbedFID, argument, 0.0)
    assert values("pfid") == [plain]


@pytest.mark.slow
def test_without_replaced_codes_it_is_rfid_in_inceptions_features(
    weights: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in the features that the metric is defined on."""
    monkeypatch.setattr(pfid.PerturbedFID, "alpha", 0.0)
    plain, perturbed = values("rfid", "pfid", count=20)
    assert perturbed == plain


def test_draws_follow_the_seed_of_the_run(cheap: None) -> None:
    """Two measurements of a run agree to the last digit, and another seed gives another value."""
    first, second, other = values("pfid"), values("pfid"), values("pfid", seed=2)
    assert first == second != other


@pytest.mark.parametrize("quantizer", ["identity", "multiscale"])
def test_it_is_undefined_where_no_single_code_can_be_replaced(quantizer: str, cheap: None) -> None:
    """Without codes, or with codes that stand for several positions, the value is None."""
    assert values("pfid", quantizer=quantizer) == [None]


class Points(Quantizer):
    """The codes 0 to 15 on a line at 0, 1, 4, 9, ...; a second code of a position adds to the first."""

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return codes.double().square().sum(-1)[:, None]


def test_near_codes_are_the_nearest_of_their_depth() -> None:
    """Each code is replaced among its four nearest, by rank, and only where it is to be."""
    near = pfid.NearCodes(Points(16, 1, depth=2), CPU)
    assert near.count == 4
    codes = torch.tensor([[[[5, 0]]]]).expand(4, 1, 1, 2)
    ranks = torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 1, 2)
    every = near.replaced(codes, torch.ones(codes.shape, dtype=torch.bool), ranks)
    assert every.flatten(1).tolist() == [[5, 0], [4, 1], [6, 2], [3, 3]]  # at 25: 16, 36, 9; at 0: 1, 4, 9
    first = near.replaced(codes, torch.tensor([True, False]).expand(codes.shape), ranks)
    assert first.flatten(1).tolist() == [[5, 0], [4, 0], [6, 0], [3, 0]]


@pytest.mark.parametrize("codes", [3, 64, 512, 4096, 65536])
def test_the_number_of_near_codes_follows_the_codebook(codes: int) -> None:
    """A hundred of 4,096 codes, in proportion for fewer, at least four, and never more than there are."""
    wanted = {3: 3, 64: 4, 512: 12, 4096: 100, 65536: 100}[codes]
    assert pfid.NearCodes(Points(codes, 1), CPU).count == wanted


def plugins() -> list[str]:
    """Every quantizer that needs no further package."""
    return [name for name in registry.names("quantizers") if not registry.load("quantizers", name).packages]


@pytest.mark.parametrize("name", plugins())
def test_every_quantizer_decodes_single_codes(name: str) -> None:
    """The vectors of all codes exist for every built-in method whose codes each stand for one position."""
    make: Callable[..., Quantizer] = registry.load("quantizers", name)
    quantizer = make(64, 8).eval()
    if quantizer.depth == 0 or quantizer.codes_per_image(4, 4) != [16] * quantizer.depth:
        return
    near = pfid.NearCodes(quantizer, CPU)
    assert [tuple(each.shape) for each in near.vectors] == [(quantizer.num_codes, 8)] * quantizer.depth
    codes = (torch.arange(64) % quantizer.num_codes).view(1, 8, 8, 1).expand(1, 8, 8, quantizer.depth)
    drawn = near.replaced(codes, torch.ones(codes.shape, dtype=torch.bool), torch.full(codes.shape, near.count - 1))
    assert drawn.min() >= 0
    assert drawn.max() < quantizer.num_codes
