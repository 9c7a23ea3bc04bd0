"""Numbers out of range are refused when a suite is planned, with file, line and column."""

from __future__ import annotations

import pytest

from vqbench import registry
from vqbench.bounds import unbounded
from vqbench.errors import UsageError
from vqbench.planning.expansion import expand
from vqbench.planning.suite_files import load_suite

SUITE = """\
name: good
train: {clean: {epochs: 2}}
measure: [clean]
datasets: [mnist]
backbone: {conv: {hidden: 16}}
codebook: {num_codes: 8, dim: 4}
quantizers: [vq]
seeds: [1]
metrics: [l1, fid]
generate: {autoregressive: {steps: 2}}
samples: {count: 10}
"""

# Replacement for a line of SUITE -> the place of the error, and words that it must have.
LINES = {
    "no epochs": (2, "train: {clean: {epochs: 0}}", "2:17: train.clean.epochs:", "equal to 1, not 0"),
    "negative subset": (2, "train: {clean: {subset: -3}}", "2:17: train.clean.subset:", "equal to 1, not -3"),
    "empty batch": (2, "train: {clean: {batch_size: 0}}", "2:17: train.clean.batch_size:", "equal to 1, not 0"),
    "huge batch": (2, "train: {clean: {batch_size: 99999999999}}", "2:17: train.clean.batch_size:", "less than"),
    "negative rate": (2, "train: {clean: {learning_rate: -1e-3}}", "2:17: train.clean.learning_rate:", "than 0, not"),
    "negative rate of a gan": (
        *(2, "train: {gan: {steps: 1, batch_size: 4, learning_rate: -1}}"),
        *("2:40: train.gan.learning_rate:", "equal to 0, not -1"),
    ),
    "a decay of 1": (
        *(2, "train: {gan: {steps: 1, batch_size: 4, learning_rate: 1, beta1: 1.0}}"),
        *("2:58: train.gan.beta1:", "less than 1, not 1.0"),
    ),
    "no width": (5, "backbone: {conv: {hidden: 0}}", "5:19: backbone.conv.hidden:", "equal to 2, not 0"),
    "negative blocks": (5, "backbone: {conv: {blocks: -1}}", "5:19: backbone.conv.blocks:", "equal to 0, not -1"),
    "no layers": (5, "backbone: {vit: {layers: 0}}", "5:18: backbone.vit.layers:", "equal to 1, not 0"),
    "a small image": (4, "datasets: [{photos: {size: 4}}]", "4:22: datasets.0.photos.size:", "equal to 8, not 4"),
    "no steps": (10, "generate: {autoregressive: {steps: 0}}", "10:29: generate.autoregressive.steps:", "not 0"),
    "no samples": (11, "samples: {count: 0}", "11:11: samples.count ", "greater than or equal to 2"),
    "too many samples": (11, "samples: {count: 99999999999}", "11:11: samples.count ", "less than or equal to"),
    "negative weight": (7, "quantizers: [{vq: {beta: -1}}]", "7:20: quantizers.0.vq.beta:", "equal to 0, not -1"),
    "no smoothing": (7, "quantizers: [{vq_ema: {epsilon: 0}}]", "7:24: quantizers.0.vq_ema.epsilon:", "than 0, not 0"),
    "a tower": (7, "quantizers: [{residual: {depth: 100000}}]", "7:26: quantizers.0.residual.depth:", "equal to 1000"),
    "huge dimension": (6, "codebook: {dim: 99999999999}", "6:12: codebook.dim ", "at most 16,777,216"),
}


KINDS: tuple[registry.Kind, ...] = ("recipes", "backbones", "datasets", "quantizers")
BUDGET = ("num_codes", "dim")  # of a quantizer: bounded where a suite gives them


def plugins() -> list[tuple[str, str]]:
    return [(kind, name) for kind in KINDS for name in registry.names(kind)]


@pytest.mark.parametrize(("kind", "name"), plugins())
def test_numbers_declare_their_range(kind, name):
    """Every numeric argument of a recipe, backbone, data set or quantizer has a range where it is declared."""
    numbers = registry.parameters(registry.load(kind, name))
    lacking = [each for each, (kind_, _) in numbers if unbounded(kind_) and each not in BUDGET]
    assert not lacking


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_metrics_take_no_numbers(name):
    """A suite gives no arguments to metrics, so none can be out of range."""
    assert [each for each, _ in registry.parameters(registry.load("metrics", name))] == ["context"]


@pytest.mark.parametrize("case", LINES)
def test_a_number_out_of_range_is_named(tmp_path, case):
    """The error names the file, the line and column, the key, the bound and the number."""
    number, text, place, words = LINES[case]
    lines = SUITE.splitlines()
    lines[number - 1] = text
    path = tmp_path / "bad.yaml"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError) as caught:
        expand(load_suite(path))
    assert str(caught.value).startswith(f"{path}:{place}")
    assert words in str(caught.value)


def test_the_suite_is_good(tmp_path):
    """The unchanged suite is valid, so each variant is refused for its own fault."""
    path = tmp_path / "good.yaml"
    path.write_text(SUITE)
    assert len(expand(load_suite(path))) == 1
