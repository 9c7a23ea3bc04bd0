"""Faulty plugins of other authors: each fault is one sentence, never a traceback."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vqbench import registry, testing
from vqbench.cli import app
from vqbench.conformance import scaffold
from vqbench.errors import UsageError
from vqbench.planning import cost, loading, plan_file
from vqbench.planning.plan import Length
from vqbench.spec import Job
from vqbench.store.results import ResultStore

SUITE = """
name: strange
train: {train}
measure: [clean]
test_images: 20
datasets: [{dataset}]
backbone: {{conv: {{hidden: 8, residual_hidden: 4}}}}
codebook: {{num_codes: 16, dim: 4}}
quantizers: [{quantizer}]
metrics: [{metric}]
"""
SOUND = {
    "train": "{clean: {epochs: 1, batch_size: 8, subset: 16, selection: last}}",
    "dataset": "fashion_mnist_5k",
    "quantizer": "vq",
    "metric": "l1",
}
# A training of two updates, by arguments that no recipe of ours has.
RECIPE = '''
import torch

from vqbench.recipe import Recipe, Task, Trained


class MyRecipe(Recipe):
    """A loop of my own."""

    def __init__(self, *, iterations: int = 2, batch: int = 4) -> None:
        self.iterations, self.batch = iterations, batch

    def fit(self, task: Task) -> Trained:
        task.folder.mkdir(parents=True, exist_ok=True)
        for step in range(self.iterations):
            task.progress(step + 1, self.iterations)
        task.engine.save(task.folder / "best.pt", task.model.state_dict())
        return Trained(0.1)
'''
SAYS = """
    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        return None if train >= self.batch else f"batch {self.batch} needs as many training images, not {train}"

    def updates(self, images: int) -> int:
        return self.iterations

    def images_shown(self, images: int) -> int:
        return self.iterations * self.batch

    def about(self) -> str:
        return f"{self.iterations} rounds"
"""
LATE = "from __future__ import annotations\n"
VQ = "from vqbench.quantizers.vq import VQ\n\n\nclass Mine(VQ):\n    paper = 'none'\n"
INIT = "    def __init__(self, num_codes: int, dim: int, *, {}) -> None:\n        super().__init__(num_codes, dim)\n"
DATA = """
from vqbench.datasets.fashion_mnist_5k import FashionMnist5k


class Mine(FashionMnist5k):
"""
L1 = "from vqbench.metrics.l1 import L1\n\n\nclass Mine(L1):\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, and a registry without plugins."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    registry.sources.cache_clear()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    registry.sources.cache_clear()


def suite(**changes: str) -> Path:
    path = Path("s.yaml")
    path.write_text(SUITE.format(**{**SOUND, **changes}))
    return path


def vqbench(*words: object) -> int:
    return app.run_words([str(word) for word in words])


# --- Recipes report their own facts -----------------------------------------------------------------------------------


def test_a_recipe_of_other_arguments_is_planned_run_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe without epochs or batch size works in `plan`, `run`, `plan --cost` and `report`; unknown is "?"."""
    Path("my_recipe.py").write_text(RECIPE)
    words = (suite(train="my_recipe"), "--plugin", "my_recipe.py")
    assert vqbench("plan", *words) == 0
    lines = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    [head] = [line for line in lines if "updates" in line]
    [row] = [line for line in lines if line[0] == "vq"]
    assert row[head.index("updates")] == "?"
    assert vqbench("run", *words, "-q", "--jobs", "0") == 0
    assert "Trained under my_recipe (iterations 2, batch 4)" in capsys.readouterr().out
    assert vqbench("plan", *words, "--cost") == 0
    assert vqbench("report", *words, "-o", "page.html") == 0
    assert "unknown" not in capsys.readouterr().err


def test_a_recipe_says_how_long_it_trains(capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` and tables show the updates and images that a recipe reports, cached or not."""
    Path("my_recipe.py").write_text(RECIPE + SAYS)
    words = (suite(train="{my_recipe: {iterations: 5}}"), "--plugin", "my_recipe.py", "--json")
    registry.add_file("my_recipe.py")
    made = loading.load("s.yaml", [])
    assert made.length(made.runs()[0]) == Length(5, 20, "5 rounds")
    plan_file.save(made, ResultStore("runs"))
    again = loading.load("s.yaml", [ResultStore("runs")])
    assert (again.lengths, again.inputs) == (made.lengths, made.inputs)
    assert vqbench("plan", *words) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["updates"] == 5


def test_too_few_images_are_refused_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe that needs more images than it gets is refused by `plan`, with file, line and what would work."""
    Path("my_recipe.py").write_text(RECIPE + SAYS)
    words = (suite(train="{my_recipe: {batch: 9999}}"), "--plugin", "my_recipe.py")
    assert vqbench("plan", *words) == 2
    said = capsys.readouterr().err
    assert "s.yaml:3:21: train.my_recipe.batch" in said
    assert "batch 9999 needs as many training images, not 4000" in said


def test_runs_of_unknown_length_come_last() -> None:
    """The cheapest run comes first; runs of unknown cost come last."""
    Path("my_recipe.py").write_text(RECIPE)
    registry.add_file("my_recipe.py")
    rows = "{vq: {}, label: unknown, train: my_recipe}, {vq: {}, label: known}"
    made = loading.load(suite(quantizer=rows), [])
    jobs = [Job(run, made.wanted(run)) for run in made.runs()]
    store = ResultStore("runs")
    ordered = cost.cheapest_first(store, jobs, cost.expected_seconds([made], store.summaries(), jobs))
    assert [job.run.recipe.name for job in ordered] == ["autoencoder", "my_recipe"]


@pytest.mark.parametrize(
    ("recipe", "images", "found"),
    [
        ("autoencoder", (5000, 500), (45, 2250 * 2)),  # holdout; the last batch is smaller
        ("gan", (5000, 500), (2 * 50 + 7, 107 * 100)),
        ("diffusion", (5000, 500), (11, 11 * 4)),
    ],
)
def test_our_recipes_say_what_they_do(recipe: str, images: tuple[int, int], found: tuple[int, int]) -> None:
    """Updates and images of the built-in recipes, by hand."""
    given: dict[str, dict[str, Any]] = {
        "autoencoder": {"epochs": 1, "batch_size": 100, "variance": "unit", "selection": "holdout"},
        "gan": {"epochs": 2, "batch_size": 100, "learning_rate": 1e-3, "refine_steps": 7},
        "diffusion": {"steps": 11, "batch_size": 4},
    }
    args = given[recipe]
    if recipe == "autoencoder":
        args |= {"learning_rate": 1e-3, "selection_pass": "eval"}
    made = registry.create("recipes", recipe, **args)
    count = made.images(*images)
    if recipe == "autoencoder":
        assert (count, made.updates(count), made.images_shown(count)) == (4500, 45, 4500)
    else:
        assert (count, made.updates(count), made.images_shown(count)) == (5000, *found)


# --- Every fault is one sentence ------------------------------------------------------------------------------------

FAULTS = [
    ("quantizer", LATE + VQ + INIT.format("rate: Unknown = 1"), "cannot be resolved (NameError: name 'Unknown'"),
    ("quantizer", "import torch\n" + VQ + INIT.format("rate: torch.Tensor = None"), "which no suite can give"),
    ("quantizer", VQ + INIT.format("rate: 'int |' = 1"), "cannot be resolved (SyntaxError"),
    ("quantizer", VQ + INIT.format("rate=object()"), "cannot name a run"),
    ("quantizer", VQ + INIT.format("rate=float('nan')"), "cannot name a run"),
    ("quantizer", VQ + INIT.format("rate: int"), "needs the argument 'rate'"),
    ("quantizer", VQ + "    presets = ['loud']\n", "Mine.presets"),
    ("quantizer", VQ + "    presets = {'loud': 3}\n", "Mine.presets"),
    ("quantizer", VQ + "    presets = None\n", "Mine.presets"),
    ("quantizer", VQ + "    VERSION = '1'\n", "Mine.VERSION"),
    ("quantizer", VQ + "    VERSION = None\n", "Mine.VERSION"),
    ("quantizer", VQ + "    packages = ('no_such_package',)\n", "pip install no_such_package"),
    ("quantizer", "x = 1\n", "unknown quantizer 'mine'"),
    ("quantizer", "1 +\n", "SyntaxError"),
    ("quantizer", "\0", "cannot be imported"),
    ("train", RECIPE + "\n    def updates(self, images):\n        return images / 0\n", "ZeroDivisionError"),
    ("train", RECIPE + "\n    def updates(self, images):\n        return 1.5\n", "1.5, no whole number"),
    ("train", RECIPE + "\n    def images(self, train):\n        return 1\n", "TypeError"),
    ("train", RECIPE.replace("self.iterations, self.batch", "self.x, self.x, self.y"), "ValueError"),
    ("dataset", DATA + "    title = 5\n", "Mine.title"),
    ("dataset", DATA + "    counts = {}\n", "KeyError: 'train'"),
    ("dataset", DATA + "    def __init__(self) -> None:\n        raise OSError('gone')\n", "OSError: gone"),
    (
        "dataset",
        DATA + "    @classmethod\n    def canonical_args(cls, args):\n        return 1 / 0\n",
        "ZeroDivisionError",
    ),
    ("metric", L1 + "    digits = 'many'\n", "Mine.digits"),
    ("metric", L1 + "    better = 'most'\n", "Mine.better"),
    ("metric", "from vqbench.metric import Metric\n\n\nclass Mine(Metric):\n    pass\n", "AttributeError"),
]


@pytest.mark.parametrize(("kind", "content", "sentence"), FAULTS)
def test_a_faulty_plugin_is_one_sentence(
    kind: str, content: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` and `plan` end with exit code 2 and a sentence that names the plugin's fault."""
    Path("mine.py").write_text(content)
    words = (suite(**{kind: "mine"}), "--plugin", "mine.py")
    assert vqbench("run", *words, "-q", "--jobs", "0") == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert len(said) < 600
    assert "a fault of vqbench" not in said
    if "packages" not in content:  # which is reported before training
        assert vqbench("plan", *words) == 2
    for others in (("list", "quantizers"), ("info", "quantizer", "mine"), ("check", "mine.py", "--only", "budget")):
        assert vqbench(*others, *(() if others[0] == "check" else ("--plugin", "mine.py"))) in (0, 1, 2)
        assert "a fault of vqbench" not in capsys.readouterr().err


def test_sys_exit_of_a_plugin_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command in which a plugin calls sys.exit(0) shows a sentence and fails, and --debug shows where."""
    head = "from vqbench.quantizers.vq import VQ\n\n\nclass Leaves(VQ):\n    paper = 'none'\n\n"
    Path("leaves.py").write_text(head + "    def forward(self, z): raise SystemExit(0)\n")
    words = ("profile", "leaves", "--plugin", "leaves.py", "--size", "64,16,16", "--device", "cpu", "--no-step")
    vqbench(*words)
    shown = capsys.readouterr()
    assert "ended without a result; does the plugin call sys.exit?" in shown.out + shown.err

    def leaves(words: list[str]) -> int:
        raise SystemExit(0)

    monkeypatch.setattr(app, "_run", leaves)
    assert vqbench("list") == 1
    said = capsys.readouterr().err
    assert "SystemExit: 0: a plugin has called sys.exit" in said
    assert len(said.splitlines()) == 1
    assert vqbench("list", "--debug") == 1
    assert "in leaves" in capsys.readouterr().err


def test_a_preset_of_unknown_arguments_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A preset that sets what the constructor lacks is refused by its name; its plugin still works."""
    Path("mine.py").write_text(VQ + "    presets = {'loud': {'volume': 11}}\n")
    assert vqbench("plan", suite(quantizer="loud"), "--plugin", "mine.py") == 2
    assert "quantizer 'loud' has no argument 'volume'" in capsys.readouterr().err
    assert vqbench("plan", suite(quantizer="mine"), "--plugin", "mine.py") == 0


def test_two_files_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Of two plugins with one name, runs would be confused."""
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "mine.py").write_text(VQ)
    assert vqbench("list", "quantizers", "--plugin", "a/mine.py", "--plugin", "a/mine.py") == 0
    assert vqbench("list", "quantizers", "--plugin", "a/mine.py", "--plugin", "b/mine.py") == 2
    assert "has the same name" in capsys.readouterr().err
    Path("cvq_offline.py").write_text(VQ)
    assert vqbench("list", "quantizers", "--plugin", "cvq_offline.py") == 2
    assert "'cvq_offline' is a built-in preset" in capsys.readouterr().err
    assert vqbench("check", "cvq_offline.py", "--only", "budget") == 0, "nothing is registered under the name"


# --- check ----------------------------------------------------------------------------------------------------------


def test_a_quantizer_without_its_package_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` of a plugin, ours too, whose package is not installed is one SKIP with the command that installs it."""
    found = importlib.util.find_spec
    absent = "vector_quantize_pytorch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == absent else found(name, *more))
    Path("mine.py").write_text(VQ + "    packages = ('no_such_package',)\n")
    assert vqbench("check", "lucidrains", "lucidrains_ema", "mine.py") == 0
    said = capsys.readouterr().out
    assert said.count("SKIP  ready") == 3
    assert "FAIL" not in said
    assert 'do: pip install "vector-quantize-pytorch>=1.32,<2"' in said
    assert "do: pip install no_such_package" in said
    test = testing.conformance("mine.py")
    with pytest.raises(pytest.skip.Exception, match="pip install no_such_package"):
        test(testing.case("mine.py"), testing.CHECKS["quantizers"][0])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "dim=3"), "--set dim=3: use --dim"),
        (("--set", "num_codes=3"), "--set num_codes=3: use --num-codes"),
        (("--set", "beside=3"), "no argument 'beside'"),
        (("--set", "quantizer=3"), "no argument 'quantizer'"),
        (("--set", "²=1"), "not of the form argument=value"),
        (("--only", "nothing"), "unknown check 'nothing'"),
    ],
)
def test_wrong_usage_of_check_is_one_sentence(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The budget is set by its own options, and an argument may be called like one of the kit's own."""
    assert vqbench("check", "vq", *words) == 2
    assert sentence in capsys.readouterr().err


# --- new ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "a word of Python") for name in ("print", "match", "case", "type", "list")),
        *((name, "a module of Python") for name in ("statistics", "profile", "this")),
        *((name, "an installed module") for name in ("torch", "numpy", "vqbench", "test")),
        *((name, "not allowed as a file name on Windows") for name in ("con", "nul", "com1", "lpt9")),
        *((name, "would hide another one") for name in ("f", "q", "tensor", "quantizer", "value_error")),
        *((name, "already") for name in ("vq", "mnist", "gan", "cvq_offline")),
        *((name, "small letters") for name in ("class", "Vq", "1vq", "vq\n", "", "_vq", "vq.py", "ä")),
        ("x" * 300, "is too long"),
    ],
)
def test_a_name_that_would_hide_another_is_refused(name: str, why: str) -> None:
    """No file is written that could not be imported, or beside which something else could not."""
    with pytest.raises(UsageError, match=why) as caught:
        scaffold.write("quantizer", name)
    assert len(str(caught.value)) < 200
    assert not list(Path().iterdir())
