"""Gradients of two real ranks: added up, also where a rank has none, and those of rank 0 for a whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_gradients_are_added_up(tmp_path: Path) -> None:
    """A parameter that one rank alone used has its gradient on both; one that none used, or that is frozen, is left.

    Of a batch that both computed as a whole, rank 0 has the gradients of both.
    """
    words = [[sys.executable, "-c", TWO_RANKS, str(rank), str(tmp_path)] for rank in (0, 1)]
    ranks = [subprocess.Popen(each) for each in words]
    assert [rank.wait(300) for rank in ranks] == [0, 0]
    for rank, frozen in enumerate((5.0, 6.0)):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        values = {name: None if each is None else each.unique().item() for name, each in result["shared"].items()}
        assert values == {"both": 3.0, "first": 3.0, "second": 4.0, "none": None, "frozen": frozen}
        values = {name: None if each is None else each.unique().item() for name, each in result["whole"].items()}
        assert (values["both"], values["none"]) == (1.0, None)
