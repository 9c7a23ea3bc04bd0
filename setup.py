"""Write the commit into each wheel and sdist that is built from a checkout, so that records of its runs can name it."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

sys.path.insert(0, str(Path(__file__).parent))

from vqbench.system.provenance import BUILT_FROM, commit  # found by the line above


def write_commit(folder: Path) -> None:
    """Write the commit of these files into the package that is built in ``folder``; nothing where none is known."""
    path = folder / "vqbench" / BUILT_FROM
    path.unlink(missing_ok=True)  # of an earlier build in the same folder
    if built_from := commit():
        path.write_text(f"{built_from}\n", encoding="utf-8")


class BuildPy(build_py):
    """Copies the package's files, for a wheel."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable install runs from its checkout
            write_commit(Path(self.build_lib))


class SDist(sdist):
    """Copies all files, for an sdist."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        write_commit(Path(base_dir))


setup(cmdclass={"build_py": BuildPy, "sdist": SDist})
