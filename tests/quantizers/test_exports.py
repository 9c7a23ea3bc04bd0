"""Every built-in quantizer is a class of ``vqbench.quantizers``, imported on first use and known to type checkers."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vqbench.quantizers
from vqbench import registry
from vqbench.registry import discovery

FOLDER = Path(next(iter(vqbench.quantizers.__path__)))
ROOT = Path(__file__).parents[2]


def missing_exports(folder: Path, exported: set[tuple[str, str]]) -> list[str]:
    """A sentence for each file of ``folder`` that has no class in ``exported``, which are (file, class)."""
    known = {file for file, _ in exported}
    return [
        f"quantizers/{path.name} is not exported: add its class to quantizers/__init__.py, "
        f"as `from vqbench.quantizers.{path.stem} import NAME as NAME` for type checkers and in _FILES"
        for path in sorted(folder.glob("[!_]*.py"))
        if path.stem not in known
    ]


def declared() -> set[tuple[str, str]]:
    """The (file, class) pairs that type checkers read."""
    tree = ast.parse((FOLDER / "__init__.py").read_text(encoding="utf-8"))
    return {
        (str(node.module).removeprefix("vqbench.quantizers."), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vqbench.quantizers.")
        for alias in node.names
    }


def test_every_built_in_quantizer_is_exported() -> None:
    """Each file's class is listed once for type checkers and once for Python, and is the class of the registry."""
    listed = {(file, name) for name, file in vqbench.quantizers._FILES.items()}
    for exported in (listed, declared()):
        assert not (sentences := missing_exports(FOLDER, exported)), "\n".join(sentences)
    assert listed == declared()
    for file, name in listed:
        assert getattr(vqbench.quantizers, name) is registry.load("quantizers", file)
    assert set(vqbench.quantizers.__all__) == {name for _, name in listed} <= set(dir(vqbench.quantizers))


def test_a_forgotten_export_is_named(tmp_path: Path) -> None:
    """A file that is added to the folder and not exported is a sentence that says what to add and where."""
    shutil.copytree(FOLDER, tmp_path / "quantizers")
    (tmp_path / "quantizers" / "new_vq.py").write_text("class NewVQ: ...\n")
    (sentence,) = missing_exports(tmp_path / "quantizers", declared())
    assert sentence.startswith("quantizers/new_vq.py is not exported: add its class to quantizers/__init__.py")


def test_the_exports_are_no_plugin() -> None:
    """The registry lists one quantizer per file, and none for ``__init__.py``."""
    assert {file for file, _ in declared()} == set(discovery.built_in("quantizers"))
    with pytest.raises(ImportError, match="cannot import name 'NoSuchVQ'"):
        exec("from vqbench.quantizers import NoSuchVQ")


@pytest.mark.parametrize("link", [True, False])
def test_names_cost_no_torch_with_and_without_the_link(link: bool, tmp_path: Path) -> None:
    """The package and the module that stands in for its link offer the same names, and load torch for a class only."""
    (tmp_path / "vqbench").mkdir()
    for path in (ROOT / "vqbench").iterdir():
        if path.name != "quantizers":
            (tmp_path / "vqbench" / path.name).symlink_to(path)
    (tmp_path / "quantizers").symlink_to(ROOT / "quantizers")
    if link:
        (tmp_path / "vqbench" / "quantizers").symlink_to(ROOT / "quantizers")
    else:  # it looks for the folder beside itself
        (tmp_path / "vqbench" / "quantizers.py").unlink()
        shutil.copy(ROOT / "vqbench" / "quantizers.py", tmp_path / "vqbench")
    code = (
        "import sys, vqbench.quantizers as q; print('torch' in sys.modules, 'CVQ' in dir(q), q.__file__)\n"
        "from vqbench.quantizers import *; print(CVQ.__module__, VQEMA.__module__)"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == f"False True {tmp_path / 'vqbench' / ('quantizers/__init__.py' if link else 'quantizers.py')}"
    assert second == "vqbench.quantizers.cvq vqbench.quantizers.vq_ema"
