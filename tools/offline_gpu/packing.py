"""Pack what a machine without a network lacks: wheels of all but torch, weights, data.

pip resolves the requirements for the other machine's Python. torch stays out with all that only it requires: for pip,
an empty wheel takes its place. torchvision is packed for a machine that has none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipapp
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pieces
from pieces import OfflineError
from settings import SCALES, words

NAME = "offline"  # of the pieces
TOOL = Path(__file__).resolve().parent
ROOT = TOOL.parents[1]
BUILT_FROM = ("vqbench", "quantizers", "suites", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
THERE = "+elsewhere"  # local version of the empty wheel, which no index has
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64", "linux_x86_64")


def pack(out: Path, piece: int, python: str, torch: str, platforms: Sequence[str]) -> list[str]:
    """Write pieces and this tool as one file to ``out``; return the names.

    Args:
        out: A folder, without pieces so far.
        piece: The largest size of a file, in bytes.
        python: Version of Python there, such as 3.12.
        torch: Version of torch there, such as 2.11.0.
        platforms: Tags of wheels that work there.

    Raises:
        OfflineError: Outside of a checkout, or where a command fails.
    """
    if not (ROOT / "pyproject.toml").is_file():
        raise OfflineError(f"{ROOT}: not a checkout of vqbench; run tools/offline_gpu of one to pack", 2)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _download(_wheel(work), work, python, torch, platforms or PLATFORMS)
        _assets(work / "cache")
        files = [*pieces.below(work / "wheels", "wheels"), *pieces.below(work / "cache", "cache")]
        facts = {"python": python, "torch": torch, "commit": _git("describe", "--always", "--dirty=+", "--abbrev=12")}
        names = pieces.write(files, out, NAME, piece, facts=facts)
    zipapp.create_archive(TOOL, out / "offline_gpu.pyz", filter=lambda path: "__pycache__" not in path.parts)
    return [*names, "offline_gpu.pyz"]


def _git(*command: str) -> str:
    return _output(["git", "-C", ROOT, *command], "git").strip()


def _output(command: Sequence[str | Path], doing: str, **env: str) -> str:
    """Return what a command prints. Raises OfflineError with its last lines where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | env, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise OfflineError("\n".join([f"{doing} failed with exit code {done.returncode}:", *lines[-10:]]))
    return done.stdout


def _wheel(work: Path) -> Path:
    """Build vqbench's own wheel from a copy, since building leaves files behind."""
    source = work / "source"
    for name in _git("ls-files", "-z", *BUILT_FROM).split("\0"):
        if name and (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", work / "own", source]
    _output(command, "building the wheel of vqbench")
    return next((work / "own").glob("*.whl"))


def _download(wheel: Path, work: Path, python: str, torch: str, platforms: Sequence[str]) -> None:
    """Download the wheels that ``wheel`` requires there into ``work / "wheels"``."""
    empty, target = work / "empty", work / "wheels"
    empty.mkdir()
    _empty_wheel(empty, "torch", torch + THERE)
    published = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in published if line.partition("==")[0] not in ("torch", "torchvision")]  # these fit THERE
    limits = work / "constraints.txt"
    limits.write_text("\n".join([*kept, f"torch=={torch}{THERE}"]) + "\n")
    tags = [word for platform in platforms for word in ("--platform", platform)]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--progress-bar=off",
        "--only-binary=:all:",
        "--implementation",
        "cp",
    ]
    command += ["--python-version", python, *tags, "--find-links", str(empty), "-c", str(limits), "-d", str(target)]
    _output([*command, wheel], "pip download")
    for path in target.glob(f"*{THERE}-*.whl"):
        path.unlink()


def _empty_wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel that holds and requires nothing."""
    info = f"{name}-{version}.dist-info"
    content = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: vqbench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in content.items():
            archive.writestr(f"{info}/{file}", text)


def _assets(cache: Path) -> None:
    """Copy data and weights that the rows need, verified by ``vqbench prepare``."""
    command = [sys.executable, "-m", "vqbench", "prepare", *words(SCALES["full"].rows)]
    for line in _output(command, "vqbench prepare").splitlines():
        name, _, text = line.partition(": ")
        path = Path(text)
        if path.is_dir():
            shutil.copytree(path, cache / name)
        elif path.is_file():
            (cache / name).mkdir(parents=True)
            shutil.copy2(path, cache / name)
