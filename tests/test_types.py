"""Type checkers see quantizers, metrics and Tensors: a planted mistake is an error, and nothing is ignored unsaid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Each line that ends with an error code must be that error, and no other line may be one.
PLANTED = """\
import torch
import vqbench
from torch import Tensor
from vqbench import registry
from vqbench.metric import Batch, Metric
from vqbench.quantizers import CVQ, VQ, VQEMA
from vqbench.quantizers import NoSuchVQ  # attr-defined

z = torch.zeros(1, 64, 4, 4)
CVQ(512, 64)
CVQ(512, "sixty-four")  # arg-type
CVQ(512, 64, nonsense=3)  # call-arg
CVQ(512, 64, anchor="nearby")  # arg-type
VQ(512, 64)(z).codes + 1
VQ(512, 64)(z).indices  # attr-defined
VQ(512, 64)("z")  # arg-type
VQEMA(512, "64")  # arg-type
registry.load("quantizers", "vq")(512, 64).decode("codes")  # arg-type
z.sum(dim=1) @ z
z @ "z"  # operator
z.sum(dimension=1)  # call-overload
z.no_such_method()  # attr-defined
suite = vqbench.load_suite("quick", only=["vq"], set={"codebook.num_codes": 64})
vqbench.load_suite("quick", epochs="two")  # arg-type
vqbench.load_suite("quick", epoch=2)  # call-arg
suite.runs[0].run.key + 1  # operator
vqbench.run(suite, jobs="all")  # arg-type
vqbench.run({"name": "mine"}).failed["key"] + 1  # operator
vqbench.table(suite).psnr.mean()
vqbench.no_such_function()  # attr-defined


class Mean(Metric):
    def update(self, batch: Batch) -> Tensor:
        return batch.originals.mean((1, 2, 3))

    def compute(self) -> float:
        return self.state["mean"]  # return-value


class Wrong(Metric):
    def update(self, batch: Batch) -> float:  # override
        return 0.0
"""


def test_planted_mistakes_are_caught(tmp_path: Path) -> None:
    """A wrong argument to a quantizer, a wrong return of a metric and a wrong Tensor operation are errors."""
    path = tmp_path / "planted.py"
    path.write_text(PLANTED)
    words = [sys.executable, "-m", "mypy", "--no-pretty", "--show-error-codes", str(path)]
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    found = re.findall(r"planted\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    wanted = [
        (str(number), line.split("  # ")[1]) for number, line in enumerate(PLANTED.splitlines(), 1) if "  # " in line
    ]
    assert (done.returncode, found) == (1, wanted), done.stdout + done.stderr


def test_every_ignored_error_is_named_and_explained() -> None:
    """Every ignored type error is listed with its code and the reason."""
    sources = [path for folder in ("vqbench", "quantizers") for path in (ROOT / folder).rglob("*.py")]
    ignored = [
        f"{path.name}:{number}"
        for path in sources
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "# type: ignore" in line and not re.search(r"# type: ignore\[[a-z, -]+\]  # \S", line)
    ]
    assert ignored == []
