"""Quantizers by name, and an import that costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import vqbench
from vqbench.conformance import scaffold
from vqbench.errors import UsageError
from vqbench.quantizers.cvq import CVQ


def test_importing_vqbench_imports_nothing_else() -> None:
    """``import vqbench`` loads neither torch nor any other module of ours, and still lists its public names."""
    code = (
        "import sys, vqbench; print(sorted(name for name in sys.modules if name.startswith(('torch', 'vqbench'))));"
        "print(set(vqbench.__all__) <= set(dir(vqbench)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['vqbench']", "True"]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        vqbench.nonsense  # type: ignore[attr-defined] # noqa: B018  # the access is the test


def test_public_names_wait_for_their_use() -> None:
    """Each public name exists as type checkers read it; none loads torch, numpy or pandas before it is called."""
    code = (
        "import sys, vqbench; assert all(getattr(vqbench, name) for name in vqbench.__all__);"
        "print([name for name in ('torch', 'numpy', 'pandas', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    tree = ast.parse(Path(str(vqbench.__file__)).read_text(encoding="utf-8"))
    declared = {
        alias.name: str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vqbench.api.")
        for alias in node.names
    }
    assert declared == {name: f"vqbench.api.{module}" for name, module in vqbench._MODULES.items()}


def test_a_preset_is_created_with_its_arguments() -> None:
    """A preset has its own arguments, further ones change it, and the module is the class that a run trains."""
    quantizer = vqbench.create_quantizer("cvq_online", num_codes=32, dim=4, distance="l2")
    assert type(quantizer) is CVQ
    assert (quantizer.num_codes, quantizer.online, quantizer.contrastive) == (32, True, False)
    assert quantizer.distance == "l2"


def test_every_listed_quantizer_trains_in_a_loop_of_ones_own() -> None:
    """Each installed quantizer takes a feature map, gives a loss with a gradient to it, and decodes its codes."""
    origins = {info.name: info.origin for info in vqbench.list_quantizers()}
    for info in vqbench.list_quantizers():
        if "file" in (info.origin, origins.get(info.origin)):  # added by other tests of this process
            continue
        if "lucidrains" in (info.name, *info.origin.split()):  # needs an optional package, tested with the peers
            continue
        assert info.summary.endswith((".", ":")), info
        assert info.paper or info.name == "identity" or "offline" in info.name, info
        torch.manual_seed(0)
        quantizer = vqbench.create_quantizer(info.name, num_codes=16, dim=8)
        z = torch.randn(4, 8, 4, 4, requires_grad=True)
        out = quantizer(z)
        quantizer.objective(F.mse_loss(out.z_q, torch.zeros_like(out.z_q)), out, 64).backward()
        assert out.z_q.shape == z.shape
        assert z.grad is not None
        if quantizer.depth:
            assert quantizer.eval().decode(out.codes).shape == z.shape


def test_a_file_is_created_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a .py file creates the quantizer that it defines."""
    monkeypatch.chdir(tmp_path)
    scaffold.write("quantizer", "my_vq")
    assert type(vqbench.create_quantizer(tmp_path / "my_vq.py", num_codes=16, dim=8)).__name__ == "MyVQ"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cvq_onlin", {}, "did you mean 'cvq_online'"),
        ("vq", {"beat": 1.0}, "beta"),
        ("vq", {"beta": "high"}, "beta"),
        ("vq", {"num_codes": 1}, "num_codes=1: give a whole number, at least 2"),
        ("vq", {"num_codes": "512"}, "num_codes='512': give a whole number"),
        ("vq", {"num_codes": None}, "num_codes=None: give a whole number"),
        ("vq", {"dim": 0}, "dim=0: give a whole number, at least 1"),
        ("absent.py", {}, "no such Python file"),
    ],
)
def test_mistakes_are_one_sentence(name: str, arguments: dict[str, object], message: str) -> None:
    """A wrong name, argument or value says what is wrong and what would be right."""
    with pytest.raises(UsageError, match=message):
        vqbench.create_quantizer(name, **{"num_codes": 16, "dim": 8, **arguments})  # type: ignore[arg-type]  # wrong on purpose


def test_numbers_of_numpy_create_what_plain_numbers_do() -> None:
    """Sizes and arguments may be scalars of numpy."""
    quantizer = vqbench.create_quantizer("vq", num_codes=np.int64(16), dim=np.int32(8), beta=np.float64(0.5))  # type: ignore[arg-type]  # numpy's integers are no int to mypy
    assert type(quantizer.num_codes) is int
    assert quantizer.num_codes == 16


@pytest.mark.parametrize("name", [info.name for info in vqbench.list_quantizers() if "lucidrains" not in str(info)])
def test_an_empty_batch_is_refused_in_training_and_changes_nothing(name: str) -> None:
    """No codebook takes up the means of nothing, at the first step or later; a next batch is quantized."""
    torch.manual_seed(0)
    quantizer = vqbench.create_quantizer(name, num_codes=16, dim=8)
    if quantizer.depth == 0:
        pytest.skip("has no codebook")
    for _ in range(2):
        before = {key: value.clone() for key, value in quantizer.state_dict().items()}
        with pytest.raises(UsageError, match=r"no features of shape \(0, \d, 4, 4\) to train on; skip empty batches"):
            quantizer(torch.randn(0, 8, 4, 4))
        assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())
        assert quantizer(torch.randn(4, 8, 4, 4)).loss.isfinite()
