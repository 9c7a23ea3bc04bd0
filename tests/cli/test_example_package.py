"""The package in `examples/`: built, installed without a network, listed, run, and its own tests pass."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vqbench.store.results import ResultStore

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[2] / "examples" / "vqbench_example"
PLUGINS = {"quantizers": "annealed_vq", "metrics": "edge_error", "datasets": "gratings", "backbones": "patches"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel of the example is installed, beside nothing else."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source")  # since building leaves files behind
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source"]
    install = [*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", "--find-links", folder]
    for command in (wheel, [*install, "vqbench-example"]):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder / "site"


def python(site: Path, cwd: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run Python with the example installed."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_has_every_module_and_its_licence(site: Path) -> None:
    """The wheel holds the modules of the source and states its licence."""
    wheel = zipfile.ZipFile(next(site.parent.glob("*.whl")))
    modules = {f"vqbench_example/{path.name}" for path in (EXAMPLE / "src" / "vqbench_example").glob("*.py")}
    assert modules <= set(wheel.namelist())
    [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    assert "License-Expression: Apache-2.0" in wheel.read(metadata).decode()


@pytest.mark.parametrize(("kind", "name"), PLUGINS.items())
def test_its_plugins_are_listed(kind: str, name: str, site: Path, tmp_path: Path) -> None:
    """`vqbench list` shows each plugin with its package as origin, and what it is."""
    done = python(site, tmp_path, "-m", "vqbench", "list", kind, "--json")
    assert done.returncode == 0, done.stderr
    [row] = [row for row in json.loads(done.stdout) if row["name"] == name]
    assert row["origin"] == "package"
    assert "BROKEN" not in row["about"]


def test_its_suite_runs(site: Path, tmp_path: Path) -> None:
    """A suite names the four plugins like built-in ones, and a worker trains and evaluates them."""
    words = ("run", EXAMPLE / "gratings.yaml", "--epochs", 1, "--subset", 300, "--test-images", 40, "--quiet")
    done = python(site, tmp_path, "-m", "vqbench", *words, "--only", "annealed_vq*")
    assert done.returncode == 0, done.stderr
    assert "Edge error" in done.stdout
    records = list(ResultStore(tmp_path / "runs").records())
    assert {record.run.quantizer.args["temperature"] for record in records} == {0.1, 1.0}
    for record in records:
        assert (record.run.dataset.name, record.run.backbone.name) == ("gratings", "patches")
        assert record.run.quantizer.source is None  # a package's plugin is told apart by its VERSION


def test_its_own_tests_pass(site: Path, tmp_path: Path) -> None:
    """The two lines per plugin in the package's tests run every check of its kind, and none fails."""
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    done = python(site, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
