"""The tool for a GPU machine without a network: pieces, slices, the table, and all of it on the CPU in tiny numbers."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "offline_gpu"
sys.path.append(str(TOOL))  # its modules import each other by their names, as in the file that `pack` makes
packing, pieces, settings, stepping, time_table, unpacking, update_times = (
    importlib.import_module(name)
    for name in ("packing", "pieces", "settings", "stepping", "time_table", "unpacking", "update_times")
)
Setting = settings.Setting
STRICT = Setting("mnist", "A", captured=False, precision="float32", layout="channels last", jobs=1)


def tool(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *map(str, words)], capture_output=True, text=True, check=False)


def bring(source: Path, target: Path, *names: str) -> Path:
    """A folder with some of the files of another."""
    target.mkdir()
    for name in names:
        (target / name).write_bytes((source / name).read_bytes())
    return target


# Pieces ---------------------------------------------------------------------------------------------------------------


def packed(folder: Path, piece: int = 1000, most: int | None = None, **facts: Any) -> tuple[Path, list[str]]:
    """An archive in pieces, of a file that does not compress."""
    content = folder / "content"
    content.write_bytes(b"".join(bytes([n * n % 251, n % 256, n * 7 % 253]) for n in range(2000)))
    return folder / "out", pieces.write([(content, "a/content")], folder / "out", "offline", piece, most, facts)


def test_pieces_are_small_and_join_to_what_was_packed(tmp_path: Path) -> None:
    """No piece is larger than asked, and joined they give the same bytes and the facts of the manifest."""
    out, names = packed(tmp_path, torch="2.11.0")
    sizes = [(out / name).stat().st_size for name in names[:-1]]
    assert len(sizes) > 1
    assert max(sizes) == 1000
    assert pieces.join(out, "offline", tmp_path / "to")["torch"] == "2.11.0"
    assert (tmp_path / "to" / "a" / "content").read_bytes() == (tmp_path / "content").read_bytes()


def test_a_damaged_piece_is_refused_by_name(tmp_path: Path) -> None:
    """One changed byte is noticed before anything is extracted, and the sentence names the piece."""
    out, names = packed(tmp_path)
    content = bytearray((out / names[1]).read_bytes())
    content[7] ^= 1
    (out / names[1]).write_bytes(content)
    with pytest.raises(pieces.OfflineError, match=rf"{names[1]}: differs from the digest"):
        pieces.join(out, "offline", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_too_many_pieces_are_refused(tmp_path: Path) -> None:
    """Where the pieces allowed have no room for the archive, packing ends with a sentence."""
    with pytest.raises(pieces.OfflineError, match="more than 2 pieces of 1,000 bytes"):
        packed(tmp_path, most=2)


def test_pieces_may_arrive_in_several_calls(tmp_path: Path) -> None:
    """Unpacking keeps the pieces of each call, says what is missing, and at last installs beside this torch."""
    (tmp_path / "wheels").mkdir()
    packing._empty_wheel(tmp_path / "wheels", "an_empty_package", "1.0")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    facts = {"python": version, "torch": "2.11.0", "commit": "0123456789ab"}
    out, files = tmp_path / "out", pieces.below(tmp_path / "wheels", "wheels")
    *parts, manifest = pieces.write(files, out, "offline", 200, facts=facts)
    home = tmp_path / "home"
    first = tool("unpack", bring(out, tmp_path / "first", manifest, parts[0]), "--home", home)
    assert first.returncode == 3
    assert f"{', '.join(parts[1:])} missing" in first.stderr
    second = tool("unpack", bring(out, tmp_path / "second", *parts[1:]), "--home", home)
    assert second.returncode == 0, second.stderr
    script = "import importlib.metadata as m; from importlib import util; print(m.version('an_empty_package'))"
    script += "; print(util.find_spec('torch').name)"
    shown = subprocess.run([home / "venv" / "bin" / "python", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["1.0", "torch"]


@pytest.mark.parametrize("there", [True, False])
def test_torchvision_is_installed_only_where_there_is_none(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LPIPS imports it: a machine with torch alone gets the packed one, another keeps its own, which fits its torch."""
    (tmp_path / "wheels").mkdir()
    for name in ("torchvision", "another"):
        packing._empty_wheel(tmp_path / "wheels", name, "0.15.0")  # which a user's own limits admit
    facts = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "torch": "2.11.0", "commit": "0"}
    pieces.write(pieces.below(tmp_path / "wheels", "wheels"), tmp_path / "out", "offline", 2**20, facts=facts)
    find = unpacking._find

    def found(package: str, python: str | Path) -> str:
        return "a file" * there if package == "torchvision" else find(package, python)

    monkeypatch.setattr(unpacking, "_find", found)
    python = unpacking.unpack(tmp_path / "out", tmp_path / "home")
    site = next((python.parents[1] / "lib").glob("python*/site-packages"))
    assert (site / "another-0.15.0.dist-info").is_dir()
    assert (site / "torchvision-0.15.0.dist-info").is_dir() is not there


# Slices ---------------------------------------------------------------------------------------------------------------


class FakeClock:
    """Time that only commands spend."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def command(self, seconds: float, script: str) -> Callable[[float], list[str]]:
        """A command that takes ``seconds``."""

        def words(_: float) -> list[str]:
            self.now += seconds
            return ["sh", "-c", script]

        return words


def one_slice(steps: list[Any], folder: Path, clock: FakeClock, seconds: float = 100) -> tuple[bool, dict[str, Any]]:
    """Whether one call finishes the steps, and what the next call knows of them."""
    state = stepping.State.read(folder / "state.json")
    time_slice = stepping.Slice(seconds, 10, clock)
    done = stepping.run_slice(steps, state, time_slice, folder / "logs", lambda _: None, {})
    return done, stepping.State.read(folder / "state.json").steps


def test_the_next_call_continues(tmp_path: Path) -> None:
    """A call stops before its slice ends; the next one repeats nothing and continues what was stopped."""
    clock = FakeClock()
    resumes = f"if test -e {tmp_path}/begun; then exit 0; fi; touch {tmp_path}/begun; exit 3"
    steps = [
        stepping.Step("first", clock.command(50, f"echo once >> {tmp_path}/first")),
        stepping.Step("second", clock.command(35, resumes), resumes=True),
        stepping.Step("third", clock.command(5, "exit 1")),
    ]
    done, kept = one_slice(steps, tmp_path, clock)
    assert not done
    assert [(name, entry["code"]) for name, entry in kept.items()] == [("first", 0), ("second", None)]
    done, kept = one_slice(steps, tmp_path, clock)
    assert done
    assert [entry["code"] for entry in kept.values()] == [0, 0, 1]
    assert [entry["seconds"] for entry in kept.values()] == [50, 70, 5]
    assert (tmp_path / "first").read_text() == "once\n"


def test_a_slice_that_a_signal_ends_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step took before the call was ended is known to the next call."""
    clock = FakeClock()

    def ended(*_: Any) -> int:
        sys.exit(stepping.STOPPED)

    monkeypatch.setattr(stepping, "carry_out", ended)
    with pytest.raises(SystemExit):
        one_slice([stepping.Step("first", clock.command(50, "true"))], tmp_path, clock)
    assert stepping.State.read(tmp_path / "state.json").steps["first"] == {"code": None, "seconds": 50, "remark": ""}


def test_the_time_of_a_step_ends(tmp_path: Path) -> None:
    """A step that resumes without end gives way to the next one when its own time is used up."""
    clock = FakeClock()
    steps = [
        stepping.Step("endless", clock.command(20, "exit 3"), resumes=True, at_most=45),
        stepping.Step("next", clock.command(1, "true")),
    ]
    done, kept = one_slice(steps, tmp_path, clock)
    assert done
    assert kept["endless"] == {"code": 0, "seconds": 40, "remark": "its time is used up"}


def test_a_command_longer_than_a_slice_is_given_up(tmp_path: Path) -> None:
    """A command that cannot be continued is stopped with all that it started, and has failed after two whole slices."""
    script = f"sleep 600 & echo $! > {tmp_path}/child; wait"
    step = stepping.Step("long", lambda _: ["sh", "-c", script])
    state = stepping.State(tmp_path / "state.json")
    done = [
        stepping.run_slice([step], state, stepping.Slice(4, 1), tmp_path / "logs", lambda _: None, {}) for _ in range(2)
    ]
    assert done == [False, True]
    assert state.steps["long"]["code"] == 1
    assert state.steps["long"]["remark"] == "takes longer than a slice"
    child = Path("/proc") / (tmp_path / "child").read_text().strip()
    until = time.monotonic() + 60
    while child.exists() and "Z" not in (child / "stat").read_text() and time.monotonic() < until:
        time.sleep(0.05)
    assert not child.exists() or "Z" in (child / "stat").read_text()


# The table ------------------------------------------------------------------------------------------------------------


def times(seconds: dict[Any, list[float] | None]) -> Any:
    """Measured times of two rows, A and B, of 100 updates each."""
    head = {
        "machine": {"device": "a GPU", "versions": {"torch": "2.11.0"}},
        "updates": {"mnist": {"A": 100, "B": 100}},
        "timed": 20,
        "batch": 1024,
        "settings": len(seconds) + 1,
    }
    problems = {setting: f"{settings.REFUSED}why" if setting.captured else "out of memory" for setting in seconds}
    return time_table.Times(head, seconds, {key: text for key, text in problems.items() if not seconds[key]})


def both(setting: Any, *seconds: float) -> dict[Any, list[float]]:
    return {replace(setting, row=row): list(seconds) for row in "AB"}


def test_the_best_strict_setting_ends_most_rows() -> None:
    """Side by side wins where all rows fit into the time, one at a time where none would, tf32 and failures never."""
    side = replace(STRICT, jobs=2)
    fast = both(replace(STRICT, precision="tf32"), 0.001)
    measured = times({**both(STRICT, 1.0), **both(side, 1.5, 1.4), **fast})
    assert replace(time_table.best_strict(measured, ["mnist"], 160), dataset="mnist", row="A") == side
    assert replace(time_table.best_strict(measured, ["mnist"], 120), dataset="mnist", row="A") == STRICT
    failed = {**both(STRICT, 1.0), **both(side, 1.5, 1.4), replace(side, row="B"): None}
    assert time_table.best_strict(times(failed), ["mnist"], 160).jobs == 1
    assert time_table.best_strict(times({}), ["mnist"], 160) is None


def test_a_row_that_cannot_be_captured_is_trained_eagerly() -> None:
    """Where one row refuses capture, the others are still captured, and the estimate takes its eager time."""
    captured = replace(STRICT, captured=True)
    measured = times({**both(STRICT, 1.0), captured: [0.5], replace(captured, row="B"): None})
    assert measured.trainings(captured, ["mnist"]) == [50, 100]
    assert time_table.best_strict(measured, ["mnist"], 720).captured


@pytest.mark.parametrize(("update", "verdict"), [(7.2, "1.0 of 2"), (3.6, "2.0 of 2")])
def test_the_estimate_is_confirmed_or_corrected(update: float, verdict: str) -> None:
    """Rows in 12 minutes are counted by their share, and compared with what was expected within its tolerance."""
    text = time_table.page(stepping.State(Path("none")), times(both(STRICT, update)), None, "", {})
    assert f"strict float32: {verdict}; expected: 2 to 3, ±40%: " in text
    assert ("confirmed" in text) == (update == 3.6)
    assert "tf32, captured: not all 2 rows were measured" in text


def test_what_is_missing_is_said() -> None:
    """The table names settings that failed, and how many were not measured; neither counts in an estimate."""
    text = time_table.page(stepping.State(Path("none")), times({STRICT: None}), None, "", {})
    assert "out of memory" in text
    assert "1 of 2 settings were not measured" in text
    assert "tf32, captured: not all 2 rows were measured" in text


# All of it ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_setting_that_fails_does_not_stop_the_others() -> None:
    """Of two processes side by side, a failure is reported by both, and the next setting is measured."""
    good = Setting("fashion_mnist_5k", "VQ-VAE", False, "float32", "contiguous", 2)
    todo = [replace(good, row="no such row"), good]
    found = dict(update_times._measured("tiny", "cpu", todo, time.monotonic() + 3600, 2))
    assert [reason for _, reason in found[0]] == ["KeyError: 'no such row'"] * 2
    assert [(len(samples), reason) for samples, reason in found[1]] == [(2, None)] * 2


@pytest.mark.slow
def test_a_tiny_run_in_slices(tmp_path: Path) -> None:
    """On the CPU all steps end over several calls, and the packed results merge with ours, weights included."""
    run = ("run", "--store", tmp_path / "store", "--device", "cpu", "--tiny", "--times-for", "30m", "--slice")
    codes = [tool(*run, "20s").returncode]  # less than all steps take
    while codes[-1] == 3 and len(codes) < 20:
        codes.append(tool(*run, "10m").returncode)
    assert codes[0] == 3
    assert codes[-1] == 0, (tmp_path / "store" / "table.md").read_text()
    text = (tmp_path / "store" / "table.md").read_text()
    assert text.count("| channels last |") == text.count("| contiguous    |") == 16  # captured ones too
    assert "CVQ-VAE on fashion_mnist_5k: trained in" in text

    out, home = tmp_path / "out", tmp_path / "home"
    assert tool("pack-results", "--store", tmp_path / "store", "--out", out, "--piece", "100k").returncode == 0
    assert all(path.stat().st_size <= 100 * 1024 for path in out.iterdir())
    assert len(list(out.iterdir())) <= 8
    assert tool("join", out, "--to", home).returncode == 0
    vqbench = [sys.executable, "-m", "vqbench"]
    subprocess.run([*vqbench, "verify", home / "runs"], check=True)
    (tmp_path / "ours").mkdir()
    subprocess.run([*vqbench, "merge", tmp_path / "ours", home / "runs", "--checkpoints"], check=True)
    assert len(list((tmp_path / "ours").glob("*/best.pt"))) == 2
    assert json.loads((home / "state.json").read_text())["facts"]["scale"] == "tiny"
