"""A suite with simulated records: complete, partial, failed and missing runs, and hostile texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vqbench.evaluation.snapshot_writer import choose
from vqbench.planning import loading, plan_file
from vqbench.reporting.html.suite_view import SuiteView, suite_view
from vqbench.spec import RunSpec
from vqbench.store import snapshots
from vqbench.store.record import Failure, Record, Value
from vqbench.store.results import ResultStore

HOSTILE = """\"><img src=x onerror=alert(1)><script>alert('x')</script>$\\alpha$"""
SUITE = """
name: page
title: {title}
train: {{clean: {{epochs: 3, batch_size: 64}}}}
measure: [clean]
datasets: [fashion_mnist_5k, cifar10]
quantizers:
  - {{identity: {{}}, label: identity}}
  - {{vq: {{}}, label: {label}}}
  - vq_ema
  - cvq
  - hvq
  - sqvae
seeds: [1, 2]
metrics: [l1, lpips, usage, perplexity, bits]
"""


def simulated_suite(folder: Path, kept: bool = True) -> SuiteView:
    """A store with complete runs, one of one seed, one that lacks a metric, failed and missing ones.

    The title, a label, a reason and a log contain markup that would run a script on the page.
    """
    folder.mkdir(exist_ok=True)
    suite = folder / "page.yaml"
    suite.write_text(SUITE.format(title=json.dumps(HOSTILE), label=json.dumps(HOSTILE)))
    plan, store = loading.load(suite, []), ResultStore(folder / "runs")
    plan_file.save(plan, store)
    rng = np.random.default_rng(0)
    for run in plan.runs():
        name = run.quantizer.name
        if name == "hvq":
            store.fail(run, Failure(f"the loss became nan {HOSTILE}", ["Traceback", HOSTILE, f"</pre>{HOSTILE}"]))
        elif name != "sqvae" and not (name == "cvq" and run.seed == 2):
            write_run(store, run, rng, kept, lacking="lpips" if name == "vq_ema" and run.seed == 2 else "")
    return suite_view(plan, [store], paper=True, command="vqbench run page.yaml")


def many_rows(folder: Path, rows: int, images: int = 1000) -> SuiteView:
    """Return a suite of so many rows on CIFAR10, all complete, whose images are noise, which no PNG makes small."""
    folder.mkdir(exist_ok=True)
    quantizers = [{"vq": {"beta": round(0.01 * (i + 1), 2)}, "label": f"method {i + 1}"} for i in range(rows)]
    content = {"name": "rows", "title": f"{rows} rows", "datasets": ["cifar10"], "quantizers": quantizers, "seeds": [1]}
    content |= {"train": {"clean": {"epochs": 3, "batch_size": 64}}, "measure": ["clean"]}
    content |= {"metrics": ["l1", "lpips", "usage", "perplexity", "bits"]}
    (folder / "rows.yaml").write_text(json.dumps(content))  # YAML, too
    plan, store = loading.load(folder / "rows.yaml", []), ResultStore(folder / "runs")
    rng = np.random.default_rng(0)
    for run in plan.runs():
        write_run(store, run, rng, kept=True, images=images)
    return suite_view(plan, [store], paper=False)


def write_run(
    store: ResultStore, run: RunSpec, rng: np.random.Generator, kept: bool, lacking: str = "", images: int = 50
) -> None:
    """Write a record with plausible numbers, and the files that a training keeps beside it.

    ``images``: number of test images.
    """
    per_image = {f"clean/{metric}": rng.uniform(0.1, 0.2, images).astype(np.float32) for metric in ("l1", "lpips")}
    coded = run.quantizer.name != "identity"
    values = {metric: float(per_image[f"clean/{metric}"].mean()) for metric in ("l1", "lpips")}
    values |= dict.fromkeys(("usage", "perplexity", "bits"), None) if not coded else {}  # type: ignore[arg-type]
    values |= {"usage": 40.0 + run.seed, "perplexity": 100.0 * rng.uniform(), "bits": 441.0} if coded else {}
    values.pop(lacking, None)
    versions = dict.fromkeys(("torch", "numpy"), "2.0")
    provenance = {"commit": None, "versions": versions, "device": f"CPU {HOSTILE}", "threads": 2, "seconds": 3.5}
    provenance |= {"date": "2026-01-31T12:00:00Z", "parameters": 1000 + run.seed, "measured": []}
    history = [
        {"epoch": e, "loss": 1 / e, "error": 0.1 / e, "selection_error": None, "own term": -0.1 * e}
        | ({"usage": 10.0 * e, "perplexity": 2.0 * e, "dead": 512 - 50 * e, "revived": e - 1} if coded else {})
        for e in (1, 2, 3)
    ]
    stored = {metric: Value(value, 1, 1, images) for metric, value in values.items()}
    store.write_images(run, per_image)
    if kept:
        side, channels = (32, 3) if run.dataset.name == "cifar10" else (28, 1)
        chosen, groups = choose(images, per_image["clean/lpips"])
        images_of_sets = rng.integers(0, 256, (2, len(chosen), channels, side, side), dtype=np.uint8)
        counts = rng.poisson(rng.exponential(20, (1, 512))) * (rng.uniform(size=(1, 512)) < 0.4) if coded else None
        folder = store.folder(run)
        if counts is not None:
            snapshots.write(
                folder,
                snapshots.UsageHistory(snapshots.shades(np.concatenate([counts // 4, counts // 2, counts])), 1, 1),
            )
        plane = rng.normal(size=(600, 2)).astype(np.float32)
        decoded = rng.integers(0, 256, (256, channels, 8, 8), dtype=np.uint8)
        snapshots.write(
            folder,
            snapshots.Snapshot(
                positions=49,
                counts=counts,
                chosen=chosen,
                groups=groups,
                scores=per_image["clean/lpips"][chosen],
                originals=images_of_sets[0],
                reconstructions=images_of_sets[1],
                codes_at=plane[:512] if coded else None,
                features_at=plane,
                explained=np.array([0.5, 0.2], np.float32),
                decoded=decoded if coded else None,
                decoded_codes=np.arange(256) if coded else None,
            ),
        )
    store.write(Record(run, {"clean": stored}, provenance, history))
