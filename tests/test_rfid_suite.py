"""rFID of a trained suite, held against torch-fidelity's own function; run by ``tox -e rfid`` on what it trained."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqbench import assets, registry
from vqbench.compat import ensure_torchvision
from vqbench.pictures import to_unit
from vqbench.runner import build
from vqbench.spec import RunSpec


class Pictures(torch.utils.data.Dataset):
    """8-bit pictures (N, 3, S, S), as torch-fidelity wants them."""

    def __init__(self, levels: Tensor) -> None:
        self.levels = levels.expand(-1, 3, -1, -1)

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> Tensor:
        return self.levels[index]


@pytest.mark.rfid
def test_the_stored_rfid_is_torch_fidelitys(tmp_path: Path) -> None:
    """On the whole test split the stored value of `vq` is what torch_fidelity.calculate_metrics gives, to 1e-4."""
    ensure_torchvision()
    import torch_fidelity

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

    path = tmp_path / "inception.pth"
    fc = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save({**assets.tensors("inception_fid"), **fc}, path)
    expected = torch_fidelity.calculate_metrics(
        input1=Pictures(pixels),
        input2=Pictures(levels),
        fid=True,
        feature_extractor_weights_path=str(path),
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )["frechet_inception_distance"]
    assert record["values"]["clean"]["rfid"]["value"] == pytest.approx(expected, rel=1e-4)
