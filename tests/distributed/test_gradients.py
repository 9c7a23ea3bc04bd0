"""Gradients of two real ranks: added up, also where a rank has none, and those of rank 0 for a whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

TWO_RANKS = """
import sys, torch, torch.distributed as dist
from vqbench.distributed import collectives, gradients, group

rank, folder = int(sys.argv[1]), sys.argv[2]
group.join(rank, 2, rank, 2, gpus=False, store=dist.FileStore(f"{folder}/meeting", 2))
names = ("both", "first", "second", "none", "frozen")
module = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.zeros(2, 3)) for name in names})
used = {"both": (1.0, 2.0), "first": (3.0, None), "second": (None, 4.0), "frozen": (5.0, 6.0)}

def fill():
    for name, parameter in module.items():
        value = used.get(name, (None, None))[rank]
        parameter.grad = None if value is None else torch.full((2, 3), value)

def read():
    return {name: parameter.grad for name, parameter in module.items()}

module["frozen"].requires_grad_(False)
fill()
gradients.sum_gradients(module)
result = {"shared": read()}
fill()
with collectives.WholeBatch():
    gradients.sum_gradients(module)
torch.save(result | {"whole": read()}, f"{folder}/{rank}.pt")
group.leave()
"""

MEAN_OF_TWO_RANKS = """
import sys, torch, torch.distributed as dist
from vqbench.distributed import collectives, group

rank, folder = int(sys.argv[1]), sys.argv[2]
group.join(rank, 2, rank, 2, gpus=False, store=dist.FileStore(f"{folder}/meeting", 2))
value = torch.tensor([5.0, 2.0][rank], requires_grad=True)
with collectives.SharedBatch(3):  # one image on the first rank, two on the second
    mean = collectives.all_mean(value)
(mean.square() * [1.0, 10.0][rank]).backward()
torch.save({"mean": mean.item(), "gradient": value.grad.item()}, f"{folder}/{rank}.pt")
group.leave()
"""


def run_two_ranks(script: str, folder: Path) -> list[dict[str, Any]]:
    """Return what each of two ranks saved in ``folder``; a warning of torch that a call is deprecated ends a rank."""
    words = [[sys.executable, "-W", "error::FutureWarning", "-c", script, str(rank), str(folder)] for rank in (0, 1)]
    ranks = [subprocess.Popen(each) for each in words]
    assert [rank.wait(300) for rank in ranks] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_mean_over_ranks_has_the_gradient_of_all_losses(tmp_path: Path) -> None:
    """Means over ranks count images; a rank's value has the gradient of every rank's loss, by its share."""
    mean, losses = (5 + 2 * 2) / 3, 1 + 10  # d(Σ wᵣ m²)/dm = 2 m Σ wᵣ
    for result, share in zip(run_two_ranks(MEAN_OF_TWO_RANKS, tmp_path), (1 / 3, 2 / 3), strict=True):
        assert result == pytest.approx({"mean": mean, "gradient": 2 * mean * losses * share}, rel=1e-6)


def test_gradients_are_added_up(tmp_path: Path) -> None:
    """A parameter that one rank alone used has its gradient on both; one that none used, or that is frozen, is left.

    Of a batch that both computed as a whole, rank 0 has the gradients of both.
    """
    for result, frozen in zip(run_two_ranks(TWO_RANKS, tmp_path), (5.0, 6.0), strict=True):
        values = {name: None if each is None else each.unique().item() for name, each in result["shared"].items()}
        assert values == {"both": 3.0, "first": 3.0, "second": 4.0, "none": None, "frozen": frozen}
        values = {name: None if each is None else each.unique().item() for name, each in result["whole"].items()}
        assert (values["both"], values["none"]) == (1.0, None)
