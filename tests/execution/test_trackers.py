"""The loggers of ``docs/tutorials/loggers.md`` for trackers, run offline: `tox -e loggers`."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.support.tiny_suite import command, write

PAGE = ROOT / "docs" / "tutorials" / "loggers.md"


def logged(tmp_path: Path, module: str, **environment: str) -> dict[str, float]:
    """Run a suite of one row with the page's logger for ``module``; the values on record."""
    pytest.importorskip(module, reason="tox -e loggers has it")
    [code] = [block.code for block in blocks(PAGE, "python") if f"import {module}\n" in block.code]
    name = code.partition("class ")[2].partition("(")[0]
    (tmp_path / "mine.py").write_text(code)
    suite, store = write(tmp_path, "{vq: {}, label: VQ-VAE}", epochs=2), tmp_path / "runs"
    words = command("run", suite, "--store", store, "--logger", "mine.py:" + name)
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    result = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "is not called again" not in result.stderr
    record = json.loads(next(store.glob("*/record.json")).read_text())
    return {name: value["value"] for name, value in record["values"]["clean"].items()}


def wandb_records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after 7 bytes, in blocks of 32 KiB."""
    place, parts = 7, b""
    while place + 7 <= len(content):
        if (rest := 32768 - place % 32768) < 7:
            place += rest
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""


def items(fields: Any) -> dict[str, Any]:
    return {field.key or "/".join(field.nested_key): json.loads(field.value_json) for field in fields}


def test_weights_and_biases(tmp_path: Path) -> None:
    """Its offline file holds the configuration, both epochs and the final values."""
    values = logged(tmp_path, "wandb", WANDB_MODE="offline", WANDB_SILENT="true")
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = tmp_path.glob("runs/*/wandb/offline-run-*/run-*.wandb")
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history = []
    for data in wandb_records(path.read_bytes()):
        record = Record.FromString(data)
        config |= items(record.run.config.update) | items(record.config.update)
        summary |= items(record.summary.update)
        history += [items(record.history.item)] if record.HasField("history") else []
    assert config["quantizer"] == "vq"
    assert config["recipe.epochs"] == 2
    assert len([entry for entry in history if "loss" in entry]) == 2
    assert {name: summary[f"clean/{name}"] for name in values} == pytest.approx(values)


def test_mlflow(tmp_path: Path) -> None:
    """Its local folder holds the parameters, both epochs and the final values."""
    values = logged(tmp_path, "mlflow", MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("vqbench")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("VQ-VAE", "FINISHED")
    assert run.data.params["quantizer"] == "vq"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    assert {name: run.data.metrics[f"clean/{name}"] for name in values} == pytest.approx(values)
