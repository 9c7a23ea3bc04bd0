"""Suites from Python: what the commands do, as objects and DataFrames."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import vqbench
from tests.support.simulated_suite import simulated_suite
from tests.support.tiny_suite import vqbench as command
from tests.support.tiny_suite import write
from vqbench.errors import RunError, UsageError
from vqbench.planning import loading
from vqbench.planning.overrides import Override
from vqbench.store.results import ResultStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, vqbench.Suite, vqbench.SuiteResult]:
    """Two rows and two seeds, trained by one call."""
    folder = tmp_path_factory.mktemp("trained")
    suite = vqbench.load_suite(write(folder, "vq, cvq"), seeds=[1, 2], subset=640, test_images=100)
    return folder, suite, vqbench.run(suite, store=folder / "runs")


# Suites ---------------------------------------------------------------------------------------------------------------


def test_a_suite_is_the_same_by_name_path_and_mapping(tmp_path: Path) -> None:
    """A file and its content as a mapping, also with tuples and numbers of numpy, give the same runs."""
    path = write(tmp_path, "vq, {cvq: {decay: [0.9, 0.99]}}")
    content = yaml.safe_load(path.read_text())
    content["train"]["clean"]["learning_rate"] = np.float64(1e-3)
    content["quantizers"] = tuple(content["quantizers"])
    suites = [vqbench.load_suite(each) for each in (path, str(path), content)]
    keys = [[run.run.key for run in suite.runs] for suite in suites]
    assert len(keys[0]) == 3
    assert keys[0] == keys[1] == keys[2]
    assert [row.label for row in suites[2].rows] == ["vq", "cvq (decay=0.9)", "cvq (decay=0.99)"]
    assert (suites[2].name, suites[2].metrics, suites[2].seeds) == ("tiny", ["l1", "psnr", "usage"], [42])
    assert repr(suites[2]) == "<Suite tiny: 3 rows, 1 data set, 1 seed, 3 metrics>"


def test_arguments_do_what_the_options_do(tmp_path: Path) -> None:
    """Rows, seeds, metrics, values and sizes give the plan that the command line gives."""
    path = write(tmp_path, "vq, cvq, sqvae")
    suite = vqbench.load_suite(
        path,
        only=["vq", "cvq"],
        skip="cvq",
        seeds=range(2),
        metrics="ssim",
        set={"codebook.num_codes": 32},
        epochs=2,
        subset=640,
        test_images=100,
    )
    plan = loading.load(
        path,
        [],
        [Override("codebook.num_codes", 32), Override("seeds", [0, 1]), Override("quantizers", ["vq"])],
        ["ssim"],
        {"epochs": 2, "subset": 640},
        100,
    )
    assert [run.run.key for run in suite.runs] == [run.key for run in plan.runs()]
    assert suite.metrics == ["l1", "psnr", "usage", "ssim"]


def test_an_unknown_metric_is_blamed_on_the_argument() -> None:
    """From Python an error names the argument, not the option of the command line."""
    with pytest.raises(UsageError, match=r"^metrics=nosuch: .*unknown metric 'nosuch'"):
        assert vqbench.load_suite("quick", metrics=["nosuch"]).runs


def test_a_suite_is_written_as_a_file_of_the_same_runs(tmp_path: Path) -> None:
    """The text of a changed suite, in a file, plans the same runs on the command line."""
    suite = vqbench.load_suite(write(tmp_path, "vq, cvq"), seeds=[3], set={"quantizers.cvq.decay": 0.9})
    (tmp_path / "mine.yaml").write_text(suite.to_yaml())
    assert vqbench.load_suite(tmp_path / "mine.yaml").runs == suite.runs


def test_plugins_get_a_row_in_their_suite_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's quantizer is a row of the suite that names the file, not of the next suite in the same process."""
    monkeypatch.chdir(tmp_path)
    assert command("new", "quantizer", "other_vq") == 0
    path = write(tmp_path, "vq, cvq")
    suite = vqbench.load_suite(path, plugins="other_vq.py")
    assert [row.label for row in suite.rows] == ["vq", "cvq", "other_vq"]
    assert suite.plugins == (tmp_path / "other_vq.py",)
    assert [row.label for row in vqbench.load_suite(path, only="vq").rows] == ["vq"]
    before = suite.runs[-1].run.key
    text = Path("other_vq.py").read_text()
    Path("other_vq.py").write_text(text + "\nLATER = 1\n")
    assert suite.resolve([]).entries[-1].run.key != before  # an edit counts at the next use


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs=0: give a whole number, at least 1"),
        ({"test_images": 1}, "test_images=1: give a whole number, at least 2"),
        ({"set": {"": 1}}, "a path is keys joined by dots"),
        ({"set": {"codebok.num_codes": 1}}, "did you mean 'codebook'"),
        ({"set": {"seeds": [True]}}, r"seeds=\[True\]: seeds.0"),
        ({"seeds": [-1]}, r"seeds=\[-1\]"),
        ({"only": "nothing"}, "no row has the label or quantizer 'nothing'"),
        ({"plugins": "absent.py"}, "no such Python file"),
    ],
)
def test_wrong_changes_are_one_sentence(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    """Each wrong change names itself and what would be right."""
    with pytest.raises(UsageError, match=message):
        vqbench.load_suite(write(tmp_path, "vq"), **arguments)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("quik", "did you mean 'quick'"),
        (3, "a suite is a name, a path or a mapping, not of type int"),
        ({"name": "mine"}, "suite: train is missing; add it"),
        ({"name": "mine", "trian": "clean"}, "suite: trian: unknown key; did you mean 'train'"),
    ],
)
def test_wrong_suites_are_one_sentence(suite: object, message: str) -> None:
    """A wrong name, type or key says what is wrong and where."""
    with pytest.raises(UsageError, match=message):
        vqbench.load_suite(suite)  # type: ignore[arg-type]  # wrong on purpose


def test_sizes_that_cannot_be_trained_are_named_as_they_were_given(tmp_path: Path) -> None:
    """A size that leaves nothing to train on is named as an argument, and as an option by the command line."""
    path = write(tmp_path, "vq")
    with pytest.raises(UsageError, match=r"^subset=320: reduced.subset: on Fashion-MNIST 5k: subset 320 leaves none"):
        vqbench.plan(vqbench.load_suite(path, subset=320))
    with pytest.raises(UsageError, match=r"^--subset: reduced.subset: on Fashion-MNIST 5k: subset 320 leaves none"):
        loading.load(path, [], reduced={"subset": 320})


# Plans ----------------------------------------------------------------------------------------------------------------


def test_a_plan_has_one_row_per_run(trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult], tmp_path: Path) -> None:
    """The plan lists keys, labels and states as ``vqbench plan --json`` does, before and after the runs."""
    folder, suite, result = trained
    before, after = vqbench.plan(suite, store=tmp_path / "none"), vqbench.plan(suite, store=folder / "runs")
    assert list(before.state) == ["to do"] * 4
    assert before.seconds.isna().all()
    assert list(after.state) == ["done"] * 4
    assert list(after.key) == [run.run.key for run in suite.runs] == result.done
    assert list(after.label) == ["vq", "vq", "cvq", "cvq"]
    assert list(after.updates) == [3] * 4
    assert after.seconds.gt(0).all()
    assert json.loads(after.arguments[0])["beta"] == 0.25
    assert not (tmp_path / "none").exists()


# Runs -----------------------------------------------------------------------------------------------------------------


def test_a_run_says_what_is_done(trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult]) -> None:
    """All runs are done, nothing failed or is left, and the same call has nothing to do."""
    folder, suite, result = trained
    assert (len(result.done), result.failed, result.left, result.time_up) == (4, {}, {}, False)
    assert str(result) == f"tiny_reduced in {folder / 'runs'}: 4 done, 0 failed, 0 left"
    result.require_done()
    reports: list[vqbench.RunProgress] = []
    again = vqbench.run(suite, store=folder / "runs", on_progress=reports.append)
    assert (again.done, reports) == (result.done, [])


def test_values_are_those_of_the_command(
    trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult], capsys: pytest.CaptureFixture[str]
) -> None:
    """The DataFrame has the numbers of ``vqbench table --json`` in its rows and columns."""
    folder, suite, result = trained
    (folder / "mine.yaml").write_text(suite.to_yaml())
    assert command("table", folder / "mine.yaml", "--store", folder / "runs", "--json") == 0
    (printed,) = json.loads(capsys.readouterr().out)
    frame = result.table()
    assert frame.index.names == ["dataset", "row"]
    assert list(frame.columns) == ["l1", "psnr", "usage", "seconds"]
    assert len(printed["cells"]) == frame.size
    for cell in printed["cells"]:
        assert frame.loc[(cell["dataset"], cell["row"]), cell["metric"]] == pytest.approx(np.mean(cell["values"]))
    assert frame.attrs["protocol"] == "clean@100"
    assert vqbench.table(suite, store=folder / "runs", protocol="clean").equals(frame)
    with pytest.raises(UsageError, match="is not evaluated by 'official'; known: clean"):
        vqbench.table(suite, store=folder / "runs", protocol="official")


def test_progress_reaches_a_function_and_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every activity of a run is reported with its updates, stderr stays empty, and an error in the function is kept
    from the run."""
    reports: list[vqbench.RunProgress] = []

    def on_progress(report: vqbench.RunProgress) -> None:
        reports.append(report)
        if report.activity == "done":
            raise ZeroDivisionError("mine")

    suite = vqbench.load_suite(write(tmp_path, "vq"), subset=640, test_images=100)
    with pytest.warns(UserWarning, match="on_progress failed and is not called again: ZeroDivisionError: mine"):
        result = vqbench.run(suite, store=tmp_path / "runs", on_progress=on_progress, jobs=0)
    assert len(result.done) == 1
    assert capfd.readouterr() == ("", "")
    assert [each.done for each in reports if each.activity == "training"] == [0, 1, 2, 3]
    assert (reports[-1].activity, reports[-1].ended, reports[-1].runs) == ("done", 1, 1)
    assert {(each.key, each.label) for each in reports} == {(result.done[0], "vq")}


@pytest.mark.integration
def test_a_failed_run_is_part_of_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that raises fails its own run with the reason; the other is done, and ``require_done`` raises."""
    monkeypatch.chdir(tmp_path)
    assert command("new", "quantizer", "broken_vq") == 0
    text = Path("broken_vq.py").read_text()
    head, forward, body = text.partition("    def forward(self")
    line, rest = body.split("\n", 1)
    Path("broken_vq.py").write_text(f"{head}{forward}{line}\n        raise ArithmeticError('planted')\n{rest}")
    suite = vqbench.load_suite(write(tmp_path, "vq"), subset=640, test_images=100, plugins="broken_vq.py")
    result = vqbench.run(suite)
    assert len(result.done) == 1
    (reason,) = result.failed.values()
    assert "planted" in reason
    assert "1 done, 1 failed, 0 left\n  broken_vq on fashion_mnist_5k, seed 42" in str(result)
    with pytest.raises(RunError, match="planted"):
        result.require_done()
    assert result.table().psnr.isna().tolist() == [False, True]


@pytest.mark.integration
def test_a_time_limit_leaves_runs_and_the_same_call_resumes(tmp_path: Path) -> None:
    """What a time limit leaves is listed by key with its state, and is done by the next call."""
    suite = vqbench.load_suite(write(tmp_path, "vq"), subset=640, test_images=100)
    result = vqbench.run(suite, store=tmp_path / "runs", time_limit=1e-6)
    assert (result.done, list(result.left.values()), result.time_up) == ([], ["not begun"], True)
    assert "0 done, 0 failed, 1 left (the time is up)" in str(result)
    assert len(vqbench.run(suite, store=tmp_path / "runs").done) == 1


def test_many_runs_that_are_left_are_counted(tmp_path: Path) -> None:
    """The text of a result lists ten runs that are not done, and counts the others."""
    suite = vqbench.load_suite(write(tmp_path, "vq"), seeds=range(12), subset=640, test_images=100)
    result = vqbench.run(suite, store=tmp_path / "runs", time_limit=1e-6)
    assert len(result.left) == 12
    assert len(str(result).splitlines()) == 1 + 10 + 1 + len(result.notes)
    assert "\n  and 2 more runs" in str(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"jobs": -1}, "jobs=-1: give a whole number, at least 0"),
        ({"jobs": 0, "timeout": 3}, "jobs=0 starts none"),
        ({"time_limit": "soon"}, "'soon' is no length of time"),
        ({"time_limit": -3}, "-3 is no length of time"),
        ({"time_limit": [1]}, r"time_limit=\[1\] is no length of time"),
        ({"timeout": True}, "timeout=True is no length of time"),
        ({"logger": print}, "logger=.*: give a name: tensorboard"),
        ({"device": None}, "unknown device None; known: auto"),
        ({"on_progress": 5}, "on_progress=5: give a function"),
        ({"store": None}, "store=None: give the folder"),
        ({"logger": "nothing"}, "nothing"),
        ({"device": "cuda:99", "jobs": 0}, "cuda:99"),
    ],
)
def test_wrong_arguments_of_a_run_are_one_sentence(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    """A wrong argument raises before anything is trained."""
    suite = vqbench.load_suite(write(tmp_path, "vq"), subset=640, test_images=100)
    with pytest.raises(UsageError, match=message):
        vqbench.run(suite, **{"store": tmp_path / "runs", **arguments})  # type: ignore[arg-type]  # wrong on purpose
    assert not list(tmp_path.glob("runs/*/record.json"))


@pytest.mark.parametrize("arguments", [{"device": "cuda:99"}, {"device": None}, {"on_progress": 5}, {"timeout": []}])
def test_arguments_are_checked_where_nothing_is_left_to_do(
    arguments: dict[str, object], trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult]
) -> None:
    """A wrong argument raises also if every run is done."""
    folder, suite, _ = trained
    with pytest.raises(UsageError):
        vqbench.run(suite, store=folder / "runs", **arguments)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"set": "a=1"}, "set='a=1': give a mapping, such as"),
        ({"only": None}, "only=None: give a text, or several"),
        ({"skip": [3]}, r"skip=\[3\]: give a text, or several as a list; 3 is none"),
        ({"plugins": 5}, "plugins=5: give a text"),
        ({"epochs": np.float64(2)}, "epochs=.*: give a whole number"),
        ({"seeds": "a"}, "seeds"),
        ({"seeds": np.array([0.5])}, "seeds"),
    ],
)
def test_wrong_changes_of_a_suite_are_one_sentence(arguments: dict[str, object], message: str) -> None:
    """An argument of another type is named with its value and what to give."""
    with pytest.raises(UsageError, match=message):
        vqbench.load_suite("quick", **arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_numbers_of_numpy_are_plain_numbers() -> None:
    """Seeds, sizes and values of numpy give the suite that plain numbers give."""
    plain = vqbench.load_suite("quick", seeds=[0, 1, 2], epochs=2, test_images=100, set={"codebook.num_codes": 64})
    numpy = vqbench.load_suite(
        "quick",
        seeds=np.arange(3),  # type: ignore[arg-type]  # arrays are sequences in all but name
        epochs=np.int64(2),  # type: ignore[arg-type]  # numpy's integers are no int to mypy
        test_images=np.int32(100),  # type: ignore[arg-type]  # likewise
        set={"codebook.num_codes": np.uint8(64)},
    )
    assert numpy.to_yaml() == plain.to_yaml()
    assert vqbench.load_suite("quick", seeds=np.int64(3)).seeds == [3]  # type: ignore[arg-type]  # likewise


def test_results_under_other_settings_are_named(trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult]) -> None:
    """An empty frame comes with the warning that the empty table has."""
    folder, _, _ = trained
    with pytest.warns(UserWarning, match="has runs of .* under other settings"):
        assert vqbench.results(folder / "runs", suite=folder / "tiny.yaml").empty
    with pytest.warns(UserWarning, match="has runs of .* under other settings"):
        vqbench.table(folder / "tiny.yaml", store=folder / "runs", results=folder / "runs")


def test_a_protocol_has_one_name(trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult]) -> None:
    """Results, tables and records call the protocol of a reduced run alike, and a table is found by it."""
    folder, _, result = trained
    frame = result.table(protocol="clean@100")
    assert frame.equals(result.table(protocol="clean"))
    record = ResultStore(folder / "runs").find(result.done[0])
    assert {frame.attrs["protocol"]} == set(record.values) == set(result.results().protocol) == {"clean@100"}


@pytest.mark.integration
def test_an_interrupt_keeps_the_work_and_raises(tmp_path: Path) -> None:
    """Ctrl-C during a training raises KeyboardInterrupt; handlers are restored, and the same call resumes the run."""
    path = write(tmp_path, "vq", epochs=6)
    before = signal.getsignal(signal.SIGINT)

    def interrupt(report: vqbench.RunProgress) -> None:
        if report.activity == "training" and report.done > 20:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="finished work is kept"):
        vqbench.run(path, store=tmp_path / "runs", on_progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert list(vqbench.plan(path, store=tmp_path / "runs").state) == ["to do"]
    first: list[int] = []
    result = vqbench.run(path, store=tmp_path / "runs", on_progress=lambda report: first.append(report.done))
    assert len(result.done) == 1
    assert next(filter(None, first)) > 20  # it began where it was stopped


SCRIPT = """
import threading
import vqbench

suite = vqbench.load_suite({path!r}, subset=640, test_images=100)

def call():
    print(vqbench.run(suite, store={store!r}, jobs=2))

{how}
"""


@pytest.mark.integration
@pytest.mark.parametrize("how", ["call()", "thread = threading.Thread(target=call); thread.start(); thread.join()"])
def test_a_script_needs_no_main_guard(how: str, tmp_path: Path) -> None:
    """A script without ``if __name__ == "__main__"``, also in a thread, trains in processes of their own."""
    (tmp_path / "script.py").write_text(
        SCRIPT.format(path=str(write(tmp_path, "vq, cvq")), store=str(tmp_path / "runs"), how=how)
    )
    words = [sys.executable, tmp_path / "script.py"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout == f"tiny_reduced in {tmp_path / 'runs'}: 2 done, 0 failed, 0 left\n"
    assert done.stderr == ""


# Results --------------------------------------------------------------------------------------------------------------


def test_results_have_a_row_per_run_metric_and_protocol(
    trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult],
) -> None:
    """The tidy frame has every stored value once, typed, with what it takes to group and to trace it."""
    folder, _, result = trained
    frame = vqbench.results(folder / "runs")
    assert len(frame) == 4 * 3
    assert set(frame.label) == {""}  # without a suite
    assert not frame.external.any()
    assert set(frame.key) == set(result.done)
    record = ResultStore(folder / "runs").find(result.done[0])
    row = frame[(frame.key == result.done[0]) & (frame.metric == "psnr")].iloc[0]
    assert row.value == record.values["clean@100"]["psnr"].value
    assert (row.protocol, row.images, row.num_codes, row.seed) == ("clean@100", 100, 64, 1)
    assert (row.seconds, row.commit, row.parameters) == (
        record.made["seconds"],
        record.made["commit"],
        record.made["parameters"],
    )
    better = dict(zip(frame.metric, frame.higher_is_better, strict=True))
    assert better == {"l1": False, "psnr": True, "usage": True}
    assert frame.value.dtype == "float64"

    labelled = result.results()
    assert list(dict.fromkeys(labelled.label)) == ["vq", "cvq"]
    means = labelled.groupby(["dataset", "label", "metric"]).value.mean().unstack()
    table = result.table()
    for label in ("vq", "cvq"):
        assert means.loc[("fashion_mnist_5k", label), "psnr"] == pytest.approx(
            table.loc[("fashion_mnist_5k", label), "psnr"]
        )


def test_published_records_are_read() -> None:
    """The records in ``results/`` are one frame, of several data sets, and that of a suite has its rows' labels."""
    frame = vqbench.results(ROOT / "results")
    assert len(frame) > 300
    assert {"fashion_mnist_5k", "cifar10"} <= set(frame.dataset)
    assert frame.groupby(["key", "protocol", "images", "sampling", "metric"]).size().max() == 1
    assert frame[~frame.external].seconds.gt(0).all()
    quick = vqbench.results(ROOT / "results", suite="quick")
    assert list(dict.fromkeys(quick.label))[:3] == ["identity", "vq", "vq_ema"]
    assert quick[quick.metric == "psnr"].value.between(10, 60).all()


def test_second_stages_name_their_parent() -> None:
    """Values of samples have the key of the first stage in ``parent``, and their sampling."""
    frame = vqbench.results(ROOT / "results", suite="generate_quick")
    second = frame[frame.parent != ""]
    assert set(second.parent) <= set(frame[frame.parent == ""].key)
    assert second.sampling.str.startswith("n=").all()
    assert second.label.str.contains(" on ").all()


def test_missing_failed_and_inapplicable_values_are_empty(tmp_path: Path) -> None:
    """A table with failed and missing runs is NaN there; a metric that does not apply is NaN in the results."""
    simulated_suite(tmp_path)
    frame = vqbench.table(tmp_path / "page.yaml", store=tmp_path / "runs", results=tmp_path / "none")
    assert frame.shape == (12, 5)
    assert frame.xs("hvq", level="row").isna().all().all()
    assert frame.xs("vq_ema", level="row").notna().all().all()
    values = vqbench.results(tmp_path / "runs")
    assert values[(values.quantizer == "identity") & (values.metric == "usage")].value.isna().all()


def test_runs_under_other_settings_are_named(trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult]) -> None:
    """A table without a single run warns of the settings under which the store has runs of the suite."""
    folder, _, _ = trained
    with pytest.warns(UserWarning, match="has runs of .* under other settings:\n  vqbench table .* --subset 640"):
        frame = vqbench.table(folder / "tiny.yaml", store=folder / "runs")
    assert frame.isna().all().all()


def test_tables_by_a_setting_have_it_in_the_index() -> None:
    """A table that groups by an argument has a level for it."""
    frame = vqbench.table("codebook_size")
    assert "setting" in frame.index.names
    assert frame.index.is_unique


def test_damaged_records_are_warnings(trained: tuple[Path, vqbench.Suite, vqbench.SuiteResult], tmp_path: Path) -> None:
    """A record that cannot be read is left out with a warning that names it, and the others are returned."""
    folder, _, result = trained
    subprocess.run(["cp", "-r", folder / "runs", tmp_path / "runs"], check=True)
    path = next((tmp_path / "runs").glob(f"*{result.done[0]}")) / "record.json"
    path.write_text("{}")
    with pytest.warns(UserWarning, match="not a record of vqbench") as caught:
        frame = vqbench.results(tmp_path / "runs")
    assert set(frame.key) == {*result.done} - {result.done[0]}
    assert caught[0].filename == __file__


def test_an_empty_or_absent_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty store is an empty frame with all columns; one that does not exist is an error, not an empty answer."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    frame = vqbench.results()
    assert isinstance(frame, pd.DataFrame)
    assert frame.empty
    assert {"key", "metric", "value"} <= set(frame)
    for call in (vqbench.results, lambda store: vqbench.table("quick", store=store)):
        with pytest.raises(UsageError, match="rums: this folder does not exist"):
            call("rums")
