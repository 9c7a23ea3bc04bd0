"""What commands print and write: hostile texts are harmless, every encoding will do, and no print can fail."""

from __future__ import annotations

import csv
import doctest
import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from PIL import Image
from rich.console import Console

from tests.support.tiny_suite import vqbench, write
from vqbench.errors import StoreError
from vqbench.execution.progress import LiveProgress, PlainProgress, run_progress
from vqbench.planning import loading, plan_file
from vqbench.reporting.tables.formats import latex_text
from vqbench.spec import Job
from vqbench.store.record import Failure, Record, Value
from vqbench.store.results import ResultStore
from vqbench.system import console, jsontext

ROOT = Path(__file__).parents[2]
# A clearing of the screen, a window's title (OSC), the reversal of text, a C1 control, and a byte that is not UTF-8.
HOSTILE = "\x1b[2Jx\x1b]0;title\x07y\u202ez\x9b31m\udce9"
SHOWN = r"\x1b[2Jx\x1b]0;title\x07y\u202ez\x9b31m\xe9"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def stored(folder: Path, label: str, reason: str = "", device: str = "cpu", psnr: float = 20.0) -> tuple[Path, Path]:
    """A suite of two rows, one of them called ``label``, and a store in which that has values and vq failed."""
    suite = write(folder, "identity, vq")
    suite.write_text(suite.read_text().replace("identity, vq", f"{{identity: {{}}, label: {json.dumps(label)}}}, vq"))
    store = ResultStore(folder / "runs")
    plan = loading.load(suite, [store])
    plan_file.save(plan, store)
    identity, vq = plan.runs()
    made = {
        "seconds": 1.0,
        "device": device,
        "threads": 1,
        "versions": {"torch": device},
        "date": "2026-01-01",
        "commit": device,
        "measured": [],
    }
    wanted = plan.wanted(identity)["clean"]
    values = {name: Value(psnr if name == "psnr" else 0.5, *versions, 1000) for name, versions in wanted.items()}
    store.write(Record(identity, {"clean": values}, made))
    store.fail(vq, Failure(reason or "why not", ["log"]))
    return suite, store.root


# Hostile texts --------------------------------------------------------------------------------------------------------


def test_controls_become_their_codes() -> None:
    """Escape sequences, direction marks and bytes that are not UTF-8 are shown; words of all scripts stay."""
    assert console.visible(HOSTILE) == SHOWN
    fine = "naïve Ωμέγα 中文 עברית ‌हिन्दी 👩‍🔬 ↑\tx\n"
    assert console.visible(fine) == fine


@pytest.mark.parametrize(
    "words",
    [
        *[("table", "--format", form) for form in ("text", "markdown", "csv", "latex", "json")],
        ("status",),
        ("status", "--json"),
        ("report", "-o", "page.html"),
        ("report", "--format", "json"),
        ("table", "-o", "table.txt"),
        ("run", "--jobs", "0"),
    ],
    ids=" ".join,
)
def test_no_command_passes_on_a_control_character(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reasons and names of devices and versions full of them leave none in stdout, stderr or a written file."""
    suite, store = stored(tmp_path, "row", reason=HOSTILE, device=HOSTILE)
    monkeypatch.chdir(tmp_path)
    command, *options = words
    assert vqbench(command, suite, "--store", store, *options) in (0, 1)
    shown = capsys.readouterr()
    files = [path.read_text(encoding="utf-8") for path in (*tmp_path.glob("*.txt"), *tmp_path.glob("*.html"))]
    for text in (shown.out, shown.err, *files):
        assert FORBIDDEN.findall(text) == []
    assert "fault of vqbench" not in shown.err
    assert r"\x1b" in "".join([shown.out.replace("textbackslash{}", ""), *files]), "it is shown, not dropped"


def test_an_error_is_one_line_without_controls(capsys: pytest.CaptureFixture[str]) -> None:
    """An argument that holds a line break and an escape sequence cannot forge a message of its own."""
    assert vqbench("run", "x\x1b[31m\nvqbench: all is well") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not FORBIDDEN.search(said)


def test_markup_of_a_label_is_text_in_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Markdown parser reads the label back as it was: no link, formula, code, emphasis or cell of its own."""
    label = "[a](http://b) $x$ `c` *d* _e_ ~~f~~ g|h <i>j</i> ![k](l) &amp; \\| m"
    suite, store = stored(tmp_path, label, reason="# no [heading](x)")
    assert vqbench("table", suite, "--store", store, "--format", "markdown") == 0
    tokens = MarkdownIt("commonmark").enable("table").parse(capsys.readouterr().out)
    inline = [token for token in tokens if token.type == "inline"]
    [cell] = [token for token in inline if "http" in token.content]
    assert {child.type for child in cell.children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in cell.children or []) == label
    assert "$" not in re.sub(r"\\\$", "", cell.content)
    rows = " ".join(token.type for token in tokens if token.type in ("tr_open", "td_open")).split("tr_open")
    assert len({row.count("td_open") for row in rows if row.strip()}) == 1


def test_code_in_the_markdown_of_a_profile_is_one_cell() -> None:
    """Backticks, bars and line breaks of a label or an error end neither the code nor the cell."""
    from vqbench.profiling import profile_tables

    for words, content in (("vq(beta=1)", "vq(beta=1)"), ("a|b ``c`\nd", "a|b ``c` d"), ("`x`", "`x`")):
        table = f"| {profile_tables._code(words, 'markdown')} | 1 |\n|---|---|\n"
        tokens = MarkdownIt("commonmark").enable("table").parse(table)
        cells = [token for token in tokens if token.type == "inline"]
        assert [child.content for child in cells[0].children or [] if child.type == "code_inline"] == [content]
        assert len(cells) == 2
    assert profile_tables._code("`x` |", "text") == "`x` |"


def test_a_line_of_markdown_begins_no_heading_or_list() -> None:
    """Words of a caption or footnote that begin like a heading, a list or an underline stay words."""
    from vqbench.reporting.tables.formats.markdown import line_start

    for line in ("# a", "- a", "+ a", "1. a", "2) a", "=== a"):
        tokens = MarkdownIt("commonmark").parse(line_start(line))
        assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"], line


@pytest.mark.parametrize("label", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "＝1+1", "-x"])
def test_a_formula_in_csv_is_text_and_numbers_are_numbers(
    label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A spreadsheet would not compute the label; values, also negative and infinite ones, are left alone."""
    suite, store = stored(tmp_path, label, reason=label, psnr=float("-inf"))
    assert vqbench("table", suite, "--store", store, "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["row"] for row in rows} == {f"'{label}", "vq"}
    assert {row["reason"] for row in rows} == {f"'{label}", ""}
    assert [row["value"] for row in rows if row["metric"] == "psnr" and row["value"]] == ["-inf"]


def test_numbers_in_csv_are_not_taken_for_formulas() -> None:
    from vqbench.reporting.tables.formats.csv_text import harmless

    assert [harmless(text) for text in ("-0.5", "+1e-3", "-inf", "-.5")] == ["-0.5", "+1e-3", "-inf", "-.5"]
    assert harmless("-1-1") == "'-1-1"


def test_latex_names_the_engine_that_its_characters_need() -> None:
    """Specials are escaped; what no pdflatex has is named in the first line, with the engine that has it."""
    assert latex_text.escape(r"\{}&%$#_~^") == (r"\textbackslash{}\{\}\&\%\$\#\_\textasciitilde{}\textasciicircum{}")
    assert latex_text.escape("α→∞ ²,,--é") == r"$\alpha$$\rightarrow$$\infty$ \textsuperscript{2},{},-{}-é"
    assert "T1" in latex_text.needs(latex_text.escape("naïve α ≤ ² …"))
    assert "lualatex" in latex_text.needs("中")
    assert latex_text.needs("中").endswith("中")


def test_a_label_is_no_markup_of_the_page(tmp_path: Path) -> None:
    """Neither tags nor quotes of a label, a reason or a device get into the page's own markup."""
    evil = '</title><script>alert(1)</script>" onload=\'x\' --><svg style="a">{{ 7*7 }}'
    suite, store = stored(tmp_path, evil, reason=evil, device=evil)
    assert vqbench("report", suite, "--store", store, "-o", tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<script") == 2  # its data and its code
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)  # data are text, in which no tag can begin
    assert "onload='x'" not in markup
    assert "49" not in re.findall(r"alert\(1\).{0,120}", markup)[0]


# Encodings ------------------------------------------------------------------------------------------------------------

PRINTING = [
    ("table", "quick"),
    ("table", "quick", "--paper", "--format", "markdown"),
    ("table", "small_datasets", "--format", "latex"),
    ("plan", "quick"),
    ("status", "quick"),
    ("list", "quantizers"),
    ("info", "quantizer", "cvq"),
    ("info", "metric", "rfid"),
    ("info", "suite", "modern"),
    ("report", "quick", "--format", "json"),
    ("diff", "results", "results"),
    ("profile", "--help"),
]


class Terminal(io.TextIOWrapper):
    """A stream of one encoding that refuses all other characters, as Python's are."""

    def __init__(self, encoding: str, tty: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty

    @property
    def text(self) -> str:
        raw: Any = self.buffer
        return raw.getvalue().decode(self.encoding)


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("latin-1", each) for each in PRINTING] + [("ascii", each) for each in PRINTING[:3]],
    ids=str,
)
def test_commands_print_in_every_encoding(
    words: tuple[str, ...], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrows, Greek letters and dashes are replaced where the encoding lacks them; no command fails for them."""
    out, err = Terminal(encoding), Terminal(encoding)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    code = vqbench(*words)
    assert code == 0
    assert all(line.startswith(("vqbench: results has runs of", "  vqbench table")) for line in err.text.splitlines())
    assert len(out.text) > 10


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_run_prints_its_table_and_failures_in_every_encoding(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run ends with its table, not with a fault, where stdout has no arrows."""
    suite, store = stored(tmp_path, "α 中", reason="x → y")
    plan = loading.load(suite, [])
    (ResultStore(store).folder(plan.runs()[1]) / "failed.json").unlink()
    out, err = Terminal(encoding), Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert vqbench("run", suite, "--store", store, "--only", "identity") == 0
    assert "PSNR [dB] ^" in out.text
    assert r"\u4e2d" in out.text


def test_a_process_whose_output_is_latin_1(tmp_path: Path) -> None:
    """The whole command under PYTHONIOENCODING=latin-1; what -o writes is UTF-8 all the same."""
    words = [sys.executable, "-m", "vqbench", "table", "quick"]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1", "COLUMNS": "200"}
    shown = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert b"l1 v" in shown.stdout
    subprocess.run([*words, "-o", tmp_path / "t.txt"], cwd=ROOT, env=environment, check=True)
    assert "l1 ↓" in (tmp_path / "t.txt").read_text(encoding="utf-8")


def test_examples_in_docstrings_hold() -> None:
    """What the examples print is what the functions give."""
    results = [doctest.testmod(module) for module in (console, jsontext, latex_text)]
    assert [(result.failed, result.attempted > 0) for result in results] == [(0, True)] * 3


def test_substitutes_keep_columns() -> None:
    """An arrow or a minus sign gives way to one character; what has no likeness, to its code."""
    assert console.encodable("a ↑ − – × ± 中", "latin-1") == "a ^ - - × ± \\u4e2d"
    assert console.encodable("× ±", "ascii") == "x +-"


PHOTOS = """
name: odd
train: {clean: {epochs: 1, batch_size: 4}}
measure: [clean]
datasets: [{photos: {size: 16, folder: images, damaged: skip}}]
codebook: {num_codes: 16, dim: 16}
quantizers: [vq]
metrics: [l1]
"""


def test_file_names_that_are_not_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged image and a folder with such names stop no command; both are shown by the codes of their bytes."""
    home = Path(os.fsdecode(os.fsencode(tmp_path) + b"/stra\xdfe"))
    for split, count in (("train", 12), ("test", 4)):
        try:
            (home / "images" / split).mkdir(parents=True)
        except OSError:
            pytest.skip("this file system takes names in UTF-8 alone")
        for i in range(count):
            Image.new("RGB", (16, 16), (20 * i, 0, 0)).save(home / "images" / split / f"{i}.png")
    (home / "images" / "train" / os.fsdecode(b"kaputt\xe9.png")).write_bytes(b"no image")
    (home / "odd.yaml").write_text(PHOTOS)
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(home)
    store = ResultStore(home / "runs")
    plan = loading.load("odd.yaml", [store])
    made = {"seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}, "date": "2026-01-01"}
    for run in plan.runs():
        values = {"l1": Value(0.5, *plan.wanted(run)["clean"]["l1"], 4)}
        store.write(Record(run, {"clean": values}, {**made, "commit": "", "measured": []}))
    names = [os.fsdecode(b"out\xe9." + kind) for kind in (b"txt", b"html", b"json")]
    assert vqbench("table", "odd.yaml", "-o", names[0]) == 0
    assert vqbench("report", "odd.yaml", "-o", names[1]) == 0
    assert vqbench("report", "odd.yaml", "--format", "json", "-o", names[2]) == 0
    assert vqbench("status", "odd.yaml", "--store", home / "runs") == 0
    for name in names[:2]:
        assert r"kaputt\xe9.png" in " ".join((home / name).read_text(encoding="utf-8").split())
    assert json.loads((home / names[2]).read_text(encoding="utf-8"))
    assert r"out\xe9.html: " in capsys.readouterr().err


# Streams that fail ----------------------------------------------------------------------------------------------------


class Broken(io.StringIO):
    """A stream whose other end fails."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error")])
def test_messages_that_nobody_reads_stop_no_work(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """`vqbench run 2>&1 | head` and a terminal that is gone cost messages, not the runs."""
    monkeypatch.setattr(sys, "stderr", Broken(error))
    with console.guarded(), PlainProgress([]) as lines:
        lines.log("still at work")


def test_a_full_disk_is_said_and_a_closed_pipe_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results that cannot be written end with exit code 1 and a sentence; `vqbench table | head` is no error."""
    for error, code in ((OSError(28, "No space left on device"), 1), (BrokenPipeError(32, "Broken pipe"), 0)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Broken(error))
            assert vqbench("list", "protocols") == code
    assert capsys.readouterr().err == "vqbench: standard output: cannot be written (No space left on device)\n"


def test_a_swallowed_error_of_stdout_is_raised_at_the_end() -> None:
    """A failed write may be caught where it happens; the command still reports it, once."""
    stream = console.Stream(Broken(OSError(28, "full")), results=True)
    with pytest.raises(StoreError, match="full"):
        stream.write("x")
    with pytest.raises(StoreError, match="full"):
        stream.flush()
    stream.flush()


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    """The process itself: no message at its end, and exit code 0."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "vqbench", "list", "suites"]
    done = subprocess.run(words, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


# Terminals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", ["dumb", "unknown", "DUMB"])
def test_a_terminal_without_a_cursor_gets_lines(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bars cannot be drawn, rich would show nothing until the end; so plain lines are shown."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", Terminal("utf-8", tty=True))
    assert type(run_progress([])) is PlainProgress


@pytest.mark.parametrize(("columns", "encoding"), [("0", "utf-8"), ("1", "utf-8"), ("80", "latin-1"), ("80", "ascii")])
def test_bars_pass_on_no_control_of_strangers(
    columns: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars draw with their own sequences, at every width and in every encoding; texts of others are neutralised."""
    plan = loading.load(write(tmp_path, "vq"), [])
    terminal = Terminal(encoding, tty=True)
    for name, value in {"TERM": "xterm", "COLUMNS": columns, "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", Terminal(encoding))
    with console.guarded(), run_progress([Job(plan.runs()[0], {})]) as live:
        assert isinstance(live, LiveProgress)
        live.run_started(plan.runs()[0], f"[red]training[/nothing] ↑ {HOSTILE}")
        live.log(HOSTILE)
        print(HOSTILE, file=sys.stderr)
        live.run_ended(plan.runs()[0], HOSTILE)
    assert "\x1b]" not in terminal.text
    assert "\u202e" not in terminal.text
    assert "\x1b[2J" not in terminal.text
    assert not re.search("\x1b\\[[0-9;]*3[0-7]m", terminal.text), "NO_COLOR"


def test_brackets_of_a_name_are_no_markup(tmp_path: Path) -> None:
    """A bar shows its row and what it does, brackets included."""
    plan = loading.load(write(tmp_path, "vq"), [])
    drawn = io.StringIO()
    with LiveProgress([Job(plan.runs()[0], {})], Console(file=drawn, force_terminal=True, width=200)) as live:
        live.run_started(plan.runs()[0], "training [beta] [/x]")
        live._bars.refresh()
    assert "training [beta] [/x]" in drawn.getvalue()


# JSON -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("table", "--json"), ("report", "--format", "json")], ids=" ".join)
def test_infinite_values_have_a_form_in_json(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A PSNR of perfect images is the word "inf", as in the record; JSON that only Python reads is never printed."""
    suite, store = stored(tmp_path, "perfect", psnr=float("inf"))
    command, *options = words
    assert vqbench(command, suite, "--store", store, *options) == 0

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(text := capsys.readouterr().out, parse_constant=refuse)
    assert found
    assert '"inf"' in text


def test_json_of_numbers_and_names() -> None:
    """Not-finite numbers are words, missing ones null, and every name is text that every parser reads."""
    data = {"a": [float("inf"), float("-inf"), float("nan"), None, 1.5, True], "n\udce9": "\x7f\u202e"}
    text = jsontext.dumps(data)
    assert text.isascii()
    assert json.loads(text) == {"a": ["inf", "-inf", "nan", None, 1.5, True], "n\\xe9": "\\x7f\\u202e"}


def test_printing_has_one_door() -> None:
    """No command prints JSON or bytes past the two helpers: a new one would miss what they take care of."""
    sources = [path for path in (ROOT / "vqbench").rglob("*.py") if not path.name.endswith("worker.py")]
    past = re.compile(r"print\(json\.dumps|typer\.echo|click\.echo|sys\.std(?:out|err)\.buffer|Console\(stderr")
    assert [path.name for path in sources if past.search(path.read_text(encoding="utf-8"))] == []


def test_threads_may_print_while_streams_are_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that a thread keeps from inside the block still writes after it."""
    out = Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    with console.guarded():
        kept = sys.stdout
    worker = threading.Thread(target=lambda: print("↑", file=kept))
    worker.start()
    worker.join()
    assert out.text == "^\n"
