"""torch-fidelity's own FID, for comparison with ours."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vqbench import assets
from vqbench.networks.compat import ensure_torchvision


class Images(torch.utils.data.Dataset):
    """8-bit images (N, 1 or 3, S, S), as torch-fidelity wants them: RGB."""

    def __init__(self, levels: Tensor) -> None:
        self.levels = levels.expand(-1, 3, -1, -1)

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> Tensor:
        return self.levels[index]


def frechet_inception_distance(originals: Tensor, reconstructions: Tensor, folder: Path) -> float:
    """What torch_fidelity.calculate_metrics gives on uint8 images; ``folder`` takes a file of weights."""
    ensure_torchvision()
    import torch_fidelity

    path = folder / "inception.pth"
    fc = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}  # the classifier, which FID does not use
    torch.save({**assets.tensors("inception_fid"), **fc}, path)
    return torch_fidelity.calculate_metrics(
        input1=Images(originals),
        input2=Images(reconstructions),
        fid=True,
        feature_extractor_weights_path=str(path),
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )["frechet_inception_distance"]
