"""Check an sdist and a wheel: their contents, and that the sdist installs and works in an environment of its own.

    python -m build --outdir dist && python tools/check_release.py dist

The sdist must hold what git tracks; a wheel built from the checkout must equal the one built from the sdist. The sdist
is then installed, with all it requires, into a new environment, and used there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = "vqbench/quantizers"  # of checkouts alone
BUILT_FROM = "vqbench/built_from.txt"  # of what is built alone: the commit
TINY = ("--only", "vq", "--epochs", "1", "--subset", "128", "--batch-size", "32", "--test-images", "64")
COMMANDS: tuple[Sequence[str], ...] = (
    ("--version",),
    ("list", "quantizers"),
    (
        "run",
        "quick",
        "--offline",
        "--quiet",
        "--set",
        "train.clean.selection=last",
        "--set",
        "metrics=[psnr,usage]",
        *TINY,
    ),
)


def tracked(root: Path = ROOT) -> set[str]:
    """Return the files that git tracks. Raises CalledProcessError where ``root`` is no repository."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    return set(listed.split("\0")) - {"", LINK}


def sdist_files(sdist: Path) -> set[str]:
    """Return the files of an sdist, without those that building generates."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    return {name for name in names if name not in ("PKG-INFO", "setup.cfg", BUILT_FROM) and "egg-info" not in name}


def wheel_files(wheel: Path) -> dict[str, bytes]:
    """Return the content of a wheel by name, without its commit and its list of digests."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith((".dist-info/RECORD", BUILT_FROM))]
        return {name: archive.read(name) for name in names}


def built_from(wheel: Path) -> str | None:
    """Return the commit that a wheel names; None if it names none."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(BUILT_FROM).decode().strip() if BUILT_FROM in archive.namelist() else None


def differences(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """Return the names of files that only one of two wheels has, or that differ."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def use(python: Path | str, folder: Path, env: Mapping[str, str]) -> list[str]:
    """Run the commands with the vqbench of a Python in an empty folder. Return what each printed."""
    printed = []
    for words in COMMANDS:
        done = subprocess.run([python, "-m", "vqbench", *words], cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"vqbench {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
        printed.append(done.stdout)
    return printed


def clean_environment() -> dict[str, str]:
    """Return the environment's variables without those that lead to other packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def main(dist: Path) -> None:
    """Check the sdist and the wheel in a folder."""
    [sdist], [wheel] = dist.glob("*.tar.gz"), dist.glob("*.whl")
    if wrong := tracked() ^ sdist_files(sdist):
        raise SystemExit(f"the sdist differs from what git tracks: {', '.join(sorted(wrong))}")
    print(f"{sdist.name}: {len(tracked())} files, those that git tracks")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        subprocess.run(["git", "-C", ROOT, "checkout-index", "-a", f"--prefix={source}/"], check=True)
        words = ["-m", "build", "--wheel", "--outdir", str(folder / "wheel"), str(source)]
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        [built] = (folder / "wheel").glob("*.whl")
        if wrong := differences(wheel_files(wheel), wheel_files(built)):
            raise SystemExit(f"the wheels of the sdist and of the checkout differ: {', '.join(wrong)}")
        if (commit := built_from(wheel)) is None:
            raise SystemExit(f"{wheel.name} does not name the commit that it was built from")
        count = len(wheel_files(wheel))
        print(f"{wheel.name}: {count} files of commit {commit}, the same from the sdist and from the checkout")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", sdist], check=True, env=clean_environment())
        (folder / "empty").mkdir()
        version, _, table = use(python, folder / "empty", clean_environment())
        print(f"installed from the sdist: {version.strip()}\n{table}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
