"""The script and the styles of a page are what their sources build, with the versions of the lockfile."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FRONT = ROOT / "vqbench" / "reporting" / "html" / "front"


def test_the_committed_bundle_is_what_the_sources_build() -> None:
    """A fresh build from the lockfile equals the committed files."""
    if shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: the page's script is not built again and compared")
    built = subprocess.run([ROOT / "tools" / "build_page.sh", "--check"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"run tools/build_page.sh and commit the result\n{built.stdout[-2000:]}{built.stderr}"


def test_the_bundle_lies_beside_its_licences_and_asks_no_network() -> None:
    """Every bundled package has its licence there, and no style or script names an address to load from."""
    licences = (FRONT / "built" / "LICENSES.txt").read_text()
    assert "== d3-scale 4.0.2" in licences
    assert licences.count("Permission to use, copy, modify, and/or distribute") >= 7
    style, script = ((FRONT / "built" / name).read_text() for name in ("page.css", "page.js"))
    assert "url(" not in style
    assert "@import" not in style
    assert not any(
        word in script for word in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "innerHTML", "eval(")
    )
    assert "</" not in script
    assert "</" not in style
