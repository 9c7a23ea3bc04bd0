"""Errors in a suite file are one sentence: file, line and column, key, and what to do."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_suite import write
from vqbench import registry
from vqbench.errors import UsageError, VqbenchError
from vqbench.planning import loading
from vqbench.planning.changes import select_rows
from vqbench.planning.expansion import expand
from vqbench.planning.overrides import Override, override
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import find_suite, load_suite
from vqbench.planning.yamlfile import MAX_BYTES, parse
from vqbench.quantizers.vq import VQ

GOOD = """\
name: good
title: A suite with nothing wrong
train: clean
measure: [clean]
datasets: [mnist, cifar10]
backbone: conv
codebook: {num_codes: 8, dim: 4}
quantizers:
  - {vq: {}, label: one}
  - {cvq: {}, label: two}
seeds: [1, 2]
metrics: [l1, usage]
table: {layout: rows}
"""

# Replacement for a line of GOOD -> the place of the error, and words that it must have.
LINES: dict[str, tuple[Any, ...]] = {
    "unknown key": (6, "backbones: conv", "6:1: backbones:", "unknown key", "'backbone'"),
    "unknown key of the codebook": (7, "codebook: {num_code: 8}", "7:12: codebook.num_code:", "'num_codes'"),
    "unknown key of the table": (13, "table: {layuot: rows}", "13:9: table.layuot:", "'layout'"),
    "same key twice": (12, "metrics: [l1]\nmetrics: [l1]", "13:1: metrics:", "also on line 12"),
    "same key twice in a row": (9, "  - {vq: {beta: 1, beta: 2}}", "9:20: quantizers.0.vq.beta:", "also on line 9"),
    "unknown training protocol": (3, "train: offical", "3:1: train:", "'official'"),
    "overrides of two protocols": (3, "train: {clean: {}, official: {}}", "3:1: train:", "one name"),
    "unknown measuring protocol": (4, "measure: [clean, cleen]", "4:18: measure.1:", "'clean'"),
    "no measuring protocol": (4, "measure: []", "4:1: measure:", "is empty"),
    "measured twice alike": (4, "measure: [clean, clean]", "4:18: measure.1:", "twice"),
    "name instead of a list": (4, "measure: clean", "4:1: measure:", "'clean'", "list"),
    "no data set": (5, "datasets: []", "5:1: datasets:", "is empty"),
    "unknown data set": (5, "datasets: [mnist, cifar]", "5:19: datasets.1", "'cifar10'"),
    "data set twice": (5, "datasets: [mnist, {mnist: {}}]", "5:19: datasets.1:", "twice"),
    "a number as data set": (5, "datasets: [3]", "5:12: datasets.0:", "is 3", "a name"),
    "nothing as data sets": (5, "datasets:", "5:1: datasets:", "is None", "list"),
    "unknown backbone": (6, "backbone: convv", "6:1: backbone", "'conv'"),
    "unknown argument of the backbone": (6, "backbone: {conv: {hiden: 3}}", "6:19: backbone.conv.hiden:", "'hidden'"),
    "wrong type of a backbone's argument": (6, "backbone: {conv: {hidden: 1.5}}", "6:19: backbone.conv.hidden:", "1.5"),
    "arguments as a list": (6, "backbone: {conv: [1]}", "6:12: backbone.conv:", "mapping"),
    "no codes": (7, "codebook: {num_codes: 0}", "7:12: codebook.num_codes:", "is 0", "1 or more"),
    "no codes in a grid": (7, "codebook: {num_codes: [8, 0]}", "7:27: codebook.num_codes.1:", "is 0", "1 or more"),
    "truth as number": (7, "codebook: {num_codes: true}", "7:12: codebook.num_codes:", "is True", "whole number"),
    "fraction as number": (7, "codebook: {dim: 4.5}", "7:12: codebook.dim:", "is 4.5", "whole number"),
    "word as number": (7, "codebook: {dim: four}", "7:12: codebook.dim:", "'four'", "whole number"),
    "empty grid": (7, "codebook: {dim: []}", "7:12: codebook.dim:", "is empty"),
    "number instead of a budget": (7, "codebook: 512", "7:1: codebook:", "512", "num_codes, dim"),
    "unknown quantizer": (9, "  - {vqq: {}}", "9:6: quantizers.0.vqq:", "'vq'"),
    "two quantizers in a row": (9, "  - {vq: {}, cvq: {}}", "9:5: quantizers.0:", "'vq' and 'cvq'"),
    "no quantizer in a row": (9, "  - {label: one}", "9:5: quantizers.0:", "names one quantizer"),
    "a list as a row": (9, "  - [vq]", "9:5: quantizers.0:", "a row should be"),
    "nothing as a row": (9, "  -", "9:4: quantizers.0:", "a row should be"),
    "unknown argument": (10, "  - {cvq: {decya: 0.9}}", "10:12: quantizers.1.cvq.decya:", "'decay'"),
    "unknown argument in a grid": (10, "  - {cvq: {bta: [1, 2]}}", "10:12: quantizers.1.cvq.bta:", "'beta'"),
    "unknown choice": (10, "  - {cvq: {anchor: near}}", "10:12: quantizers.1.cvq.anchor:", "'closest'", "'near'"),
    "word as argument": (10, "  - {cvq: {beta: 1e}}", "10:12: quantizers.1.cvq.beta:", "'1e'"),
    "YAML 1.1's truth": (10, "  - {cvq: {online: yes}}", "10:12: quantizers.1.cvq.online:", "'yes'"),
    "arguments within arguments": (10, "  - {cvq: {beta: {a: 1}}}", "10:12: quantizers.1.cvq.beta:", "finite number"),
    "empty grid of an argument": (10, "  - {cvq: {beta: []}}", "10:12: quantizers.1.cvq.beta:", "is empty"),
    "value twice in a grid": (10, "  - {cvq: {beta: [1, 2, 1]}}", "10:12: quantizers.1.cvq.beta:", "twice"),
    "not a number": (10, "  - {cvq: {beta: .nan}}", "10:12: quantizers.1.cvq.beta:", ".nan is not a finite"),
    "infinite": (10, "  - {cvq: {beta: -.inf}}", "10:12: quantizers.1.cvq.beta:", "-.inf is not a finite"),
    "more than a float can be": (10, "  - {cvq: {beta: 1e999}}", "10:12: quantizers.1.cvq.beta:", "not a finite"),
    "a number of 5,000 digits": (
        10,
        f"  - {{cvq: {{beta: {'9' * 5000}}}}}",
        "10:12: quantizers.1.cvq.beta:",
        "too large",
    ),
    "budget in a row": (10, "  - {cvq: {num_codes: 4}}", "10:12: quantizers.1.cvq.num_codes:", "`codebook`"),
    "same label twice": (10, "  - {cvq: {}, label: one}", "10:5: quantizers.1:", "'one'", "label"),
    "two lines as label": (10, r'  - {cvq: {}, label: "a\nb"}', "10:15: quantizers.1.label:", "one line"),
    "arguments for no data set": (10, "  - {cvq: {}, on: {mnits: {}}}", "10:20: quantizers.1.on.mnits:", "'mnist'"),
    "unknown argument on one": (
        *(10, "  - {cvq: {}, on: {mnist: {bta: 1}}}"),
        *("10:28: quantizers.1.on.mnist.bta:", "'beta'"),
    ),
    "grid and data set": (
        *(10, "  - {cvq: {beta: [1, 2]}, on: {mnist: {beta: 1}}}"),
        *("10:40: quantizers.1.on.mnist.beta:", "grid"),
    ),
    "unknown key of the paper's row": (10, "  - {cvq: {}, paper: {raw: A}}", "10:23: quantizers.1.paper.raw:", "'row'"),
    "more rows than anyone wants": (
        *(10, "  - {cvq: {" + ", ".join(f"{name}: [1, 2, 3, 4, 5, 6, 7, 8, 9]" for name in "abcdef") + "}}"),
        *("8:1: quantizers:", "more than 10,000 rows"),
    ),
    "negative seed": (11, "seeds: [-1]", "11:9: seeds.0:", "is -1", "greater than or equal to 0"),
    "truth as seed": (11, "seeds: [1, true]", "11:12: seeds.1:", "is True", "integer"),
    "fraction as seed": (11, "seeds: [1.0]", "11:9: seeds.0:", "is 1.0", "integer"),
    "seed twice": (11, "seeds: [1, 1]", "11:12: seeds.1:", "twice"),
    "no seed": (11, "seeds: []", "11:1: seeds:", "is empty"),
    "unknown metric": (12, "metrics: [l1, pnsr]", "12:15: metrics.1:", "'psnr'"),
    "no metric": (12, "metrics: []", "12:1: metrics:", "is empty"),
    "unknown layout": (13, "table: {layout: columns}", "13:9: table.layout:", "'columns'", "'side_by_side'"),
    "unknown group": (13, "table: {group: onlin}", "13:9: table.group:", "'online'"),
    "unknown column": (13, "table: {columns: [l1, usge]}", "13:23: table.columns.1:", "'usage'"),
    "protocol that is not measured": (13, "table: {protocol: official}", "13:9: table.protocol:", "`measure`", "clean"),
    "unknown argument of the recipe": (3, "train: {clean: {epoch: 3}}", "3:17: train.clean.epoch:", "'epochs'"),
    "unknown argument of a reduced copy": (13, "reduced: {epoch: 3}", "13:11: reduced.epoch:", "'epochs'"),
    "name that is no file name": (1, "name: ../good", "1:1: name:", "letters, digits"),
    "number as name": (1, "name: 7", "1:1: name:", "is 7", "valid text"),
    "a key that is missing": (1, "", "1:1: name:", "is missing"),
    "a key that is no word": (2, "title: T\n3: x", "1:1:", "line 3", "keys are words"),
    "a key that is a list": (2, "title: T\n? [a]\n: x", "1:1:", "line 3", "keys are words"),
    "tabs": (9, "\t- vq", "9:1:", "not valid YAML", "not tabs"),
    "an open bracket": (11, "seeds: [1", "12:8:", "not valid YAML"),
    "two documents": (13, "---\nname: other", "13:1:", "not valid YAML", "single document"),
    "unknown alias": (11, "seeds: *s", "11:8:", "not valid YAML", "undefined alias"),
    "part of itself": (11, "seeds: &s [1, *s]", "11:8: seeds.1:", "a part of"),
    "a tag": (11, "seeds: !!python/object/apply:os.getcwd []", "11:1: seeds:", "tag"),
    "another tag": (12, "metrics: [!!binary bDE=]", "12:11: metrics.0:", "tag"),
    "a character that cannot be printed": (2, r'title: "\0"', "2:1: title:", "cannot be printed"),
    "half of a character": (2, r'title: "\ud800"', "2:1: title:", "cannot be printed"),
}

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

# Whole files -> words that the error must have.
FILES = {
    "empty": (b"", "is empty"),
    "comments alone": (b"# nothing\n", "is empty"),
    "a list": (b"- name: x\n", "mapping of name, title"),
    "a word": (b"vq\n", "mapping of name, title"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\xff", "not UTF-8"),
    "zeros": (b"\0" * 100, "not valid YAML"),
    "UTF-16": (GOOD.encode("utf-16"), "not UTF-8"),
    "huge": (b"#" * (MAX_BYTES + 1), "larger than 1,000,000 bytes"),
    "nested deeply": (b"[" * 20_000, "nested too deeply"),
    "aliases of aliases": (BOMB.encode(), "more than 10,000 values"),
}


def refusal(path: Path) -> str:
    """The one line that is shown for the suite ``path``."""
    with pytest.raises(UsageError) as caught:
        expand(load_suite(path))
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    return message


def test_the_good_suite_is_good(tmp_path):
    """The unchanged suite is valid, so each malformed one is refused for its own fault."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert len(expand(load_suite(path))) == 8


@pytest.mark.parametrize("case", LINES)
def test_a_wrong_line_is_named(tmp_path, case):
    """The error names file, line and column, key, and the valid names or values."""
    number, text, place, *words = LINES[case]
    lines = GOOD.splitlines()
    lines[number - 1 : number] = [text] if text else []
    path = tmp_path / "bad.yaml"
    path.write_text("\n".join(lines) + "\n")
    message = refusal(path)
    assert message.startswith((f"{path}:{place}", f"{path}:{place.removesuffix(':')} is "))
    assert all(word in message for word in words), message


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_is_named(tmp_path, case):
    """A file that is not a suite is refused at once and named, whatever its content."""
    content, words = FILES[case]
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(str(path))
    assert words in message


def test_a_folder_is_no_suite(tmp_path):
    """A folder given as a suite is refused like a file that does not exist."""
    assert "no such suite" in refusal(tmp_path)


def test_unknown_suite_lists_the_places_searched(tmp_path, monkeypatch):
    """An unknown name lists the places looked in and the known suites, the nearest first."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"'mien': no such suite.*suites/mien.*did you mean 'mine'\? known: mine, .*quick"
    ):
        find_suite("mien")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("seeds", "path=value"),
        ("=3", "path=value"),
        ("train..epochs=3", "path=value"),
        ("seed=3", "did you mean 'seeds'?"),
        ("trian.clean.epochs=3", "did you mean 'train'?"),
        ("train.claen.epochs=3", "did you mean 'clean'?"),
        ("quantizers.7.vq.beta=1", "known: 0, 1, vq, one, cvq, two"),
        ("quantizers.cvqq.beta=1", "did you mean 'cvq'?"),
        ("quantizers.0.vqq.beta=1", "did you mean 'vq'?"),
        ("datasets.mnits.x=1", "did you mean 'mnist'?"),
        ("seeds.0.x=1", "seeds.0 has no 'x'"),
        ("seeds=[1", "not valid YAML"),
        ("seeds=[.nan]", "not a finite number"),
        ("seeds=[-1]", "seeds.0 is -1"),
        ("quantizers.vq.bta=1", "did you mean 'beta'?"),
        ("codebook.num_code=1", "did you mean 'num_codes'?"),
        ("measure=[cleen]", "did you mean 'clean'?"),
    ],
)
def test_a_wrong_change_is_named(assignment, words):
    """A wrong ``--set`` is refused in one line that quotes it and helps."""
    with pytest.raises(UsageError) as caught:
        expand(
            SuiteSpec.from_document(
                override(parse(GOOD, "good.yaml"), [Override.parse(assignment)], SuiteSpec.model_fields)
            )
        )
    message = str(caught.value)
    assert message.startswith(f"--set {assignment}:")
    assert words in message
    assert len(message.splitlines()) == 1


@given(st.text())
def test_no_text_is_worse_than_a_wrong_suite(text):
    """Any input read as a suite raises nothing but a UsageError of one line."""
    with pytest.raises(UsageError) as caught:
        SuiteSpec.from_document(parse(text, "any.yaml"))
    assert len(str(caught.value).splitlines()) == 1


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["vq", "l1", "mnist"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["vq", "label", "on", "dim", "x"]), inner)
    ),
    max_leaves=6,
)


@given(key=st.sampled_from(sorted(SuiteSpec.model_fields)), value=VALUES)
def test_no_value_is_worse_than_a_wrong_one(key, value):
    """Any plain value of any key gives a suite, or a UsageError of one line that starts with the place."""
    document = parse(GOOD, "good.yaml")
    document.data[key] = value
    try:
        suite = SuiteSpec.from_document(document)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
        assert str(error).startswith("good.yaml:")  # noqa: PT017
    else:
        assert suite.rows()


@pytest.mark.parametrize("label", ["\U0001f600", "中 ↑", 'back\\ud83d "slash"', "a\u200db"])
def test_rows_are_chosen_whatever_letters_their_labels_have(tmp_path: Path, label: str) -> None:
    """``--only`` keeps the label of a row, also one with letters beyond U+FFFF, and its run."""
    suite = write(tmp_path, f"{{vq: {{}}, label: {json.dumps(label, ensure_ascii=False)}}}, cvq")
    whole, chosen = loading.load(suite, []), loading.load(suite, [], select_rows(load_suite(suite), ["vq"]))
    assert [entry.label for entry in chosen.entries] == [label]
    assert chosen.runs() == whole.runs()[:1]


@pytest.mark.parametrize(
    "row",
    [
        "{cvq_grouped: {groups: 0, group_codes: 16}}",
        "{grouped: {groups: 0, group_codes: 16}}",
        "{residual: {depth: 0, level_codes: 16}}",
        "{vq_bridge: {heads: 0}}",
        "{vq_bridge: {patch: 0}}",
    ],
)
def test_a_quantizer_of_no_parts_is_refused(tmp_path: Path, row: str) -> None:
    """Counts of groups, levels, heads and patches below 1 are wrong usage that names the argument."""
    with pytest.raises(UsageError, match="greater than or equal to 1, not 0"):
        loading.load(write(tmp_path, row), [])


def test_a_constructor_that_fails_is_no_fault_of_vqbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a quantizer raises when it is made for a plan names the quantizer."""

    @functools.wraps(VQ.__init__)
    def broken(self: VQ, *_: object, **__: object) -> None:
        raise ZeroDivisionError

    suite = write(tmp_path, "vq")
    monkeypatch.setattr(VQ, "__init__", broken)
    with pytest.raises(VqbenchError, match=r"quantizer 'vq'.* fails: ZeroDivisionError"):
        loading.load(suite, [], [Override("table.columns", ["l1", "latent"])])


@pytest.mark.parametrize("signature", ["self", "self, num_codes", "self, *args, **options"])
def test_a_quantizer_without_the_budgets_arguments_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signature: str
) -> None:
    """A stranger's quantizer whose constructor leaves out num_codes or dim is refused by name when it is planned."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    path = tmp_path / "lacking_vq.py"
    path.write_text(
        "from vqbench.quantizers.vq import VQ\n\n\nclass LackingVQ(VQ):\n    paper = 'none'\n\n"
        f"    def __init__({signature}):\n        super().__init__(16, 4)\n"
    )
    registry.add_file(path)
    with pytest.raises(VqbenchError, match=r"'lacking_vq' does not take the argument '(dim|num_codes)'"):
        loading.load(write(tmp_path, "lacking_vq"), [])
    monkeypatch.undo()
    registry.sources.cache_clear()
