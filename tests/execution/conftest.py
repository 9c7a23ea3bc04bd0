"""Clusters of this machine: Ray with real nodes, and stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from vqbench import registry


@pytest.fixture
def threads_of_a_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plugin files of one test are unloaded before the next; all tests use the threads of a Ray task."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    yield
    registry.sources.cache_clear()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster on this machine whose head has one core; tests add nodes. No process of it is left."""
    mark = uuid.uuid4().hex
    os.environ.update({"VQBENCH_TEST": mark, "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"})
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.place = node
    yield cluster
    cluster.shutdown()
    del os.environ["VQBENCH_TEST"]
    for path in Path("/proc").glob("[0-9]*/environ"):  # one of Ray's agents stays for a minute after a killed node
        try:
            ours = mark.encode() in path.read_bytes()
        except OSError:
            continue
        if ours and int(path.parent.name) != os.getpid():
            os.kill(int(path.parent.name), signal.SIGKILL)


# Stand-ins for Slurm's commands: `sbatch` keeps the script, and runs its array here, one task after the other, once the
# job that it waits for is over.
SBATCH = r"""#!/bin/bash
set -m  # so that the array is a group of processes, whose number the test keeps
echo >> "$FAKE/jobs"
job=$((6 + $(wc -l < "$FAKE/jobs")))
script="$FAKE/script_$job"
cp "$1" "$script"
echo "Submitted batch job $job"
[ -e "$FAKE/full" ] && exit
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\)%.*/\1/p' "$1")
before=$(sed -n 's/^#SBATCH --dependency=afterany:\([0-9]*\)$/\1/p' "$1")
(
until [ -z "$before" ] || [ -e "$FAKE/over_$before" ]; do sleep 0.1; done
for index in $(seq 0 ${last:-0}); do
    export SLURM_JOB_ID=$job SLURM_JOB_NODELIST=here  # a single job is no array
    [ -n "$last" ] && export SLURM_JOB_ID=${job}0$index SLURM_ARRAY_JOB_ID=$job SLURM_ARRAY_TASK_ID=$index
    while true; do
        rm -f "$FAKE/requeue_${job}_$index"
        echo "$index" >> "$FAKE/started"
        bash "$script"
        [ -e "$FAKE/requeue_${job}_$index" ] || break
    done
done
touch "$FAKE/over_$job"
) >> "$FAKE/log" 2>&1 < /dev/null &
echo $! >> "$FAKE/groups"
"""
SRUN = r"""#!/bin/bash
while [[ "$1" == --* ]]; do if [[ "$1" == --output || "$1" == --error ]]; then shift; fi; shift; done
echo $$ > "$FAKE/step"
exec "$@"
"""
SCONTROL = '#!/bin/bash\ntouch "$FAKE/requeue_$2"\n'
SACCT = '#!/bin/bash\necho "JobID|State|NodeList"\n'


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Slurm's commands on the PATH; yields the folder of their notes, and ends the arrays afterwards."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'vqbench[slurm]'")
    fake = tmp_path / "slurm"
    fake.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL, "sacct": SACCT}.items():
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    monkeypatch.setenv("FAKE", str(fake))
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    yield fake
    for group in (fake / "groups").read_text().split() if (fake / "groups").exists() else []:
        with suppress(ProcessLookupError):
            os.killpg(int(group), signal.SIGKILL)
