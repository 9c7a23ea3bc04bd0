"""Metrics, data sets, backbones and recipes: every check detects its planted fault, and correct plugins pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import faulty_backbones, faulty_datasets, faulty_metrics, faulty_recipes, image_folders
from vqbench import registry, testing
from vqbench.cli import app
from vqbench.conformance import scaffold
from vqbench.conformance.outcome import Result

SUPPORT = {
    "metrics": faulty_metrics,
    "datasets": faulty_datasets,
    "backbones": faulty_backbones,
    "recipes": faulty_recipes,
}
PLANTED = [
    (check, cls)
    for module in SUPPORT.values()
    for check, classes in module.FAULTS.items()  # type: ignore[attr-defined]
    for cls in classes
]
HONEST = [cls for module in SUPPORT.values() for cls in module.HONEST]  # type: ignore[attr-defined]
NOTHING_TO_PLANT = {"on_gpu"}
SECONDS = {
    "rprecision",
    "rrecall",
    "rdensity",
    "rcoverage",
    "rfid",
    "pfid",
    "ifid",
    "kid",
    "fid",
    "lpips",
    "feature_distance",
    "classifier_agreement",
    "diffusion",
    "rqvae",
}  # that take more than a few of them


def shown(value: object) -> str:
    return getattr(value, "__name__", str(value))


def only(check: str, plugin: Any, **args: Any) -> Result:
    """Run one check of one plugin."""
    [result] = testing.check(testing.case(plugin, **args), only=[check]).results
    return result


@pytest.mark.parametrize(("check", "cls"), PLANTED, ids=shown)
def test_a_planted_fault_is_caught(check: str, cls: type) -> None:
    """The check that exists for a fault fails on it, and says what to do."""
    result = only(check, cls)
    assert result.state == "FAIL", result
    assert result.do


@pytest.mark.parametrize("cls", HONEST, ids=shown)
def test_a_correct_plugin_passes(cls: type) -> None:
    """Nothing fails or warns for a plugin without a fault: what is planted is the fault."""
    report = testing.check(testing.case(cls))
    assert not [result for result in report.results if result.state not in ("PASS", "SKIP")]


def folder(tmp_path: Path) -> Path:
    """Twelve training and five test images."""
    image_folders.fill(tmp_path / "images", [f"train/{number:02}.png" for number in range(12)])
    image_folders.fill(tmp_path / "images", [f"val/{number:02}.png" for number in range(5)], first=50)
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("check", "cls"), [(check, cls) for check, each in faulty_datasets.OF_FOLDERS.items() for cls in each], ids=shown
)
def test_a_fault_with_files_is_caught(check: str, cls: type, tmp_path: Path) -> None:
    """A damaged file that becomes an image, and a path in a run key, are found in a copy of the user's folder."""
    result = only(check, cls, folder=str(folder(tmp_path)))
    assert result.state == "FAIL", result


@pytest.mark.parametrize("kind", SUPPORT)
def test_every_check_has_its_fault(kind: Any) -> None:
    """No check of any kind is without a plugin that it fails on."""
    planted = set(SUPPORT[kind].FAULTS)  # type: ignore[attr-defined]
    if kind == "datasets":
        planted |= set(faulty_datasets.OF_FOLDERS)
    assert planted == {check.name for check in testing.CHECKS[kind]} - NOTHING_TO_PLANT


# Built-in plugins -----------------------------------------------------------------------------------------------------

BUILT_IN = [
    pytest.param(kind, name, marks=[pytest.mark.slow] if name in SECONDS else [])
    for kind in SUPPORT
    for name in testing.known(kind)  # type: ignore[arg-type]
]


@pytest.mark.integration
@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_built_in_plugin_conforms(kind: Any, name: str) -> None:
    """No built-in metric, data set, backbone or recipe fails a check, and whatever is skipped says why."""
    [report] = testing.check_named(name, kind=kind[:-1])
    assert not [result for result in report.results if result.state == "FAIL"]
    assert all(result.what for result in report.results if result.state == "SKIP")


@pytest.mark.parametrize("name", ["photos", "imagenet"])
def test_folders_of_images_conform(name: str, tmp_path: Path) -> None:
    """With a folder, nothing of a data set of photographs is skipped, and everything passes."""
    report = testing.check(testing.case(name, folder=str(folder(tmp_path)), size=16, crop="random", flip=True))
    assert {result.state for result in report.results} == {"PASS"}


# Names, files and kinds -----------------------------------------------------------------------------------------------


def vqbench(*words: object) -> int:
    return app.run_words([str(word) for word in words])


def test_a_file_with_plugins_of_several_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each plugin of a file has a report of its own, and --kind chooses one."""
    both = tmp_path / "both_of_mine.py"
    parts = [scaffold.text(kind, f"my_{kind}") for kind in ("metric", "dataset")]
    both.write_text("\n".join(part.replace("from __future__ import annotations\n", "") for part in parts))
    assert vqbench("check", both, "--only", "declarations", "--only", "facts", "--json") == 0
    reports = json.loads(capsys.readouterr().out)
    assert [(report["kind"], report["name"]) for report in reports] == [
        ("metric", "both_of_mine"),
        ("dataset", "both_of_mine"),
    ]
    assert vqbench("check", both, "--kind", "dataset", "--only", "facts", "--json") == 0
    assert [report["kind"] for report in json.loads(capsys.readouterr().out)] == ["dataset"]
    assert vqbench("check", both, "--kind", "recipe") == 2
    assert "defines no recipe, only a metric and a dataset" in capsys.readouterr().err
    assert "both_of_mine" not in registry.names("metrics"), "checking a file does not make it known to suites"


def test_a_file_without_a_plugin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence names the five classes that a plugin derives from."""
    (tmp_path / "nothing.py").write_text("answer = 42")
    assert vqbench("check", tmp_path / "nothing.py") == 2
    said = capsys.readouterr().err
    assert "a plugin is a subclass of Quantizer, Metric, Dataset, Backbone or Recipe" in said
    assert "vqbench new KIND NAME" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("seqgan",), "'seqgan' is a quantizer and a backbone; say which by --kind quantizer or --kind backbone"),
        (("l1", "--kind", "backbone"), "unknown backbone 'l1'"),
        (("psnrr",), "did you mean 'psnr'?"),
        (("l1", "--kind", "metrik"), "did you mean 'metric'?"),
        (("l1", "--only", "shapes"), "unknown check 'shapes'"),
        (("l1", "--num-codes", "16"), "metric 'l1' takes no num_codes"),
        (("l1", "--set", "a=1"), "metric 'l1' has no argument 'a'"),
    ],
)
def test_wrong_usage_is_one_sentence(words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name of two kinds, an unknown kind, name, check or argument: what is wrong and what to do."""
    assert vqbench("check", *words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_what_is_not_on_this_machine_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    """A data set without its folder and a backbone without its file end with SKIP, and say what to give."""
    assert vqbench("check", "lsun", "pretrained") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "set the argument `folder`" in said
    assert "--set file=... --set sha256=..." in said


test_my_metric = testing.conformance(faulty_metrics.Honest)
