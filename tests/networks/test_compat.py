"""torchvision is imported beside a torch that its operators do not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_libraries_import_after_ensure_torchvision() -> None:
    """Whether or not torchvision's operators fit this torch, it and its users import; only a misfit is changed."""
    code = (
        "import importlib.util, pathlib, vqbench.networks.compat as c\n"
        "fits = c._operators_load(pathlib.Path(importlib.util.find_spec('torchvision').origin).parent)\n"
        "c.ensure_torchvision(); c.ensure_torchvision()\n"
        "import torchvision, lpips, torch_fidelity\n"
        "c.ensure_torchvision()\n"
        "assert (c._library is None) == fits"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_ensure_torchvision_leaves_a_fitting_one_alone() -> None:
    """Where the operators are already there, nothing is defined."""
    code = (
        "import torch, vqbench.networks.compat as c\n"
        "there = torch.library.Library('torchvision', 'DEF'); there.define('nms' + c._SCHEMA)\n"
        "c.ensure_torchvision()\n"
        "assert c._library is None and not hasattr(torch.ops.torchvision, 'qnms')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
