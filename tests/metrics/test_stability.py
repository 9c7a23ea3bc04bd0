"""Which codes survive decoding and encoding again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vqbench
from tests.support.tiny_models import TestImages, autoencoder, greys
from vqbench.errors import UsageError
from vqbench.evaluation.image_pairs import default_metrics
from vqbench.evaluation.reconstructions import Evaluator
from vqbench.images import as_measured, to_unit
from vqbench.protocol import measuring

CPU = torch.device("cpu")


@pytest.mark.parametrize("quantizer", ["vq", "fsq"])
@pytest.mark.parametrize("protocol", ["clean", "official"])
def test_it_is_the_share_of_equal_codes(protocol: str, quantizer: str) -> None:
    """Each image's value is the share of its codes that its reconstruction, as the protocol has it, gets again."""
    model = autoencoder(quantizer)
    evaluator = Evaluator(TestImages(greys(130)), CPU, keep=False)  # type: ignore[arg-type]  # all that it uses
    measurement = evaluator.measure(model, {protocol: ["stability"]})
    with torch.no_grad():
        reconstructions, out = model(to_unit(greys(130)))
        image = as_measured(reconstructions, measuring(protocol))[:, :1]  # through JPEG under official
        again = model.quantize(2 * image - 1).codes
    wanted = 100 * (again == out.codes).flatten(1).double().mean(1)
    assert 0 < wanted.mean() < 100
    np.testing.assert_allclose(measurement.images[f"{protocol}/stability"], wanted)
    assert measurement.values[protocol]["stability"].value == pytest.approx(float(wanted.mean()))


def test_images_alone_have_no_stability() -> None:
    """Two arrays of images name no model: the error says where the metric can be asked for."""
    images = np.zeros((4, 1, 8, 8), np.uint8)
    with pytest.raises(UsageError, match="under the metrics of a suite"):
        vqbench.evaluate(images, images, metrics=["stability"])


def test_pairs_of_images_do_not_have_metrics_of_models_by_default() -> None:
    """What is measured of images alone, without a choice, has no metric that needs the model."""
    chosen = default_metrics(with_codes=True, group="all")
    assert "usage" in chosen
    assert not {"relative_error", "stability", "pfid", "ifid"} & set(chosen)
