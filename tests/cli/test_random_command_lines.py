"""Any command line and any suite end with exit code 0, or with 1 or 2 and one clear sentence.

Random single mutations of valid command lines, over every command and option, and of a valid suite. Commands that
train, or compute for long, are not carried out: of `run` all but the execution is.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from hypothesis import event, given
from hypothesis import strategies as st

from tests.support.soak import examples
from tests.support.tiny_suite import write
from vqbench import registry
from vqbench.cli import app, commands
from vqbench.execution import installation, suite_runner
from vqbench.execution.executors.executor import Summary
from vqbench.planning import loading
from vqbench.registry import discovery
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore
from vqbench.system import provenance

pytestmark = pytest.mark.integration

LONGEST = 400  # characters of a message
MADE = {"seconds": 1.5, "date": "2026-01-31", "device": "x", "commit": None, "threads": 1, "parameters": 1}
LIMIT = 10  # seconds of computing that a process may take; importing torch is most of them
HANGING = 60.0  # seconds after which it hangs, on however busy a machine
ONE_IN = 20  # examples that are a process of their own

# Valid lines; what each command has of options is added from its own declaration.
LINES: tuple[tuple[str, ...], ...] = (
    ("run", "tiny.yaml", "--store", "runs", "--quiet"),
    ("run", "tiny.yaml", "--store", "runs", "--seeds", "1,2", "--epochs", "1", "--time-limit", "8m", "--devices", "1"),
    ("plan", "tiny.yaml", "--store", "runs"),
    ("plan", "tiny.yaml", "--store", "runs", "--cost", "--jobs", "2"),
    ("plan", "tiny.yaml", "--set", "quantizers.vq.beta=0.5", "--set", "seeds=[1]", "--json"),
    ("plan", "tiny.yaml", "--plugin", "mine.py", "--only", "vq", "--subset", "1100", "--test-images", "100"),
    ("status", "tiny.yaml", "--store", "runs", "--json"),
    ("table", "tiny.yaml", "--store", "runs", "--format", "csv", "-o", "table.csv"),
    ("table", "tiny.yaml", "--store", "runs", "--metrics", "usage", "--skip", "cvq"),
    ("explain", "0123", "--store", "runs", "--metrics", "l1", "--test-images", "10", "--device", "cpu"),
    ("list", "quantizers", "--json"),
    ("info", "quantizer", "vq"),
    ("info", "protocol", "clean"),
    ("new", "quantizer", "my_vq"),
    ("sample", "0123", "--store", "runs", "-n", "4", "-o", "samples.png"),
    ("report", "tiny.yaml", "--store", "runs", "-o", "page.html"),
    ("report", "tiny.yaml", "--store", "runs", "--index", "-o", "pages"),
    ("diff", "runs", "runs", "--json"),
    ("prepare", "tiny.yaml", "--store", "runs", "--offline"),
    ("doctor", "--json"),
    ("publish", "tiny.yaml", "--store", "runs", "--results", "published"),
    ("verify", "runs", "--json"),
    ("merge", "runs", "folder", "-o", "merged", "--json"),
    ("clean", "tiny.yaml", "--store", "runs", "--yes"),
)

MINE = '''
from vqbench.quantizers.vq import VQ


class Mine(VQ):
    """VQ under another name."""

    paper = "none"
'''

NUMBERS = ["-1", "0", "1", "2", "²", "٣", "1e3", "1.5", "nan", "inf", "-inf", "0x10", "9" * 30, "9" * 5000, "+1", "1_0"]
TEXTS = [
    *("", " ", "-", "--", "---", "x", "é" * 50, "\u202e", "\x1b[31m", "a\nb", "\t", "\r", "\0", "\ud800", "\udcff"),
    *("a" * 300, "a" * 5000, "a/" * 3000, "a:b", ":b", "a:", "=", "a=b", "seeds", "*", "?", "[", "{", "}", "%s", "{0}"),
    *("None", "true", "...", "vq", "cvq", "tiny", "quick", "l1", "all", "cpu", "cpu:1", "cuda", "cuda:99", "cuda:-1"),
    *("auto", "local", "ray", "slurm", "json", "text", "official", "tensorboard", "os.path:join", "os:nothing"),
    *("mem=1", "time=0s", "1h", "0s", "-1s", "1h1h", "99999999999h", "127.0.0.1:1", "1999-01-01", "9999-99-99", "HEAD"),
]
PATHS = ["folder", "missing/file", "tiny.yaml/x", "file", "empty", "fifo", "loop", "locked", "~nobody", "mine.py"]
DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/stdin", "/proc/self/mem"]
YAML = [
    *("seeds=[]", "seeds=[1, 1]", "seeds=[-1]", "seeds=1", "seeds.0=x", "quantizers.²=1", "quantizers.0=vq", "a.b.c=1"),
    *("quantizers=[vq]", "quantizers.vq.beta=-1", "quantizers.vq.beta=.nan", "quantizers=[{vq: {beta: [1, 2]}}]"),
    *("metrics=[l1, psnr]", "metrics=[rfid]", "metrics=[]", "table.layout=x", "codebook.dim=0", "codebook.dim=1e9"),
    *("train.clean.epochs=0", "train.clean.batch_size=0", "train.clean.learning_rate=-1", "train.clean.subset=-3"),
    *("name=../x", "name=" + "n" * 300, "title=[", "title={a: b}", "title=*a", "title=&a [*a]", "title=!!python/x 1"),
    *("datasets=[photos]", "datasets=[mnist, mnist]", "backbone=vit", "backbone={conv: {hidden: 0}}", "measure=[]"),
    *("title=" + "[" * 5000, "title=" + "t" * 5000, "reduced={epochs: 1}", "generate=diffusion", "train={}", "train=x"),
]
ODD = st.one_of(
    *(st.sampled_from(each) for each in (NUMBERS, TEXTS, PATHS, DEVICES, YAML)),
    st.text(st.characters(exclude_characters="/~"), max_size=12),
)


def options() -> dict[str, list[tuple[str, bool]]]:
    """Every command's options: one name of each, and whether it takes a value."""
    known: Any = typer.main.get_command(commands.app).commands  # type: ignore[attr-defined]
    return {
        name: [
            ("--help", False),
            *((each.opts[-1], not each.is_flag) for each in command.params if each.param_type_name == "option"),
        ]
        for name, command in known.items()
    }


@st.composite
def mutated(draw: st.DrawFn) -> list[str]:
    """One of LINES, changed at one place."""
    words = list(draw(st.sampled_from(LINES)))
    place = draw(st.integers(0, len(words) - 1))
    kind = draw(st.sampled_from(["value", "value", "option", "option", "option", "drop", "twice", "insert", "unknown"]))
    event(kind)
    if kind == "value":
        words[max(place, 1) if len(words) > 1 else 0] = draw(ODD)
    elif kind == "option":
        name, valued = draw(st.sampled_from(OPTIONS[words[0]]))
        words += [name, draw(ODD)] if valued else [name]
    elif kind == "drop":
        del words[place]
    elif kind == "twice":
        words.insert(place, words[place])
    elif kind == "insert":
        words.insert(place, draw(ODD))
    else:
        words.append("--" + draw(ODD))
    return words


OPTIONS = options()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a suite, a plugin, odd files, and a store in which one of two runs is done."""
    folder = tmp_path_factory.mktemp("typed")
    suite = write(folder, "vq, cvq")
    for name, text in {"mine.py": MINE, "file": "x", "empty": ""}.items():
        (folder / name).write_text(text)
    for name in ("folder", "locked"):
        (folder / name).mkdir()
    (folder / "locked").chmod(0)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo")
    store = ResultStore(folder / "runs")
    run = loading.load(suite, [store]).runs()[0]
    values = {metric: Value(0.5, 1, 1, 1000) for metric in ("l1", "psnr", "usage")}
    store.write(Record(run, {"clean": values}, {**MADE, "versions": provenance.versions()}))
    return folder


@pytest.fixture
def typed(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That directory as the working one; nothing is trained, fetched, or left of environment and registry."""
    monkeypatch.chdir(place)
    executor = SimpleNamespace(execute=lambda jobs: Summary())
    monkeypatch.setattr(suite_runner, "create_executor", lambda *_, **__: executor)
    monkeypatch.setattr(installation, "golden_results", list)
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    monkeypatch.setenv("VQBENCH_OFFLINE", "1")
    yield place
    registry.sources.cache_clear()


def carried_out(words: list[str]) -> tuple[int, str]:
    """Exit code and stderr of a command line in this process."""
    discovery._files.clear()
    registry.sources.cache_clear()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as errors:
        code = app.run_words(words)
    return code, errors.getvalue()


def in_a_process(words: list[str]) -> tuple[int, str]:
    """The same of a process of its own, which has LIMIT seconds, and may wait for nothing."""
    code = f"import resource as r, vqbench.cli.app as c; r.setrlimit(r.RLIMIT_CPU, ({LIMIT}, {LIMIT})); c.main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=HANGING
    )
    return done.returncode, done.stderr.decode(errors="replace")


def assert_clear(code: int, errors: str) -> None:
    """The exit code is one of three, and a failure is one sentence of bearable length."""
    assert code in (0, 1, 2), errors
    assert "fault of vqbench" not in errors
    assert "Traceback" not in errors
    event(f"exit code {code}")
    if code:
        last = errors.rstrip("\n").rpartition("\nvqbench: ")[2].removeprefix("vqbench: ")
        assert len(last) > 10, errors
        assert len(last.splitlines()) == 1, errors
        assert len(last) <= LONGEST, errors


def can_be_typed(words: list[str]) -> bool:
    """Whether a system passes these words to a process."""
    try:
        return all(len(os.fsencode(word)) < 100_000 and "\0" not in word for word in words)
    except UnicodeEncodeError:
        return False


@pytest.mark.usefixtures("typed")
@examples()
@given(words=mutated())
def test_no_command_line_is_worse_than_wrong(words: list[str]) -> None:
    """Every command, with one odd word, value or option, ends with a defined code and says why in one sentence."""
    assert_clear(*carried_out(words))


@pytest.mark.usefixtures("typed")
@examples(one_in=ONE_IN)
@given(words=mutated().filter(lambda words: words[:1] not in (["run"], ["doctor"]) and can_be_typed(words)))
def test_no_command_hangs(words: list[str]) -> None:
    """The same with whole processes, which end in time."""
    assert_clear(*in_a_process(words))


@st.composite
def mutated_suite(draw: st.DrawFn) -> bytes:
    """A valid suite, changed at one place: a value, a key, a line or a byte."""
    text = SUITE
    lines = text.splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    key, colon, _ = lines[number].partition(":")
    kind = draw(st.sampled_from(["value", "value", "value", "key", "drop", "twice", "indent", "byte", "cut"]))
    if kind == "value":
        lines[number] = f"{key}{colon} {draw(ODD | VALUES)}"
    elif kind == "key":
        lines[number] = f"{draw(ODD)}: 1"
    elif kind == "drop":
        del lines[number]
    elif kind == "twice":
        lines.insert(number, lines[number])
    elif kind == "indent":
        lines[number] = draw(st.sampled_from([" ", "\t", "- ", "? "])) + lines[number]
    raw = "\n".join(lines).encode(errors="surrogatepass")
    if kind == "byte":
        at = draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + draw(st.binary(min_size=1, max_size=2)) + raw[at + 1 :]
    elif kind == "cut":
        raw = raw[: draw(st.integers(0, len(raw)))]
    return raw


VALUES = st.sampled_from(
    [
        *("[]", "{}", "[[]]", "[1, 2]", "{a: 1}", "[{vq: {}}]", "[{vq: {beta: []}}]", "{clean: {epochs: -1}}"),
        *(
            "[vq, vq]",
            "{clean: {}}",
            "{clean: []}",
            "[clean, official]",
            "[photos]",
            "[{photos: {folder: missing}}]",
            "{conv: 1}",
        ),
        *("{num_codes: 0}", "{num_codes: 1e99}", "{num_codes: [1, 2], dim: [1, 2]}", "{vit: {}}", "[lpips, rfid]"),
        *("{columns: []}", "{group: vq}", "{layout: side_by_side}", "{columns: [l1, l1]}", "[l1, l1]", "&a [*a]"),
    ]
)
SUITE = """\
name: mutated
title: A suite to be changed
train: {clean: {epochs: 2, batch_size: 64, learning_rate: 1e-3}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 64, dim: 16}
quantizers:
  - {vq: {beta: [0.25, 1]}, label: one}
  - {cvq: {anchor: closest}, label: two}
seeds: [1, 2]
metrics: [l1, psnr, usage]
table: {layout: rows, columns: [l1, psnr, usage, seconds]}
test_images: 100
reduced: {epochs: 1}
"""


def plan_of(raw: bytes) -> list[str]:
    Path("mutated.yaml").write_bytes(raw)
    return ["plan", "mutated.yaml", "--store", "other"]


@pytest.mark.usefixtures("typed")
def test_the_unchanged_lines_and_suite_are_valid() -> None:
    """What is mutated is right, so that each refusal is of the mutation; the two that name an unknown run are not."""
    for words in (*map(list, LINES), plan_of(SUITE.encode())):
        code, errors = carried_out(words)
        assert code == (2 if "0123" in words else 0), errors
        Path("my_vq.py").unlink(missing_ok=True)


@pytest.mark.usefixtures("typed")
@examples()
@given(raw=mutated_suite())
def test_no_suite_is_worse_than_wrong(raw: bytes) -> None:
    """`plan` of a suite with one odd value, key, line or byte ends with a defined code and one sentence."""
    assert_clear(*carried_out(plan_of(raw)))


@pytest.mark.usefixtures("typed")
@examples(one_in=2 * ONE_IN)
@given(raw=mutated_suite())
def test_no_suite_hangs(raw: bytes) -> None:
    """The same with whole processes."""
    assert_clear(*in_a_process(plan_of(raw)))
