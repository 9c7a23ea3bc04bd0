"""What every built-in metric of reconstructions has in common."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.support.measured_batches import (
    batch_of,
    cheap_features,
    context,
    grey,
    metric,
    part,
)
from vqbench import registry
from vqbench.errors import RunError
from vqbench.metric import Metric
from vqbench.networks import inception
from vqbench.protocol import MEASURE

NAMES = ("l1", "psnr", "ssim", "lpips", "rfid", "usage", "perplexity", "bits", "entropy")
CODED = ("usage", "perplexity", "bits", "entropy")


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_says_what_a_table_needs(name: str) -> None:
    """A metric has a label, a direction, decimals, a reference and a docstring of its own."""
    cls = registry.load("metrics", name)
    assert issubclass(cls, Metric)
    assert cls.label
    assert cls.reference
    assert cls.__doc__
    assert cls.better == {"psnr": "max", "ssim": "max", "usage": "max", "perplexity": "max"}.get(name, "min")
    assert (
        cls.digits
        == {
            "l1": 4,
            "ssim": 4,
            "lpips": 4,
            "psnr": 2,
            "rfid": 2,
            "usage": 1,
            "perplexity": 1,
            "bits": 0,
            "entropy": 1,
        }[name]
    )
    assert cls.needs_codes == (name in CODED)


@pytest.mark.parametrize("protocol", MEASURE)
@pytest.mark.parametrize("name", NAMES)
def test_states_of_parts_add_up_to_the_state_of_the_whole(
    name: str, protocol: str, weights: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two metrics that saw 5 and 3 images hold, added key by key, what one holds that saw all 8 in batches of 4."""
    monkeypatch.setattr(inception, "features", cheap_features)
    whole, first, second = (metric(name, context(protocol)) for _ in range(3))
    batch = batch_of(grey(8), protocol)
    each = [whole.update(part(batch, begin, begin + 4)) for begin in (0, 4)]
    first.update(part(batch, 0, 5))
    second.update(part(batch, 5, 8))
    assert whole.state.keys() == first.state.keys() == second.state.keys()
    for key, value in whole.state.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(first.state[key] + second.state[key], value, rtol=1e-5, atol=1e-5)
    if name in ("l1", "psnr", "ssim", "lpips"):
        values = torch.cat([v for v in each if v is not None])
        assert values.shape == (8,)
        assert values.dtype == torch.float64
        assert whole.compute() == pytest.approx(float(values.mean()), rel=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("usage", "perplexity")])
def test_each_image_is_counted_once(name: str, weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """After batches of 3, 3 and 1 images the count in the state is 7, and none is left from the run before."""
    monkeypatch.setattr(inception, "features", cheap_features)
    collector = metric(name)
    batch = batch_of(grey(7))
    for _ in range(2):
        collector.start(context())
        for begin in (0, 3, 6):
            collector.update(part(batch, begin, min(begin + 3, 7)))
        counts = [int(value) for key, value in collector.state.items() if key.endswith("count")]
        assert counts == [7] * len(counts)
        assert counts


@pytest.mark.parametrize("name", CODED)
def test_nothing_is_said_of_a_run_without_a_codebook(name: str) -> None:
    """Without codes the value is None, not zero."""
    collector = metric(name, context(num_codes=None, bits=None))
    collector.update(replace(batch_of(grey(2)), codes=None))
    assert collector.compute() is None


@pytest.mark.parametrize("name", CODED)
def test_no_images_give_no_number(name: str) -> None:
    """Without any image the value is an error, not 0 and not NaN."""
    with pytest.raises(RunError, match="was given none"):
        metric(name).compute()


def test_making_a_metric_leaves_the_random_state_alone(weights: None) -> None:
    """The networks' random initial weights are not drawn from the stream that a run's training draws from."""
    before = torch.get_rng_state()
    inception.network.cache_clear()
    for name in NAMES:
        metric(name)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_metric_imports_few_of_our_files() -> None:
    """PSNR imports at most 8 files of vqbench: itself, its contract, images and protocols."""
    code = (
        "import sys, vqbench.metrics.psnr\n"
        "ours = [name for name in sys.modules if name.split('.')[0] == 'vqbench']\n"
        "assert len(ours) <= 8, ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
