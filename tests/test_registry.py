"""The registry: every plugin by one door, resolved arguments, and errors that help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vqbench import registry
from vqbench.errors import UsageError

MINE = '''
from vqbench.quantizers.vq import VQ


class Mine(VQ):
    """A stranger's quantizer."""

    paper = "none"

    def __init__(self, num_codes: int, dim: int, *, sharpness: float = 2, steps: int | None = None) -> None:
        super().__init__(num_codes, dim)
'''


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_files", {})
    registry.sources.cache_clear()
    yield
    registry.sources.cache_clear()


BUDGET = {"num_codes": 8, "dim": 4}


def test_every_built_in_plugin_loads() -> None:
    """Every file in the rooms of plugins offers exactly one class of its kind, with what the contract asks for."""
    for kind in ("quantizers", "metrics", "datasets", "backbones", "recipes"):
        assert registry.names(kind)
        for name in registry.names(kind):
            cls = registry.load(kind, name)
            assert cls.VERSION >= 1
            if kind in ("quantizers", "backbones"):
                assert cls.paper


def test_names_need_no_import() -> None:
    """A plugin is listed by its file's name before it is imported, so a broken one does not disturb the others."""
    code = "from vqbench import registry; assert 'vq' in registry.names('quantizers')"
    code += "; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_preset_is_its_quantizer_with_arguments() -> None:
    """``cvq_offline`` resolves to ``cvq`` with the preset's arguments, so that both name the same run."""
    preset = registry.resolve("quantizers", "cvq_offline", {}, BUDGET)
    spelled = registry.resolve("quantizers", "cvq", {"online": False, "contrastive": False}, BUDGET)
    assert preset == spelled
    assert preset.name == "cvq"
    assert registry.resolve("quantizers", "cvq_offline", {"online": True}, BUDGET).args["online"] is True


def test_arguments_are_fully_resolved() -> None:
    """All defaults are filled in, and a whole number for a float is that float, so that equal settings have one key."""
    resolved = registry.resolve("quantizers", "vq", {"beta": 1}, BUDGET)
    assert resolved.args == {**BUDGET, "distance": "l2", "beta": 1.0, "beta_on": "commitment", "init": "uniform"}
    assert type(resolved.args["beta"]) is float


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("vqq", {}, "unknown quantizer 'vqq'; did you mean 'vq'"),
        ("vq", {"betta": 1}, "no argument 'betta'; did you mean 'beta'"),
        ("vq", {"num_codes": 4}, "no argument 'num_codes'"),
        ("vq", {"beta": "high"}, "argument 'beta': 'high' is not a number"),
        ("vq", {"beta": True}, "argument 'beta'"),
        ("vq", {"distance": "l3"}, "argument 'distance'"),
        ("hvq", {"reset_every": 1.5}, "argument 'reset_every'"),
    ],
)
def test_wrong_arguments_are_named(name: str, given: dict[str, object], sentence: str) -> None:
    """What is wrong with a name or an argument is one sentence with the nearest known one."""
    with pytest.raises(UsageError) as caught:
        registry.resolve("quantizers", name, given, BUDGET)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_user_s_file_comes_in_by_the_same_door(tmp_path: Path) -> None:
    """A quantizer in one file of the user's is found by the file's name, and only among quantizers."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    registry.add_file(path)
    assert registry.resolve("quantizers", "mine", {}, BUDGET).args == {**BUDGET, "sharpness": 2.0, "steps": None}
    assert "mine" not in registry.names("metrics")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("import nowhere", "cannot be imported: ModuleNotFoundError"),
        ("1 +", "cannot be imported: SyntaxError"),
        (MINE + MINE.replace("Mine", "Second"), "must define exactly one subclass of Quantizer"),
    ],
)
def test_a_broken_file_says_why(tmp_path: Path, content: str, sentence: str) -> None:
    """A plugin file that cannot be used is one sentence with its cause."""
    path = tmp_path / "mine.py"
    path.write_text(content)
    registry.add_file(path)
    with pytest.raises(UsageError, match=sentence):
        registry.load("quantizers", "mine")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """--plugin with a path that is no Python file names it."""
    with pytest.raises(UsageError, match=r"absent\.py: no such Python file"):
        registry.add_file(tmp_path / "absent.py")


def test_the_digest_follows_the_file(tmp_path: Path) -> None:
    """The digest that guards the cache of resolved suites changes with the plugin's file."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    registry.add_file(path)
    before = registry.digest("quantizers", "mine")
    path.write_text(MINE + "\n# changed\n")
    assert registry.digest("quantizers", "mine") != before
    assert registry.digest("quantizers", "cvq_offline") == registry.digest("quantizers", "cvq")
