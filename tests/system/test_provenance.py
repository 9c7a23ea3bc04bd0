"""What a record says of the machine that trained it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vqbench.system.provenance import INSTRUCTION_CAPS, OTHER_CAPS, instructions

PRINT_ORIGIN = """
import torch
from vqbench.system.provenance import origin
print(origin(torch.device("cpu"))["instructions"])
"""


def origin_with(**caps: str) -> str:
    """What a record of a new process would name as its instructions."""
    env = {name: value for name, value in os.environ.items() if name not in (*INSTRUCTION_CAPS, *OTHER_CAPS)}
    shown = subprocess.run(
        [sys.executable, "-c", PRINT_ORIGIN], env={**env, **caps}, capture_output=True, text=True, check=True
    )
    return shown.stdout.strip()


@pytest.mark.integration
def test_capped_libraries_are_an_origin_of_their_own() -> None:
    """A run whose libraries were capped one by one is not mixed up with one of another machine."""
    own = origin_with()
    assert "=" not in own
    assert origin_with(ONEDNN_MAX_CPU_ISA="SSE41") == f"{own}, ONEDNN_MAX_CPU_ISA=SSE41"
    assert origin_with(ATEN_CPU_CAPABILITY="default") == "DEFAULT, ATEN_CPU_CAPABILITY=default"


def test_three_equal_caps_are_a_machine_without_better_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch, oneDNN and MKL capped alike are named as an older processor is; with one of them free or other, not."""
    for name in OTHER_CAPS:
        monkeypatch.delenv(name, raising=False)
    for name in INSTRUCTION_CAPS:
        monkeypatch.setenv(name, "avx2")
    assert instructions("AVX2") == "AVX2"
    assert instructions("AVX512") == "AVX512, " + ", ".join(f"{name}=avx2" for name in INSTRUCTION_CAPS)
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "")
    assert instructions("AVX2") == "AVX2, ATEN_CPU_CAPABILITY=avx2, ONEDNN_MAX_CPU_ISA=avx2"
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "AVX2")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert instructions("AVX2").endswith("MKL_CBWR=COMPATIBLE")
