"""The registry: one interface to all plugins, resolved arguments, and helpful errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
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
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    registry.sources.cache_clear()
    yield
    registry.sources.cache_clear()


BUDGET = {"num_codes": 8, "dim": 4}


def test_every_built_in_plugin_loads() -> None:
    """Every file in the rooms of plugins offers exactly one class of its kind, with what the contract requires."""
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
    """A wrong name or argument is one sentence with the nearest valid one."""
    with pytest.raises(UsageError) as caught:
        registry.resolve("quantizers", name, given, BUDGET)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_user_s_file_comes_in_by_the_same_door(tmp_path: Path) -> None:
    """A quantizer in a user's file is registered under the file's name, and only among quantizers."""
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
    registry.add_file(path)
    assert registry.digest("quantizers", "mine") == before  # a comment changes nothing
    path.write_text(MINE + "\nCHANGED = True\n")
    registry.add_file(path)
    assert registry.digest("quantizers", "mine") != before
    assert registry.digest("quantizers", "cvq_offline") == registry.digest("quantizers", "cvq")


def test_what_a_file_says_is_resolved_with_it(tmp_path: Path) -> None:
    """An edited file resolves to another run, a commented one to the same; built-in plugins have their VERSION alone.

    Two edits within a second, of the same length, are distinguished: no compiled file of an older text is used.
    """
    path = tmp_path / "mine.py"
    sources, defaults = [], []
    for text in (MINE, MINE.replace("= 2", "= 3"), f"# mine\n{MINE}"):
        path.write_text(text)
        registry.add_file(path)
        resolved = registry.resolve("quantizers", "mine", {}, BUDGET)
        sources.append(resolved.source)
        defaults.append(resolved.args["sharpness"])
    assert defaults == [2.0, 3.0, 2.0]
    assert sources[0] == sources[2] != sources[1]
    assert registry.resolve("quantizers", "vq", {}, BUDGET).source is None
    registry.add_file(Path(str(registry.sources("quantizers")["vq"].path())))
    assert registry.resolve("quantizers", "vq", {}, BUDGET).source is None  # the built-in file by its path


def test_a_file_edited_after_planning_is_refused(tmp_path: Path) -> None:
    """A process that imports a plugin later than it was planned with takes no other text for it."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    registry.add_file(path)
    planned = registry.source("quantizers", "mine")
    registry.require_same("quantizers", "mine", planned)
    path.write_text(MINE.replace("= 2", "= 3"))
    registry.add_file(path)
    with pytest.raises(registry.ChangedPlugin, match=r"mine\.py\) was edited since this run was planned"):
        registry.require_same("quantizers", "mine", planned)
    registry.require_same("quantizers", "vq", None)


def test_an_edited_metric_measures_anew(tmp_path: Path) -> None:
    """The version that a value of a file's metric is stored with changes with the file, and a built-in one's not."""
    path = tmp_path / "my_l1.py"
    versions = []
    for factor in (2, 3, 2):
        path.write_text(f"from vqbench.metrics.l1 import L1\n\n\nclass Mine(L1):\n    factor = {factor}\n")
        registry.add_file(path)
        versions.append(registry.version("metrics", "my_l1"))
    assert versions[0] == versions[2] != versions[1]
    assert registry.version("metrics", "l1") == registry.load("metrics", "l1").VERSION  # type: ignore[attr-defined]


def test_a_built_in_name_cannot_be_taken(tmp_path: Path) -> None:
    """A user's vq.py is refused: its runs would be stored under the keys of the built-in one's."""
    path = tmp_path / "vq.py"
    path.write_text(MINE)
    with pytest.raises(UsageError, match="'vq' is a built-in quantizer; rename the file"):
        registry.add_file(path)
    assert registry.load("quantizers", "vq").__module__ == "vqbench.quantizers.vq"


def entries(monkeypatch: pytest.MonkeyPatch, *offered: tuple[str, str]) -> None:
    """Let installed packages offer quantizers: (name, where)."""
    found = [EntryPoint(name, where, "vqbench.quantizers") for name, where in offered]
    monkeypatch.setattr(
        "vqbench.registry.discovery.entry_points", lambda group: found if group == "vqbench.quantizers" else []
    )
    registry.sources.cache_clear()


def test_of_two_packages_one_is_used_and_the_other_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of two equal names is meant does not depend on the order of installation, and the other one is named."""
    two = ("mine", "vqbench.quantizers.vq_ema"), ("mine", "vqbench.quantizers.vq")
    for offered in (two, two[::-1]):
        entries(monkeypatch, *offered)
        assert str(registry.sources("quantizers")["mine"]) == "vqbench.quantizers.vq"
        [(name, why)] = registry.refused("quantizers").items()
        assert name == "mine (vqbench.quantizers.vq_ema)"
        assert "taken by vqbench.quantizers.vq" in why


@pytest.mark.parametrize("where", ["math:pi", "vqbench.registry:PluginSource", "vqbench.registry:names"])
def test_an_entry_point_to_something_else_says_so(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A number, a class of another kind and a function are no quantizers, and one sentence each."""
    entries(monkeypatch, ("odd", where))
    with pytest.raises(registry.BrokenPlugin, match="must define exactly one subclass of Quantizer"):
        registry.load("quantizers", "odd")


def test_a_stranger_s_preset_does_not_take_the_name_of_ours(tmp_path: Path) -> None:
    """Of two presets of one name the built-in one is meant."""
    path = tmp_path / "aaa.py"
    path.write_text(MINE + '\n\nMine.presets = {"cvq_offline": {"steps": 1}}\n')
    registry.add_file(path)
    assert registry.find("quantizers", "cvq_offline")[0] == "cvq"


def test_the_digest_of_a_package_covers_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside the one that an entry point names changes the digest too, since the plugin may build on it."""
    package = tmp_path / "some_stranger"
    package.mkdir()
    for name in ("__init__", "plugin", "helper"):
        (package / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    entries(monkeypatch, ("mine", "some_stranger.plugin"))
    before = registry.digest("quantizers", "mine")
    (package / "helper.py").write_text("changed = True\n")
    assert registry.digest("quantizers", "mine") != before


def test_an_argument_added_later_enters_a_key_only_where_it_is_used() -> None:
    """Runs from before an argument keep their key; a value that differs from what was done before is part of it."""
    given = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "variance": "unit", "selection": "last"}
    given["selection_pass"] = "eval"
    before = registry.resolve("recipes", "autoencoder", given)
    assert "decay" not in before.args
    assert registry.resolve("recipes", "autoencoder", given | {"decay": "constant"}) == before
    assert registry.resolve("recipes", "autoencoder", given | {"decay": "linear"}).args["decay"] == "linear"


@pytest.mark.parametrize("kind", list(registry.CONTRACTS))
def test_what_was_done_before_an_argument_is_its_default(kind: registry.Kind) -> None:
    """An argument that is left out of a key is filled in by the constructor, so it must be the default."""
    for name in registry.names(kind):
        cls = registry.load(kind, name)
        defaults = {argument: default for argument, (_, default) in registry.parameters(cls)}
        later = getattr(cls, "LATER", {})
        assert later == {argument: defaults[argument] for argument in later}, name
