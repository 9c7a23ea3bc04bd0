"""The share of time in which nodes of a Ray cluster have no run, in a suite of short runs.

Run from the root of the checkout, on a quiet machine::

    python tests/benchmarks/ray_idle.py --runs 200                  # two nodes with one core each, on this machine
    python tests/benchmarks/ray_idle.py --runs 200 --second-stages  # half of the runs build on the other half
    python tests/benchmarks/ray_idle.py --show FILE                 # the table of a measurement that -o has kept

A node has a run from the moment at which the run's task begins there until it ends; starting the process that trains is
part of the run. The time of the suite is that from the first such moment on any node to the last end on any node, so
that a node without a run at the end counts as idle. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

SUITE = """
name: short
train: {{clean: {{epochs: 1, batch_size: 64, learning_rate: 1e-3, subset: 1100}}}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {{conv: {{hidden: 16, residual_hidden: 8}}}}
codebook: {{num_codes: 64, dim: 8}}
quantizers: [vq]
seeds: [{seeds}]
{second}
metrics: [{metrics}]
table: {{columns: [{metrics}]}}
"""
PRIOR = "generate: {autoregressive: {steps: 20, batch_size: 8, width: 16, layers: 1, heads: 2, subset: 100}}"
SAMPLES = "samples: {count: 6, reference: test}"
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 200_000_000}
HEADS = ["node", "runs", "suite [s]", "median run [s]", "median gap [ms]", "longest gap [s]", "idle [%]"]


def noting_task(path: Path) -> Callable[..., Any]:
    """Return the executor's task, with a line in ``path`` for each: node, begin and end in seconds."""

    def noted_task(remote_job: Any, attempt: str, mailbox: Any, weights: bytes | None) -> Any:
        import time

        import ray

        from vqbench.execution.executors.ray import ray_task

        begun = time.time()
        try:
            return ray_task(remote_job, attempt, mailbox, weights)
        finally:
            with path.open("a") as file:
                file.write(json.dumps([ray.get_runtime_context().get_node_id(), begun, time.time()]) + "\n")

    return noted_task


def measure(runs: int, second_stages: bool, folder: Path) -> list[list[Any]]:
    """Carry out the suite on two nodes; returns node, begin and end of each run."""
    from ray.cluster_utils import Cluster

    from vqbench.execution.executors import ray as ray_executor
    from vqbench.execution.executors.executor_options import ExecutorOptions
    from vqbench.execution.stopping import Stop
    from vqbench.execution.suite_runner import RunOptions, run_suites
    from vqbench.planning import loading
    from vqbench.store.results import ResultStore

    seeds = ", ".join(map(str, range(runs // 2 if second_stages else runs)))
    second, metrics = (f"{PRIOR}\n{SAMPLES}", "psnr, copies") if second_stages else ("", "psnr")
    (folder / "short.yaml").write_text(SUITE.format(seeds=seeds, second=second, metrics=metrics))
    plan = loading.load(folder / "short.yaml", [], test_images=100)
    ray_executor.ray_task = noting_task(folder / "spans")
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        options = RunOptions(device="cpu", quiet=True, executor=ExecutorOptions("ray", address=cluster.address))
        summary = run_suites([plan], ResultStore(folder / "runs"), options, Stop(), print)
        assert summary is not None
        assert not summary.failed, summary.failed
    finally:
        cluster.shutdown()
    return [json.loads(line) for line in (folder / "spans").read_text().splitlines()]


def table(spans: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """A row of :data:`HEADS` for each node, from the node, begin and end of each run."""
    begun, ended = min(begin for _, begin, _ in spans), max(end for _, _, end in spans)
    rows = []
    for number, node in enumerate(sorted({node for node, _, _ in spans}), 1):
        own = sorted((begin, end) for each, begin, end in spans if each == node)
        ends = [begun, *(end for _, end in own)]
        gaps = [max(0.0, begin - end) for (begin, _), end in zip(own, ends, strict=False)] + [ended - ends[-1]]
        lengths = [end - begin for begin, end in own]
        rows.append(
            [
                *(number, len(own), f"{ended - begun:.1f}", f"{statistics.median(lengths):.1f}"),
                *(f"{1000 * statistics.median(gaps):.0f}", f"{max(gaps):.2f}"),
                f"{100 * sum(gaps) / (ended - begun):.2f}",
            ]
        )
    return rows


def main() -> None:
    """Measure, or show what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--second-stages", action="store_true", help="half of the runs are priors on the other half")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--show", type=Path)
    chosen = parser.parse_args()
    if chosen.show:
        content = json.loads(chosen.show.read_text())
    else:
        os.environ.update({"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"})
        with tempfile.TemporaryDirectory(prefix="ray-idle-") as folder:
            spans = measure(chosen.runs, chosen.second_stages, Path(folder))
        import torch

        from vqbench.system.provenance import machine_facts

        machine = machine_facts(torch.device("cpu"))
        content = {
            "machine": machine,
            "second_stages": chosen.second_stages,
            "load": os.getloadavg()[2],
            "spans": spans,
        }
        if chosen.output:
            chosen.output.write_text(json.dumps(content, indent=1) + "\n")

    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine = content["machine"]
    made = f"{replace(origins_of(machine)[0], threads=None)}, commit {machine['commit']}"
    what = "half of them second stages" if content["second_stages"] else "none of them a second stage"
    nodes = f"on {len({node for node, *_ in content['spans']})} nodes with one core each"
    print(f"{made}. {len(content['spans'])} short runs, {what}, {nodes}; load {content['load']:.1f}.\n")
    print(tabulate(table(content["spans"]), HEADS, tablefmt="pipe"))


if __name__ == "__main__":
    main()
