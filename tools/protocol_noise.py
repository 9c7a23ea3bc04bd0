"""Measure how equal runs spread over seeds and machines, by learning-rate decay.

``python tools/protocol_noise.py FOLDER`` trains rows of ``quick`` in FOLDER (20 minutes on two cores; finished runs
are kept), writes FOLDER/protocol_noise.csv and prints a Markdown table; given such a CSV file, it prints the table
alone. Other instruction sets and thread counts represent other machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from vqbench.store.results import ResultStore

ROWS = "quantizers=[identity, vq, cvq]"
DECAYS = ("constant", "linear", "cosine")
SEEDS = (42, 43, 44, 45)
MACHINES = {  # name -> environment; the first trains all seeds, the others the first seed
    "1-thread": {"OMP_NUM_THREADS": "1"},
    "2-threads": {"OMP_NUM_THREADS": "2"},
    "avx2": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "scalar": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
TRAIN = "train={clean: {epochs: 6, batch_size: 64, learning_rate: 1e-3, decay: %s}}"


def train(store: Path, machine: str, decay: str) -> None:
    """Train and evaluate the rows on ``machine`` with ``decay``.

    Finished runs are not repeated.
    """
    seeds = SEEDS if machine == next(iter(MACHINES)) else SEEDS[:1]
    command = [sys.executable, "-m", "vqbench", "run", "quick", "--store", str(store), "--set", ROWS]
    command += ["--set", TRAIN % decay, "--seeds", ",".join(map(str, seeds))]
    command += ["--set", "metrics=[l1, psnr]", "--set", "table={layout: rows, columns: [l1, psnr]}"]
    subprocess.run(command, env=os.environ | MACHINES[machine], check=True, stdout=subprocess.DEVNULL)


def values(root: Path) -> pd.DataFrame:
    """Read one row per run: decay, machine, quantizer, seed, PSNR [dB]."""
    rows = []
    for machine in MACHINES:
        for decay in DECAYS:
            for record in ResultStore(root / machine / decay).records():
                name, seed = record.run.quantizer.name, record.run.seed
                rows.append((decay, machine, name, seed, record.values["clean"]["psnr"].value))
    return pd.DataFrame(rows, columns=["decay", "machine", "quantizer", "seed", "psnr"])


def spread(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean and spread of PSNR [dB] over seeds, and its range over machines.

    The range is that of one seed.
    """
    home, seed = next(iter(MACHINES)), SEEDS[0]
    over_seeds = frame[frame.machine == home].groupby(["quantizer", "decay"]).psnr.agg(["mean", "std"])
    over_machines = frame[frame.seed == seed].groupby(["quantizer", "decay"]).psnr.agg(lambda x: x.max() - x.min())
    table = over_seeds.assign(machines=over_machines).reset_index()
    table.columns = ["quantizer", "decay", "mean [dB]", "std over seeds", "range over machines"]
    return table


def trained(root: Path) -> pd.DataFrame:
    """Train the missing runs in ``root``, and return the values of all runs."""
    for machine in MACHINES:
        for decay in DECAYS:
            train(root / machine / decay, machine, decay)
    frame = values(root)
    frame.to_csv(root / "protocol_noise.csv", index=False, float_format="%.4f")
    return frame


if __name__ == "__main__":
    given = Path(sys.argv[1])
    frame = pd.read_csv(given) if given.suffix == ".csv" else trained(given)
    print(spread(frame).to_markdown(index=False, floatfmt=".2f"))
