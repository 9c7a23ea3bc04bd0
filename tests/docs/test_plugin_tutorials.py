"""The tutorials on plugins: their files keep their contracts, and their commands train, evaluate and print tables."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.docs.blocks import ROOT, blocks
from tests.support.tiny_suite import vqbench
from vqbench import registry
from vqbench.store.results import ResultStore

pytestmark = pytest.mark.integration

TUTORIALS = ROOT / "docs" / "tutorials"
TINY = """
name: quick
train: {clean: {epochs: 1, batch_size: 20, subset: 40, selection: last}}
measure: [clean]
test_images: 20
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 8, residual_hidden: 4}}
codebook: {num_codes: 16, dim: 4}
quantizers: [vq, cvq_online]
metrics: [l1, usage]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a small suite called quick and a file of arrays, and a registry without plugins."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    registry.sources.cache_clear()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.yaml").write_text(TINY)
    draw = np.random.default_rng(0)
    arrays = {
        split: draw.integers(0, 256, (count, 1, 32, 32), np.uint8) for split, count in (("train", 600), ("test", 60))
    }
    np.savez(tmp_path / "cells.npz", **arrays)
    yield tmp_path
    registry.sources.cache_clear()


def files(page: Path) -> dict[str, str]:
    """The Python files of a page: each is a block that begins with a docstring, under the name of its file."""
    found = {}
    text = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page, "python"):
        if ast.get_docstring(ast.parse(block.code)):
            names = re.findall(r"`(\w+\.py)`", " ".join(text[: block.line - 2]))
            found[names[-1]] = block.code
    return found


def commands(page: Path, name: str) -> list[list[str]]:
    """The command lines of a page that are about the plugin ``name`` or about several, each as its words."""
    lines = [line for block in blocks(page, "sh") for line in block.code.splitlines() if line.startswith("vqbench")]
    return [shlex.split(line)[1:] for line in lines if f"{name}.py" in line and line.count(".py") == 1]


def run(words: list[str]) -> int:
    """Run a command of a page on the small suite, in this process."""
    more = ["--quiet", "--jobs", "0"] if words[0] == "run" else []
    return vqbench(*[word.replace("quick", "quick.yaml") for word in words], *more)


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("own_quantizer.md", "my_vq"),
        ("own_plugins.md", "total_psnr"),
        ("own_plugins.md", "cells"),
        ("own_plugins.md", "shuffle"),
        ("own_plugins.md", "averaged"),
    ],
)
def test_the_file_of_a_tutorial_works(page: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the page about a file exits with 0, and its runs are in the store."""
    (here / f"{name}.py").write_text(files(TUTORIALS / page)[f"{name}.py"])
    for words in commands(TUTORIALS / page, name):
        assert run(words) == 0, shlex.join(words) + capsys.readouterr().out
    assert "FAIL" not in capsys.readouterr().out
    [record, *_] = sorted(ResultStore(here / "runs").records(), key=lambda each: each.run.quantizer.name == "my_vq")[
        ::-1
    ]
    run_with = {getattr(record.run, part).name for part in ("quantizer", "dataset", "backbone", "recipe")}
    assert name in run_with | set(record.values["clean@20"])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Q.code_counts(codes, self.num_codes)", "torch.bincount(codes.flatten(), minlength=self.num_codes)"),
        (
            'Q.anchors("random", features, self.codebook, "l2")',
            "features[torch.randint(len(features), self.counts.shape)]",
        ),
    ],
)
def test_what_the_tutorial_warns_of_is_caught(
    right: str, wrong: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A method that counts, or draws features, on each rank alone fails the check with the page's arguments."""
    page = TUTORIALS / "own_quantizer.md"
    code = files(page)["my_vq.py"]
    assert right in code
    (here / "my_vq.py").write_text(code.replace(right, wrong))
    [words] = [words for words in commands(page, "my_vq") if "restart=2.0" in words]
    assert vqbench(*words, "--only", "ranks_agree") == 1
    assert "ranks diverged" in capsys.readouterr().out


def test_the_suite_of_the_tutorial_runs(here: Path) -> None:
    """The suite that names all plugins of the page is one, and its last command trains it."""
    page = TUTORIALS / "own_plugins.md"
    for name, code in files(page).items():
        (here / name).write_text(code)
    [suite] = blocks(page, "yaml")
    (here / "mine.yaml").write_text(suite.code)
    [command] = [line for block in blocks(page, "sh") for line in block.code.splitlines() if "mine.yaml" in line]
    more = ("--epochs", 1, "--subset", 100, "--test-images", 20, "--jobs", 0, "--quiet")
    assert vqbench(*shlex.split(command)[1:], *more) == 0
    assert len(list(ResultStore(here / "runs").records())) == 2
