"""Child processes run this installation of vqbench, whatever the working directory contains."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import vqbench
from tests.support import tiny_suite
from vqbench.system import processes

pytestmark = pytest.mark.integration

HOME = Path(vqbench.__file__).parent
POISON = 'raise RuntimeError("imported from the working directory")\n'
SCRIPT = [
    sys.executable,
    "-P",
    "-c",
    "import sys; from vqbench.cli.app import main; main()",
]  # as the installed command


@pytest.fixture
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files called like modules of Python's, and with another vqbench."""
    for name in ("statistics", "profile", "difflib", "vqbench/__init__", "vqbench/cli", "submitit/__init__"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(POISON)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_process_is_started_by_one_function() -> None:
    """No file but ``processes.py`` starts Python, except for pip, which has ``-P`` itself."""
    for path in HOME.rglob("*.py"):
        for line in re.findall(r".*sys\.executable.*", path.read_text()):
            assert path == HOME / "system" / "processes.py" or '"-P", "-m", "pip"' in line, f"{path}: {line}"


def test_a_process_imports_nothing_from_the_working_directory(poisoned: Path) -> None:
    """A started module gets Python's own modules, this vqbench, its words, and what the starting process has."""
    code = "import sys, statistics, profile, vqbench.spec; print(sys.argv, vqbench.__file__, statistics.__file__)"
    (poisoned / "elsewhere").mkdir()
    (poisoned / "elsewhere" / "shown.py").write_text(code)
    sys.path.append(str(poisoned / "elsewhere"))
    try:
        words = processes.command("shown", 1, "two")
    finally:
        sys.path.pop()
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert out.endswith(f"'1', 'two'] {HOME / '__init__.py'} {statistics.__file__}\n")


def test_a_process_prints_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the locale, so that the process that started it can read what it prints."""
    (tmp_path / "arrow.py").write_text('print("PSNR \\u2191")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert subprocess.check_output(processes.command("arrow")) == "PSNR ↑\n".encode()


def test_a_suite_runs_beside_files_called_like_modules(poisoned: Path) -> None:
    """The installed command and its worker ignore a ``statistics.py`` and another vqbench in the working directory."""
    suite = tiny_suite.write(poisoned, "vq")
    train = "train={clean: {epochs: 1, batch_size: 32, subset: 64, selection: last}}"
    words = ["run", suite, "-q", "--test-images", "20", "--set", train, "--set", "metrics=[l1, usage]"]
    words += ["--set", "table.columns=[l1, usage]"]
    done = subprocess.run([*SCRIPT, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_takes_the_working_directory_off_the_path(poisoned: Path) -> None:
    """``python -m vqbench`` imports nothing from the working directory itself: not a ``difflib.py``, that it needs."""
    shutil.rmtree(poisoned / "vqbench")  # which python -m would take, as it should
    words = [sys.executable, "-m", "vqbench", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"vqbench {vqbench.__version__}\n"), done.stderr


def test_checks_pass_beside_files_called_like_modules(poisoned: Path) -> None:
    """``python -m vqbench check``, and the two ranks that it starts, import Python's own modules."""
    shutil.rmtree(poisoned / "vqbench")  # which python -m would take, as it should
    words = [sys.executable, "-m", "vqbench", "check", "vq", "--only", "ranks_agree"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_checkout_without_installation_is_used(tmp_path: Path) -> None:
    """`python -m vqbench` in a folder takes the vqbench there, and so do the processes that it starts."""
    shutil.copytree(HOME, tmp_path / "vqbench", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import vqbench.system.processes as s; print(s.ITSELF)"
    code += "; print(*s.command('x'), sep='\\n'); print(*s.missing_path())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    ours = str(tmp_path / "vqbench" / "system" / "processes.py")
    shown = done.stdout.splitlines()
    assert (shown[:5], shown[6:]) == ([ours, sys.executable, "-P", ours, "--path"], ["-m", "x", str(tmp_path)])
    assert processes.missing_path() == [] or str(HOME.parent) in processes.missing_path()
