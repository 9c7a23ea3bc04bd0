"""rFID of a trained suite, compared with torch-fidelity; run by ``tox -e rfid`` on the runs that it trained."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from tests.support.fidelity import frechet_inception_distance
from vqbench import registry
from vqbench.images import to_unit
from vqbench.spec import RunSpec
from vqbench.training.model_building import build


@pytest.mark.rfid
def test_the_stored_rfid_is_torch_fidelitys(tmp_path: Path) -> None:
    """On the whole test split the stored value of `vq` is what torch_fidelity.calculate_metrics gives, to 1e-4."""
    runs = Path(os.environ["VQBENCH_QUICK_RUNS"])
    (folder,) = runs.glob("fashion_mnist_5k-vq-*")
    record = json.loads((folder / "record.json").read_text())
    run = RunSpec.from_dict(record["run"])
    dataset = registry.load("datasets", run.dataset.name)()
    model = build(run, dataset)
    model.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
    pixels = dataset.pixels("test")
    with torch.no_grad():
        reconstructions = torch.cat([model.eval()(to_unit(part))[0] for part in pixels.split(100)])
    levels = (((reconstructions + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8)
    expected = frechet_inception_distance(pixels, levels, tmp_path)
    assert record["values"]["clean"]["rfid"]["value"] == pytest.approx(expected, rel=1e-4)
