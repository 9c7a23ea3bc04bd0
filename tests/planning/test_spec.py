"""The key of a run depends on what decides its weights and on nothing else; a suite expands in file order."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqbench.errors import StoreError, UsageError
from vqbench.planning import suite_files
from vqbench.planning.expansion import expand
from vqbench.planning.loading import resolve
from vqbench.planning.overrides import Override, override
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import find_suite, known_suites, load_suite
from vqbench.planning.yamlfile import Document, dump, inline, parse
from vqbench.recipe import Recipe
from vqbench.spec import PluginSpec, RunSpec


class Fake:
    """A registry with few plugins: kind -> name -> defaults. It completes arguments and checks nothing."""

    plugins: Mapping[str, Mapping[str, dict[str, Any]]] = {
        "quantizers": {"vq": {"beta": 0.25, "distance": "l2"}, "cvq": {"beta": 0.25, "online": True}},
        "datasets": {"mnist": {}, "cifar10": {}},
        "backbones": {"conv": {"hidden": 128}},
        "recipes": {"autoencoder": {"precision": "float32"}},
        "metrics": {"l1": {}, "psnr": {}},
    }

    def __init__(self, version: int = 1) -> None:
        self.version = version

    def names(self, kind: str) -> list[str]:
        return list(self.plugins[kind])

    def load(self, kind: str, name: str) -> type[Recipe]:
        assert (kind, name) == ("recipes", "autoencoder")
        return Recipe

    def resolve(
        self, kind: str, name: str, given: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> PluginSpec:
        return PluginSpec(name, self.version, {**(fixed or {}), **self.plugins[kind][name], **given})


TEXT = """
name: tiny
title: Two quantizers on two data sets
train: clean
measure: [clean]
datasets: [mnist, cifar10]
backbone: {conv: {hidden: 8}}
codebook: {num_codes: 16, dim: 4}
quantizers:
  - {vq: {beta: 0.5}, label: VQ, on: {cifar10: {beta: 1}}}
  - cvq
seeds: [7, 3]
metrics: [l1, psnr]
"""


def suite(text: str = TEXT, *sets: str) -> SuiteSpec:
    return SuiteSpec.from_document(
        override(parse(text, "tiny.yaml"), map(Override.parse, sets), SuiteSpec.model_fields)
    )


def keys(text: str = TEXT, *sets: str, version: int = 1) -> list[str]:
    return [entry.run.key for entry in expand(suite(text, *sets), Fake(version))]


RUN = RunSpec(
    recipe=PluginSpec("autoencoder", 1, {"epochs": 500, "learning_rate": 3e-4}),
    backbone=PluginSpec("conv", 1, {"hidden": 128}),
    dataset=PluginSpec("mnist", 1, {}),
    quantizer=PluginSpec("vq", 1, {"num_codes": 512, "dim": 64, "beta": 0.25, "anchor": None}),
    seed=42,
)
CANONICAL = (
    '{"backbone":{"args":{"hidden":128},"name":"conv","version":1},'
    '"dataset":{"args":{},"name":"mnist","version":1},'
    '"parent":null,'
    '"quantizer":{"args":{"anchor":null,"beta":0.25,"dim":64,"num_codes":512},"name":"vq","version":1},'
    '"recipe":{"args":{"epochs":500,"learning_rate":0.0003},"name":"autoencoder","version":1},'
    '"seed":42}'
)


def test_the_key_is_pinned():
    """The key scheme never changes by accident: one known run keeps its key."""
    assert RUN.key == hashlib.sha256(CANONICAL.encode()).hexdigest()[:16]
    assert RUN.key == "a9ac682450b6807b"


def test_every_part_of_a_run_is_in_its_key():
    """Another argument, type of argument, version, name, seed or parent is another run."""
    others: list[RunSpec] = [replace(RUN, seed=43), replace(RUN, parent=RUN.key)]
    for name in ("recipe", "backbone", "dataset", "quantizer"):
        part: PluginSpec = getattr(RUN, name)
        changed = [replace(part, name="other"), replace(part, version=2), replace(part, args={**part.args, "new": 0})]
        changed += [replace(part, args={**part.args, argument: "other"}) for argument in part.args]
        others += [replace(RUN, **{name: part}) for part in changed]  # type: ignore[arg-type]
    others.append(replace(RUN, quantizer=replace(RUN.quantizer, args={**RUN.quantizer.args, "anchor": False})))
    others.append(replace(RUN, backbone=replace(RUN.backbone, args={"hidden": 128.0})))
    assert len({RUN.key, *(run.key for run in others)}) == 1 + len(others)


def test_the_order_of_arguments_is_not_in_the_key():
    """Arguments that come in another order name the same run."""
    args = dict(reversed(list(RUN.quantizer.args.items())))
    assert replace(RUN, quantizer=replace(RUN.quantizer, args=args)).key == RUN.key


def test_a_run_with_nan_has_no_name():
    """NaN and infinity, which JSON cannot say, are refused instead of hashed."""
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            _ = replace(RUN, dataset=PluginSpec("mnist", 1, {"x": value})).key


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
PARTS = st.builds(PluginSpec, st.text(), st.integers(), st.dictionaries(st.text(), SCALARS))
RUNS = st.builds(RunSpec, PARTS, PARTS, PARTS, PARTS, st.integers(min_value=0), st.none() | st.just("0123456789abcdef"))


def test_what_a_file_says_enters_the_key_only_where_there_is_one() -> None:
    """A part without a source is written, and named, as before there were any; one with a source comes back with it."""
    assert "source" not in RUN.quantizer.to_dict()
    edited = [replace(RUN, quantizer=replace(RUN.quantizer, source=each)) for each in ("aa", "bb")]
    assert len({RUN.key, *(run.key for run in edited)}) == 3
    assert [RunSpec.from_dict(run.to_dict()) for run in edited] == edited
    with pytest.raises(StoreError):
        RunSpec.from_dict({**RUN.to_dict(), "quantizer": {**RUN.quantizer.to_dict(), "source": None}})


@given(run=RUNS)
def test_runs_survive_json(run):
    """A run written as JSON and read back is the same run under the same key."""
    back = RunSpec.from_dict(json.loads(json.dumps(run.to_dict())))
    assert back == run
    assert back.key == run.key


@pytest.mark.parametrize(
    "broken",
    [
        {},
        [],
        None,
        {"seed": 42},
        RUN.to_dict() | {"more": 1},
        RUN.to_dict() | {"seed": "42"},
        RUN.to_dict() | {"seed": True},
        RUN.to_dict() | {"dataset": {"name": "mnist"}},
        RUN.to_dict() | {"dataset": {"name": "mnist", "version": 1, "args": {}, "more": 1}},
        RUN.to_dict() | {"dataset": {"name": "mnist", "version": 1, "args": 3}},
    ],
)
def test_a_broken_run_is_refused(broken):
    """Anything that is not exactly a run raises StoreError and never gets another key."""
    with pytest.raises(StoreError, match="not the description of a run"):
        RunSpec.from_dict(broken)


def test_the_order_of_runs_is_that_of_the_file():
    """Data sets, then rows, then seeds, each in the order of the file."""
    entries = expand(suite(), Fake())
    assert [(entry.dataset, entry.row, entry.label, entry.seed) for entry in entries] == [
        (dataset, row, label, seed)
        for dataset in ("mnist", "cifar10")
        for row, label in enumerate(("VQ", "cvq"))
        for seed in (7, 3)
    ]


def test_runs_hold_every_argument():
    """A run is the training protocol, the suite's own arguments, the budget, and all defaults, written out."""
    run = expand(suite(TEXT, "train.clean.epochs=3"), Fake())[0].run
    assert run.recipe.args == {
        "epochs": 3,
        "batch_size": 1024,
        "learning_rate": 3e-4,
        "variance": "matched",
        "selection": "holdout",
        "selection_pass": "eval",
        "precision": "float32",
    }
    assert run.backbone.args == {"hidden": 8}
    assert run.quantizer.args == {"num_codes": 16, "dim": 4, "beta": 0.5, "distance": "l2"}
    assert (run.dataset.name, run.seed, run.parent) == ("mnist", 7, None)


def test_arguments_for_one_data_set():
    """Arguments under ``on`` apply to that data set and to no other."""
    betas = {entry.dataset: entry.run.quantizer.args["beta"] for entry in expand(suite(), Fake()) if entry.row == 0}
    assert betas == {"mnist": 0.5, "cifar10": 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: tiny", "name: another"),
        ("title: Two", "# a comment\ntitle: Zwei"),
        ("label: VQ", "label: Baseline, paper: {row: A}"),
        ("metrics: [l1, psnr]", "metrics: [psnr]\npaper: B.1\ndescription: words\ntable: {layout: side_by_side}"),
        ("measure: [clean]", "measure: [official, clean]"),
        ("train: clean", "train: {clean: {batch_size: 1024, learning_rate: 0.0003}}"),
        ("- cvq", "- {label: cvq, cvq: {online: true}}"),
        ("codebook: {num_codes: 16, dim: 4}", "codebook: {dim: [4], num_codes: [16]}"),
    ],
)
def test_words_and_order_are_not_in_the_key(old, new):
    """Names, labels, comments, what is measured, the table, and defaults written out leave every key as it is."""
    assert old in TEXT
    assert keys(TEXT.replace(old, new)) == keys()


def test_the_order_of_keys_in_the_file_is_not_in_the_key():
    """The same suite with its keys the other way round names the same runs."""
    data = parse(TEXT, "tiny.yaml").data
    assert keys(dump(dict(reversed(data.items())))) == keys()


@pytest.mark.parametrize(
    "change",
    [
        "train=official",
        "train.clean.epochs=499",
        "train.clean.precision=bfloat16",
        "backbone.conv.hidden=9",
        "codebook.num_codes=17",
        "codebook.dim=5",
        "quantizers.vq.distance=cosine",
        "seeds=[8, 9]",
        "reduced={epochs: 2}",
    ],
)
def test_what_decides_weights_is_in_the_key(change):
    """Every setting that decides what is trained gives other keys."""
    assert keys(TEXT, change)[0] != keys()[0]


def test_a_version_is_in_the_key():
    """A plugin whose ``VERSION`` was raised gives new runs."""
    assert not set(keys(version=2)) & set(keys())


def test_seeds_of_a_suite_share_runs():
    """A suite with one more seed keeps the keys of the others."""
    assert set(keys()) < set(keys(TEXT, "seeds=[7, 3, 1]"))


def test_lists_are_grids():
    """A list as an argument's value is one row per combination, named by what varies."""
    entries = expand(suite(TEXT, "quantizers.0.vq.beta=[0.1, 1e-3]", "quantizers.0.vq.distance=[l2, cosine]",
                           "quantizers.0.on={}", "datasets=[mnist]", "seeds=[1]"), Fake())  # fmt: skip
    grid = {
        entry.label: (entry.run.quantizer.args["beta"], entry.run.quantizer.args["distance"]) for entry in entries[:4]
    }
    assert grid == {
        "VQ (beta=0.1, distance=l2)": (0.1, "l2"),
        "VQ (beta=0.1, distance=cosine)": (0.1, "cosine"),
        "VQ (beta=0.001, distance=l2)": (0.001, "l2"),
        "VQ (beta=0.001, distance=cosine)": (0.001, "cosine"),
    }
    assert entries[4].label == "cvq"


def test_the_budget_is_a_grid_of_all_rows():
    """Lists of codebook sizes give every row each size, and the label says which."""
    entries = expand(suite(TEXT, "codebook.num_codes=[16, 32]", "datasets=[cifar10]", "seeds=[1]"), Fake())
    assert [(entry.label, entry.run.quantizer.args["num_codes"]) for entry in entries] == [
        ("VQ (num_codes=16)", 16),
        ("VQ (num_codes=32)", 32),
        ("cvq (num_codes=16)", 16),
        ("cvq (num_codes=32)", 32),
    ]


def test_what_a_table_groups_by_is_no_part_of_the_label():
    """A table grouped by an argument has that argument's value as the group, and one label for the row."""
    one = ("datasets=[cifar10]", "seeds=[1]")
    entries = expand(suite(TEXT, "codebook.num_codes=[16, 32]", "table.group=num_codes", *one), Fake())
    assert [(entry.label, entry.group) for entry in entries[:4]] == [("VQ", 16), ("VQ", 32), ("cvq", 16), ("cvq", 32)]
    assert {entry.group for entry in expand(suite(), Fake())} == {"mnist", "cifar10"}


def test_a_table_of_several_lengths_has_a_block_for_each():
    """A table grouped by updates names each block and run by them, and keeps one label from standing twice in one."""
    short = "train: {clean: {epochs: 1, batch_size: %d}}"
    rows = f"[{{vq: {{}}, {short}}}, vq, {{cvq: {{}}, {short}}}]"
    changes = ("train={clean: {epochs: 2, batch_size: 64}}", "datasets=[fashion_mnist_5k]", "table.group=updates")
    plan = resolve(suite(TEXT, f"quantizers={rows % (64, 64)}", "seeds=[1]", *changes), "", False)
    assert [(entry.label, entry.group) for entry in plan.entries] == [("vq", 55), ("vq", 110), ("cvq", 55)]
    assert [plan.label(entry.run) for entry in plan.entries] == ["vq, 55 updates", "vq, 110 updates", "cvq, 55 updates"]
    assert plan.suite.table.group_text(16_000) == "16,000 updates"
    with pytest.raises(UsageError, match=r"quantizers.1: a second row is labelled 'vq'"):  # 1 epoch of 32, 2 of 64
        expand(suite(TEXT, f"quantizers={rows % (32, 64)}", "seeds=[1]", *changes))


def test_rows_that_a_table_cannot_tell_apart():
    """The same label is refused within a group, and fine in two groups; a default counts as if it were written."""
    text = TEXT.replace("- cvq", "- {cvq: {online: false}, label: x}\n  - {cvq: {}, label: x}")
    with pytest.raises(UsageError, match=r"tiny.yaml:12:5: quantizers.2: .*'x'"):
        expand(suite(text), Fake())
    assert len(expand(suite(text, "table={group: [dataset, online]}"), Fake())) == 12
    with pytest.raises(UsageError, match=r"quantizers.2: .*'x'"):
        expand(suite(text, "table={group: [dataset, online]}", "quantizers.1.cvq.online=true"), Fake())


def test_numbers_are_those_of_yaml_1_2():
    """Exponents without a point are numbers; ``on``, ``no`` and ``yes`` are words, so that ``on:`` can be a key."""
    data = parse("[1e-4, 1e3, -2.5E+3, 0x10, 0o17, 010, 1_000, on, no, yes, true, null, ~, 2024-01-01, 1:30]", "x").data
    assert data == [
        1e-4,
        1000.0,
        -2500.0,
        16,
        15,
        10,
        "1_000",
        "on",
        "no",
        "yes",
        True,
        None,
        None,
        "2024-01-01",
        "1:30",
    ]
    assert parse("{on: {no: yes}}", "x").data == {"on": {"no": "yes"}}
    assert [type(value) for value in data[:4]] == [float, float, float, int]


PLAIN = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], include_characters="\n\t"))
DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN
    | st.sampled_from(["1e3", "on", "no", "null", "0o7", ".inf", "12", "1.", "~", ""]),
    lambda inner: st.lists(inner) | st.dictionaries(PLAIN, inner),
    max_leaves=10,
)


@given(data=DATA)
def test_yaml_survives(data):
    """Plain data that is dumped is read back the same, words that look like numbers included."""
    for text in (dump(data), inline(data)):
        back = parse(text, "x").data
        assert back == data
        assert repr(back) == repr(data)


@given(path=st.lists(st.from_regex(r"[a-z0-9_]+", fullmatch=True), min_size=1).map(".".join), value=DATA)
def test_overrides_survive(path, value):
    """An override that is printed, as in the title of a changed suite, is one line that parses to an equal override."""
    text = str(Override(path, value))
    assert len(text.splitlines()) == 1
    assert Override.parse(text) == Override(path, value)


@pytest.mark.parametrize("sets", [(), ("quantizers.vq.beta=[1, 2e-5]", "quantizers.0.on={}", "codebook.dim=[2, 4]")])
def test_a_dumped_suite_names_the_same_runs(sets):
    """The suite stored beside the records is read back as the suite that was run, overrides included."""
    changed = suite(TEXT, *sets)
    back = suite(changed.dump())
    assert back.model_dump() == changed.model_dump()
    assert [entry.run for entry in expand(back, Fake())] == [entry.run for entry in expand(changed, Fake())]


def test_a_reduced_copy_has_a_name_of_its_own():
    """A reduced suite shares neither name nor runs with the full one, and says what was reduced."""
    reduced = suite().reduce(epochs=2)
    assert (reduced.name, reduced.reduced) == ("tiny_reduced", {"epochs": 2})
    assert expand(reduced, Fake())[0].run.recipe.args["epochs"] == 2
    assert suite(reduced.dump()).model_dump() == reduced.model_dump()
    with pytest.raises(UsageError):
        reduced.reduce(epochs=[1, 2])


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("train=official", ("train",), "official"),
        ("train.clean.epochs=3", ("train",), {"clean": {"epochs": 3}}),
        ("seeds=[1,2]", ("seeds",), [1, 2]),
        ("seeds.1=9", ("seeds",), [7, 9]),
        ("quantizers.0.vq.beta=1e-3", ("quantizers", 0, "vq"), {"beta": 1e-3}),
        ("quantizers.vq.beta=1", ("quantizers", 0, "vq"), {"beta": 1}),
        ("quantizers.VQ.vq.beta=1", ("quantizers", 0, "vq"), {"beta": 1}),
        ("quantizers.cvq.online=false", ("quantizers", 1), {"cvq": {"online": False}}),
        ("quantizers.1=vq", ("quantizers", 1), "vq"),
        ("quantizers.0.on.mnist.beta=2", ("quantizers", 0, "on"), {"cifar10": {"beta": 1}, "mnist": {"beta": 2}}),
        ("datasets.mnist.size=5", ("datasets", 0), {"mnist": {"size": 5}}),
        ("table.layout=rows", ("table",), {"layout": "rows"}),
        ("title=a=b", ("title",), "a=b"),
        ("title= yes", ("title",), "yes"),
    ],
)
def test_overrides_reach_every_key(assignment, path, value):
    """``--set`` changes what its path says, makes what the path needs, and leaves the original alone."""
    before = parse(TEXT, "tiny.yaml").data
    after = override(Document(before), [Override.parse(assignment)], SuiteSpec.model_fields).data
    assert before == parse(TEXT, "tiny.yaml").data
    for key in path:
        after = after[key]
    assert after == value


def test_overrides_by_name_reach_all_rows_of_a_quantizer():
    """The name of a quantizer selects all its rows."""
    data = {"quantizers": ["vq", {"cvq": None, "label": "x"}, {"vq": {"distance": "l2"}, "label": "y"}]}
    changed = override(
        Document(data),
        [Override("quantizers.vq.beta", 1), Override("quantizers.x.cvq.beta", 2)],
        SuiteSpec.model_fields,
    )
    assert changed.data["quantizers"] == [
        {"vq": {"beta": 1}},
        {"cvq": {"beta": 2}, "label": "x"},
        {"vq": {"distance": "l2", "beta": 1}, "label": "y"},
    ]


def test_suites_are_found(tmp_path, monkeypatch):
    """A path as given comes first, then ./suites, then the suites that come with the package."""
    monkeypatch.chdir(tmp_path)
    assert find_suite("quick") == find_suite("quick.yaml") == known_suites()["quick"]
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "quick.yaml").write_text(TEXT)
    assert load_suite("quick").name == "tiny"
    (tmp_path / "quick.yaml").write_text(TEXT.replace("name: tiny", "name: mine"))
    assert load_suite("quick").name == "mine"
    assert load_suite(tmp_path / "suites" / "quick").name == "tiny"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UsageError, match="no such suite"):
        find_suite("../suites")


def test_installed_suites_are_found(tmp_path, monkeypatch):
    """Without a checkout, suites are those inside the package, not those of a folder beside it."""
    package = tmp_path / "site-packages" / "vqbench"
    for folder, name in ((package / "suites", "inside"), (package.parent / "suites", "beside")):
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(TEXT)
    monkeypatch.setattr(suite_files, "PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    assert list(known_suites()) == ["inside"]
    assert find_suite("inside") == package / "suites" / "inside.yaml"


def test_naming_runs_needs_neither_torch_nor_pydantic():
    """Importing the names of runs is quick: no torch, and not even pydantic; reading suites needs no torch."""
    for module, heavy in (
        ("vqbench.spec", ("torch", "numpy", "pydantic", "yaml")),
        ("vqbench.planning.suite", ("torch", "numpy")),
    ):
        code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def runs(name: str) -> dict[tuple[str, str], str]:
    """(data set, label) -> key of a suite of ours, at its one seed."""
    return {(entry.dataset, f"{entry.label} {entry.group}"): entry.run.key for entry in expand(load_suite(name))}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("quick", 8),
        ("small_datasets", 8),
        ("ablation", 15),
        ("anchors", 16),
        ("codebook_size", 12),
        ("codebook_dim", 12),
    ],
)
def test_our_suites_resolve(name, count):
    """Each suite of the project resolves against the plugins, to this many distinct runs per seed."""
    assert len(set(runs(name).values())) == len(runs(name)) == count
    assert load_suite(name).name == name


def test_our_suites_share_runs():
    """Rows that are the same in several tables of the paper are one run: they are trained once."""
    small, ablation, anchors = runs("small_datasets"), runs("ablation"), runs("anchors")
    letters = {(dataset, label[0]): key for (dataset, label), key in ablation.items()}
    for dataset in ("mnist", "cifar10"):
        assert letters[dataset, "A"] == small[dataset, f"VQ-VAE {dataset}"]
        assert letters[dataset, "C"] == anchors[dataset, "probability False"]
        assert letters[dataset, "D"] == anchors[dataset, "probability True"]
        assert letters[dataset, "E"] == small[dataset, f"CVQ-VAE {dataset}"]
    assert len({*small.values(), *ablation.values(), *anchors.values()}) == 8 + 15 + 16 - 8
    at_512 = {entry.label: entry.run.key for entry in expand(load_suite("codebook_size")) if entry.group == 512}
    at_64 = {entry.label: entry.run.key for entry in expand(load_suite("codebook_dim")) if entry.group == 64}
    assert at_512 == at_64 == {label: small["cifar10", f"{label} cifar10"] for label in ("VQ-VAE", "CVQ-VAE")}


def test_rows_name_the_paper_s_rows():
    """Every row of the paper's suites names its row of the printed table."""
    for name in ("small_datasets", "ablation", "anchors"):
        assert load_suite(name).paper
        assert all(row.paper for row in load_suite(name).quantizers)
    settings = {(e.paper_row, e.paper_setting, e.group) for e in expand(load_suite("anchors")) if e.paper_row}
    assert {(setting, group) for _, setting, group in settings} == {("offline", False), ("online", True)}
    assert len(settings) == 8
