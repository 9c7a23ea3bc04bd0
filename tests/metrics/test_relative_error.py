"""The relative error of a model on a test split, and what a metric of a model is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.tiny_models import TestImages, autoencoder, greys
from vqbench.errors import RunError
from vqbench.evaluation.reconstructions import Evaluator, Measurement
from vqbench.images import to_unit
from vqbench.metric import Batch, Context
from vqbench.metrics.relative_error import RelativeError
from vqbench.protocol import measuring

CPU = torch.device("cpu")


def measured(quantizer: str, *metrics: str, count: int = 130) -> Measurement:
    evaluator = Evaluator(TestImages(greys(count)), CPU, keep=False)  # type: ignore[arg-type]  # all that it uses
    return evaluator.measure(autoencoder(quantizer), {"clean": metrics})


def test_it_is_the_error_of_all_features_at_once() -> None:
    """Over two batches the value is NumPy's, of the features and code vectors of all images in float64."""
    model = autoencoder()
    with torch.no_grad():
        z = model.backbone.encode(to_unit(greys(130)))
        z_q = model.quantizer.decode(model.quantizer(z).codes)
    rows, quantized = (each.movedim(1, -1).flatten(0, 2).double().numpy() for each in (z, z_q))
    wanted = ((rows - quantized) ** 2).sum() / (rows.var(0).sum() * len(rows))
    value = measured("vq", "relative_error").values["clean"]["relative_error"]
    assert value.value == pytest.approx(wanted, rel=1e-5)
    assert value.images == 130


def test_other_metrics_do_not_see_the_model() -> None:
    """The model is in the context of a metric that needs it alone, and changes no value of the others."""
    alone = measured("vq", "l1", "usage")
    beside = measured("vq", "l1", "usage", "relative_error", "stability")
    for name in ("l1", "usage"):
        assert beside.values["clean"][name] == alone.values["clean"][name]
    np.testing.assert_array_equal(beside.images["clean/l1"], alone.images["clean/l1"])


def test_nothing_is_said_without_a_codebook() -> None:
    """Features that nothing quantizes have no relative error: None, not 0, and no stability."""
    values = measured("identity", "relative_error", "stability").values["clean"]
    assert [values[name].value for name in ("relative_error", "stability")] == [None, None]


def test_no_images_and_equal_features_are_errors() -> None:
    """Without images, or with features that do not vary, the error says so."""
    context = Context(measuring("clean"), "", 4, 2.0, CPU, latent_shape=(2, 3, 3))
    with pytest.raises(RunError, match="features that vary"):
        RelativeError(context).compute()


def test_images_without_their_model_have_no_value() -> None:
    """A batch that comes without latents is left out, and a context without a model gives None."""
    batch = Batch(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), torch.zeros(2, 2, 2, 1).long(), torch.arange(2))
    metric = RelativeError(Context(measuring("clean"), "", 4, 2.0, CPU))
    metric.update(batch)
    assert metric.compute() is None
