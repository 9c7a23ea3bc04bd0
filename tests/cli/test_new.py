"""`vqbench new`: five kinds of plugins that work as they are written, in every command, on one device and on two."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench
from vqbench import registry
from vqbench.conformance import scaffold
from vqbench.errors import UsageError
from vqbench.store.results import ResultStore

pytestmark = pytest.mark.integration

TINY = """
name: tiny
train: {clean: {epochs: 1, batch_size: 8, subset: 16, selection: last}}
measure: [clean]
test_images: 20
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 8, residual_hidden: 4}}
codebook: {num_codes: 16, dim: 4}
quantizers: [vq]
metrics: [l1, usage]
"""
ALL_MINE = """
name: all_mine
train: {my_recipe: {epochs: 2, batch_size: 20, subset: 50}}
measure: [clean]
test_images: 20
datasets: [{my_images: {noise: 0.2}}]
backbone: {my_backbone: {hidden: 8}}
codebook: {num_codes: 16, dim: 4}
quantizers: [my_vq]
metrics: [l1, my_metric, usage]
"""
NAMES = {kind: name for kind, (name, _) in scaffold.KINDS.items()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, and a registry without plugins."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    registry.sources.cache_clear()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    registry.sources.cache_clear()


@pytest.mark.parametrize(("kind", "name"), NAMES.items())
def test_the_printed_commands_work(kind: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`new` writes one file of at most 125 lines; the commands that it prints check it, run it and show its values."""
    assert vqbench("new", kind, name) == 0
    assert [path.name for path in here.iterdir()] == [f"{name}.py"]
    assert len((here / f"{name}.py").read_text().splitlines()) <= 125
    first, *commands = capsys.readouterr().out.splitlines()
    assert first == f"{name}.py: a {kind.replace('dataset', 'data set')} that works as it is. Next:"
    (here / "tiny.yaml").write_text(TINY)
    for command in commands:
        words = [word.replace("quick", "tiny.yaml") for word in shlex.split(command)]
        more = {"run": ["--jobs", "0", "--quiet"]}.get(words[1], ["--json"])
        assert vqbench(*words[1:], *more) == 0, command
    printed = capsys.readouterr().out
    assert name in printed or getattr(registry.load(f"{kind}s", name), "label", "?") in printed  # type: ignore[call-overload]
    [record] = ResultStore(here / "runs").records()
    of_record = {part: getattr(record.run, part).name for part in ("quantizer", "dataset", "backbone", "recipe")}
    values = record.values[next(iter(record.values))]
    assert of_record.get(kind) == name or name in values


@pytest.mark.slow
def test_all_kinds_work_together_on_two_devices(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plugins of all kinds run in a worker and on two devices with equal values, and every command shows them."""
    files = [str(scaffold.write(kind, name)) for kind, name in NAMES.items()]
    (here / "mine.yaml").write_text(ALL_MINE)
    words = ["mine.yaml", *(word for file in files for word in ("--plugin", file))]
    assert vqbench("run", *words, "--quiet") == 0
    assert vqbench("run", *words, "--quiet", "--devices", "2", "--store", "two") == 0
    [alone], [both] = (list(ResultStore(here / folder).records()) for folder in ("runs", "two"))
    assert alone.run == both.run
    for protocol, values in alone.values.items():
        for metric, value in values.items():
            assert both.values[protocol][metric].value == pytest.approx(value.value, rel=1e-3), metric
    capsys.readouterr()
    assert vqbench("plan", *words, "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["left"], plan["runs"][0]["updates"]) == (0, 6)
    assert vqbench("table", *words) == 0
    table = capsys.readouterr().out
    assert "Trained under my_recipe (2 epochs, batch 20, learning rate 0.001)" in table
    assert "Rectangles" in table
    assert "RMSE" in table
    assert vqbench("report", *words, "-o", "page.html") == 0
    assert vqbench("explain", alone.run.key, *words[1:]) == 0
    assert "RMSE" in capsys.readouterr().out


@pytest.mark.parametrize("kind", NAMES)
def test_a_forgotten_plugin_is_named_with_its_option(kind: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A suite whose plugin file is not given is refused with the plugin's name and the option that gives files."""
    files = [str(scaffold.write(other, name)) for other, name in NAMES.items() if other != kind]
    (here / "mine.yaml").write_text(ALL_MINE)
    assert vqbench("plan", "mine.yaml", *(word for file in files for word in ("--plugin", file))) == 2
    said = capsys.readouterr().err
    assert re.search(f"unknown (training protocol or )?{kind} {NAMES[kind]!r}", said)
    assert "name the file of your own by --plugin" in said


@pytest.mark.parametrize("kind", NAMES)
def test_every_file_is_named_after_the_plugin(kind: str) -> None:
    """Class names follow from the file's, no word of the template is left, and every class has a docstring."""
    content = scaffold.text(kind, "online_tsq_2")
    assert "Template" not in content
    classes = [node for node in ast.parse(content).body if isinstance(node, ast.ClassDef)]
    assert classes[0].name == "OnlineTSQ2"
    assert all(cls.name.startswith("OnlineTSQ2") and ast.get_docstring(cls) for cls in classes)


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("metric", "psnr", "'psnr' is a metric already (`vqbench info metric psnr`); choose another name"),
        ("dataset", "vq", "'vq' is a quantizer already"),
        ("recipe", "task", "its class Task would hide another one"),
        ("recipe", "My-recipe", "'My-recipe' cannot name a recipe; use small letters, digits and _, such as my_recipe"),
        ("suite", "mine", "cannot write a new 'suite'; known: quantizer, metric, dataset, backbone, recipe"),
        ("metrics", "mine", "did you mean 'metric'"),
    ],
)
def test_a_bad_kind_or_name_is_one_sentence(kind: str, name: str, sentence: str) -> None:
    """Kinds that do not exist and names that are taken or cannot be modules are refused, and nothing is written."""
    with pytest.raises(UsageError) as caught:
        scaffold.write(kind, name)
    assert sentence in str(caught.value)
    assert not list(Path().iterdir())
