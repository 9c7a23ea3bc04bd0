"""Packaging: every way to install gives the same quantizers, suites and data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import vqbench
from tools import check_release, constraints, python_versions

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]

# Needs nothing but the standard library, so that it runs in an environment without dependencies.
FOUND = """
import pathlib, vqbench, vqbench.quantizers
from vqbench import registry
assert "CVQ" in dir(vqbench.quantizers)
home = pathlib.Path(vqbench.__file__).resolve().parent
print(home)
print(pathlib.Path(list(vqbench.quantizers.__path__)[0]).resolve())
print(*registry.names("quantizers"))
"""

PACKAGED = (".py", ".yaml", ".csv", ".gz", ".j2", ".css", ".js", ".json", ".typed")
LEFT_OUT = (".git", ".tox", ".venv", ".mypy_cache", "runs", "build", "dist", "docs/_build", "*.egg-info")
LINK = "vqbench/quantizers"
SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"


def found(python: Path | str, cwd: Path, path: Path | None = None) -> tuple[Path, Path, list[str]]:
    """Where a Python finds the package and its quantizers, and which these are."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    shown = subprocess.run([python, "-c", FOUND], cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout
    home, quantizers, names = shown.splitlines()
    return Path(home), Path(quantizers), names.split()


def pip(*words: object, python: Path | str = sys.executable) -> None:
    subprocess.run([python, "-m", "pip", "-q", *map(str, words)], check=True, capture_output=True)


def copy_checkout(target: Path) -> Path:
    """A copy of the checkout, since building leaves files behind."""
    skipped = [f"--exclude=./{name}" for name in LEFT_OUT]
    tar = subprocess.run(["tar", "-C", ROOT, *skipped, "-c", "."], check=True, capture_output=True).stdout
    target.mkdir()
    subprocess.run(["tar", "-C", target, "-x"], input=tar, check=True)
    return target


def build(source: Path, target: Path) -> Path:
    """The wheel of a source tree or sdist."""
    pip("wheel", "--no-deps", "-w", target, source)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build(copy_checkout(folder / "source"), folder)


def test_the_wheel_holds_what_the_package_needs(wheel: Path) -> None:
    """Quantizers, suites, the images with their licence, the printed values and our licence are in the wheel."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, target in (("quantizers", "vqbench/quantizers"), ("suites", "vqbench/suites"), ("vqbench", "vqbench")):
        for path in (ROOT / folder).rglob("*"):
            if (path.is_file() and path.suffix in PACKAGED) or path.name == "LICENSE":
                assert f"{target}/{path.relative_to(ROOT / folder)}" in names, path
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    images = [info for info in zipfile.ZipFile(wheel).infolist() if info.filename.startswith("vqbench/datasets/data")]
    assert sum(info.file_size for info in images) < 2.5e6


def test_wheel_checkout_and_editable_find_the_same_quantizers(wheel: Path, tmp_path: Path) -> None:
    """A wheel uses its own quantizers, a checkout and an editable install those of the checkout, and names agree."""
    pip("install", "--no-deps", "--target", tmp_path / "site", wheel)
    home, quantizers, names = found(sys.executable, tmp_path, tmp_path / "site")
    assert home == (tmp_path / "site" / "vqbench").resolve()
    assert quantizers == home / "quantizers"

    home, quantizers, in_checkout = found(sys.executable, tmp_path, ROOT)
    assert (home, quantizers) == (ROOT / "vqbench", ROOT / "quantizers")

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip("install", "--no-deps", "-e", ROOT, python=python)
    home, quantizers, editable = found(python, tmp_path)
    assert (home, quantizers) == (ROOT / "vqbench", ROOT / "quantizers")

    assert names == in_checkout == editable
    assert {"identity", "vq", "vq_ema", "hvq", "sqvae", "cvq"} <= set(names)


def test_an_installed_package_finds_its_suites(wheel: Path, tmp_path: Path) -> None:
    """Away from any checkout, suites are found by name inside the package."""
    pip("install", "--no-deps", "--target", tmp_path / "site", wheel)
    code = "from vqbench.planning.suite_files import find_suite; print(find_suite('quick'))"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert Path(shown.stdout.strip()) == tmp_path / "site" / "vqbench" / "suites" / "quick.yaml"


def test_the_link_is_relative() -> None:
    """Type checkers find the quantizers by a link, which also leads there in a checkout that was moved."""
    if (ROOT / LINK).is_file():
        pytest.skip("git wrote a file instead: this file system has no links")
    assert os.readlink(ROOT / LINK) == str(Path("..", "quantizers"))


@pytest.mark.parametrize("instead", ["../quantizers", None])
def test_a_checkout_without_links_finds_its_quantizers(instead: str | None, tmp_path: Path) -> None:
    """Where links cannot be written, git leaves a file with the target's path, and an unpacked sdist has neither."""
    source = without_link(copy_checkout(tmp_path / "source"), instead)
    home, quantizers, names = found(sys.executable, tmp_path, source)
    assert (home, quantizers) == (source / "vqbench", source / "quantizers")
    assert names == found(sys.executable, tmp_path, ROOT)[2]


def without_link(source: Path, instead: str | None) -> Path:
    (source / LINK).unlink()
    if instead is not None:
        (source / LINK).write_text(instead)
    return source


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of a copy of the checkout, with what a build and a test leave behind."""
    folder = tmp_path_factory.mktemp("sdist")
    source = copy_checkout(folder / "source")
    for name in ("runs/quick/record.json", "dist/old.whl", "tests/__pycache__/a.pyc", "docs/_build/html/index.html"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("left behind")
    return build_sdist(source, folder)


def build_sdist(source: Path, folder: Path) -> Path:
    """The sdist of a source tree, in ``folder``."""
    pip("install", "--target", folder / "tools", "setuptools>=77")
    env = {**os.environ, "PYTHONPATH": str(folder / "tools")}
    subprocess.run([sys.executable, "-c", SDIST, folder], cwd=source, env=env, check=True, capture_output=True)
    return next(folder.glob("*.tar.gz"))


def test_the_sdist_holds_what_git_tracks(sdist: Path) -> None:
    """Tests, documents, licences and published records are in the sdist; runs, builds and bytecode are not."""
    try:
        tracked = check_release.tracked(ROOT)
    except subprocess.CalledProcessError:
        pytest.skip("this is no git repository")
    files = check_release.sdist_files(sdist)
    untracked = {name for name in files - tracked if (ROOT / name).exists()}  # a file of the author's that is not added
    assert files - untracked == tracked
    assert {"LICENSE", "vqbench/datasets/data/LICENSE", "CITATION.cff", "tests/test_packaging.py"} <= files


def test_wheels_of_checkout_and_sdist_are_equal(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    """An sdist makes the same wheel as a checkout, file by file."""
    built = build(sdist, tmp_path)
    assert not check_release.differences(check_release.wheel_files(wheel), check_release.wheel_files(built))


def test_a_wheel_names_the_commit_that_it_was_built_from(tmp_path: Path) -> None:
    """Runs of an installed vqbench record the commit of the checkout, with a + if files differed, also by an sdist."""
    source = copy_checkout(tmp_path / "source")
    git = ("git", "-C", source, "-c", "user.name=test", "-c", "user.email=test@example.org")
    for words in (("init",), ("add", "."), ("commit", "-m", "all")):
        subprocess.run([*git, *words], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert check_release.built_from(build(source, tmp_path / "clean")) == head.strip()
    (source / "quantizers" / "vq.py").write_text("changed")
    sdist = build_sdist(source, tmp_path)
    assert check_release.built_from(build(sdist, tmp_path / "changed")) == f"{head.strip()}+"

    pip("install", "--no-deps", "--target", tmp_path / "site", *(tmp_path / "clean").glob("*.whl"))
    code = "from vqbench.system.provenance import commit; print(commit())"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert shown.stdout.decode() == head


@pytest.mark.slow
def test_the_installed_sdist_works(sdist: Path, tmp_path: Path) -> None:
    """What an sdist installs prints its version, lists quantizers and trains, away from any checkout.

    Other packages are those of this environment; `tox -e release` installs them, too.
    """
    pip("install", "--no-deps", "--target", tmp_path / "site", sdist)
    (tmp_path / "empty").mkdir()
    env = {**check_release.clean_environment(), "PYTHONPATH": str(tmp_path / "site")}
    version, quantizers, table = check_release.use(sys.executable, tmp_path / "empty", env)
    assert version == f"vqbench {vqbench.__version__}\n"
    assert "cvq_online" in quantizers
    assert "1 record of 1" in table


@pytest.mark.slow
def test_a_source_tree_without_links_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """A source tree in which git wrote a file instead of the link makes the same wheel as a checkout."""
    built = build(without_link(copy_checkout(tmp_path / "source"), "../quantizers"), tmp_path)
    assert not check_release.differences(check_release.wheel_files(wheel), check_release.wheel_files(built))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_editable_modes_find_the_quantizers(mode: str, tmp_path: Path) -> None:
    """The two other ways in which setuptools installs a checkout in place find the files of the checkout."""
    source = copy_checkout(tmp_path / "source")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip("install", "--no-deps", "--config-settings", f"editable_mode={mode}", "-e", source, python=python)
    _, quantizers, names = found(python, tmp_path)
    assert (quantizers / "cvq.py").samefile(source / "quantizers" / "cvq.py")
    assert names == found(sys.executable, tmp_path, ROOT)[2]


# What a release says of itself ----------------------------------------------------------------------------------------


def project() -> dict[str, object]:
    read: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return read


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff has what its format requires, this version and licence; `tox -e release` validates it."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == vqbench.__version__
    assert citation["license"] == project()["license"]


def test_constraints_are_the_versions_of_the_published_records() -> None:
    """constraints.txt has what the records say; `python tools/constraints.py` writes it."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert text == constraints.constraints()
    record = json.loads(next((ROOT / "results").glob("*/record.json")).read_text(encoding="utf-8"))
    assert f"numpy=={record['made']['versions']['numpy']}\n" in text


def test_the_workflow_runs_the_checks() -> None:
    """The workflow for GitHub runs the same checks as every merge, and the environments of a release."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert ".ci/run" in commands
    assert any("tox -e release" in command for command in commands)
    assert "tox -e docs" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_python_versions_are_stated_alike() -> None:
    """Classifiers, the required Python, and the versions checked by `tox -e versions` agree."""
    stated = project()
    listed = [str(each).rpartition(" ")[2] for each in stated["classifiers"] if " 3." in str(each)]  # type: ignore[attr-defined]
    assert listed == ["3.11", "3.12", "3.13"]
    assert stated["requires-python"] == ">=3.11,<3.14"
    names = {python_versions.name_of(requirement) for requirement, _ in python_versions.requirements()}
    assert {"numpy", "PyYAML", "ray", "diffusers"} <= names
    assert "torch" not in names
