"""What training and evaluation store for pages: it is correct, survives a stop, and affects nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.recipes.test_autoencoder import Few, every_third, recipe, task
from vqbench.errors import Damaged, Interrupted
from vqbench.evaluation.snapshot_writer import SnapshotWriter, choose
from vqbench.quantizers.identity import Identity
from vqbench.quantizers.residual import Residual
from vqbench.quantizers.vq import VQ
from vqbench.store import snapshots
from vqbench.training.codebook_monitor import LINES, CodebookMonitor


def watched(*epochs: list[list[int]], codes: int = 4) -> tuple[CodebookMonitor, list[dict[str, Any]]]:
    """Return a monitor that counted batches of codes, one per position, and its entry of each epoch."""
    monitor, entries = CodebookMonitor(), []
    monitor.start(VQ(codes, 2), torch.device("cpu"))
    for batches in epochs:
        for batch in batches:
            monitor.codes(torch.tensor(batch).view(1, 1, -1, 1))
        entries.append(monitor.epoch_ended())
    return monitor, entries


def test_statistics_are_those_of_the_epoch() -> None:
    """Usage, perplexity, dead and revived codes are those of all batches of the epoch, and of no other."""
    _, entries = watched([[0, 0], [1, 1]], [[0, 0, 0, 2]], [[0, 1, 2, 3]])
    assert [epoch["usage"] for epoch in entries] == [50.0, 50.0, 100.0]
    assert [epoch["dead"] for epoch in entries] == [2, 2, 0]
    assert [epoch["revived"] for epoch in entries] == [0, 1, 2]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert [epoch["perplexity"] for epoch in entries] == pytest.approx([2, math.exp(entropy), 4], rel=1e-6)


def test_every_epoch_has_a_line_a_code(tmp_path: Path) -> None:
    """What is kept are the counts of every code in every epoch, by their logarithm; none alone is zero."""
    monitor, _ = watched([[0, 0, 0], [1]], [[3] * 1000])
    monitor.save(tmp_path)
    curves = snapshots.read_usage(tmp_path)
    assert curves is not None
    assert curves.shades.tolist() == [[16, 8, 0, 0], [0, 0, 0, round(8 * math.log2(1001))]]
    assert (curves.depth, curves.merged) == (1, 1)


def test_large_codebooks_share_lines(tmp_path: Path) -> None:
    """Of more codes than lines, neighbours share one, which shows the most used; counts of an epoch stay exact."""
    codes = 2 * LINES
    monitor, [entry] = watched([[0, 1, 1, codes - 1]], codes=codes)
    monitor.save(tmp_path)
    curves = snapshots.read_usage(tmp_path)
    assert curves is not None
    assert curves.merged == 2
    assert curves.shades.shape == (1, LINES)
    assert (curves.shades[0, 0], curves.shades[0, -1]) == (round(8 * math.log2(3)), 8)
    assert entry["dead"] == codes - 3


def test_depths_are_counted_by_themselves() -> None:
    """The second of two codes of a position is not taken for a first one."""
    monitor = CodebookMonitor()
    monitor.start(Residual(16, 4, depth=2), torch.device("cpu"))  # four codes a level
    monitor.codes(torch.tensor([[0, 3], [0, 3]]).view(1, 1, 2, 2))
    entry = monitor.epoch_ended()
    assert (entry["usage"], entry["perplexity"], entry["dead"]) == (25.0, pytest.approx(1.0), 6)


def test_a_quantizer_without_codes_is_not_monitored(tmp_path: Path) -> None:
    """The plain autoencoder has no codes, so nothing is counted and no file written."""
    monitor = CodebookMonitor()
    monitor.start(Identity(4, 2), torch.device("cpu"))
    monitor.codes(torch.empty(2, 3, 3, 0, dtype=torch.int64))
    assert monitor.epoch_ended() == {}
    assert monitor.state() is None
    monitor.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_stopped_and_continued_the_record_is_the_same(tmp_path: Path) -> None:
    """A training that is stopped repeatedly, also within epochs, stores what an uninterrupted one stores."""
    whole = recipe(epochs=3).fit(task(tmp_path / "whole"))
    calls = iter(range(1000))
    for _ in range(100):
        try:
            parts = recipe(epochs=3).fit(task(tmp_path / "parts", stopped=every_third(calls)))
            break
        except Interrupted:
            pass
    assert parts.history == whole.history
    assert {"usage", "perplexity", "dead", "revived"} <= whole.history[0].keys()
    one, other = snapshots.read_usage(tmp_path / "whole"), snapshots.read_usage(tmp_path / "parts")
    assert one is not None
    assert other is not None
    assert np.array_equal(one.shades, other.shades)


class Blind(CodebookMonitor):
    """Counts nothing."""

    def codes(self, codes: torch.Tensor) -> None:
        pass


def test_monitoring_changes_no_weight(tmp_path: Path) -> None:
    """With and without counting, a training ends with the same weights, bit for bit."""
    states = []
    for monitor in (CodebookMonitor(), Blind()):
        work = task(tmp_path / type(monitor).__name__, monitor=monitor)
        recipe().fit(work)
        states.append(work.model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


TWO_RANKS = """
import sys, torch, torch.distributed as dist
from pathlib import Path
from vqbench.distributed.collectives import WholeBatch
from vqbench.quantizers.vq import VQ
from vqbench.training.codebook_monitor import CodebookMonitor

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
before, monitor = CodebookMonitor(), CodebookMonitor()
before.start(VQ(4, 2), torch.device("cpu"))
before.codes(torch.tensor([[0, 1], [2, 2]][rank]).view(1, 1, 2, 1))
monitor.start(VQ(4, 2), torch.device("cpu"), before.state())
monitor.codes(torch.tensor([3]).view(1, 1, 1, 1))
with WholeBatch():  # both compute the whole of a batch that is too small to be divided
    monitor.codes(torch.tensor([0]).view(1, 1, 1, 1))
print(monitor.epoch_ended())
monitor.save(folder / str(rank))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_ranks_add_up(tmp_path: Path) -> None:
    """Two ranks count what one would, across a checkpoint too; both return the same, and the first one saves."""
    words = [[sys.executable, "-c", TWO_RANKS, str(rank), str(tmp_path)] for rank in (0, 1)]
    processes = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True) for each in words]
    first, second = (process.communicate(timeout=300)[0] for process in processes)
    assert first == second
    curves = snapshots.read_usage(tmp_path / "0")
    assert curves is not None
    assert np.round(2 ** (curves.shades[0] / snapshots.SHADES) - 1).tolist() == [2, 1, 2, 2]
    assert not (tmp_path / "1").exists()


# The portrait ---------------------------------------------------------------------------------------------------------


def sat(folder: Path, quantizer: Any, lpips: np.ndarray | None = None) -> snapshots.Snapshot:
    """The portrait of an untrained model that saw all test images."""
    work = task(folder, quantizer)
    work.model.eval()
    sitting = SnapshotWriter(work.model, torch.device("cpu"))
    with torch.no_grad():
        sitting.see(work.model(work.dataset.pixels("test").float() / 127.5 - 1)[1].codes)
    sitting.draw(folder, work.dataset, sitting.counts(), lpips)
    portrait = snapshots.read_snapshot(folder)
    assert portrait is not None
    return portrait


def test_the_portrait_shows_what_the_model_makes(tmp_path: Path) -> None:
    """Counts are of all codes of the split; images are the chosen originals and their reconstructions."""
    lpips = np.random.default_rng(0).uniform(size=100).astype(np.float32)
    portrait = sat(tmp_path, VQ(32, 8), lpips)
    assert portrait.counts is not None
    assert portrait.counts.shape == (1, 32)
    assert portrait.counts.sum() == 100 * 49 == 100 * portrait.positions
    assert np.array_equal(portrait.originals, Few().pixels("test")[torch.from_numpy(portrait.chosen)].numpy())
    assert portrait.reconstructions.shape == portrait.originals.shape
    order = np.argsort(-lpips)
    for group, expected in (("worst", order[:2]), ("best", order[-2:])):
        assert set(portrait.chosen[portrait.groups == group]) == set(expected)
    assert portrait.scores == pytest.approx(lpips[portrait.chosen])
    assert portrait.codes_at is not None
    assert portrait.codes_at.shape == (32, 2)
    assert portrait.decoded is not None
    assert portrait.decoded.shape == (32, 1, 8, 8)
    assert (tmp_path / snapshots.SNAPSHOT_FILE).stat().st_size < 100_000


def test_a_plane_keeps_distances() -> None:
    """In two dimensions the projection is a rotation: distances between features and codes are the model's own."""
    quantizer = VQ(5, 2)
    work = task(Path("unused"), VQ(32, 8))
    work.model.quantizer = quantizer
    z = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    codes, features, explained = SnapshotWriter(work.model, torch.device("cpu"))._plane(z)
    assert codes is not None
    true = torch.cdist(z.permute(0, 2, 3, 1).reshape(-1, 2), quantizer.codebook.detach())
    assert np.linalg.norm(features[:, None] - codes[None], axis=2) == pytest.approx(true.numpy(), abs=1e-5)
    assert explained.sum() == pytest.approx(1)


@pytest.mark.parametrize("quantizer", [Identity(32, 8), Residual(64, 8, depth=2)])
def test_portraits_without_one_code_a_position(tmp_path: Path, quantizer: Any) -> None:
    """Without a codebook, or with several codes per position, images and features are stored, and no single codes."""
    portrait = sat(tmp_path, quantizer)
    assert (portrait.codes_at, portrait.decoded) == (None, None)
    assert portrait.features_at is not None
    assert np.isnan(portrait.scores).all()
    assert (portrait.counts is None) == (quantizer.depth == 0)


def test_every_run_shows_the_same_images() -> None:
    """The common images depend on the split alone, and few or broken values of LPIPS choose none."""
    common = choose(1000, np.random.default_rng(1).uniform(size=1000))
    assert np.array_equal(common[0][common[1] == "same"], choose(1000, None)[0])
    assert set(choose(1000, np.full(1000, np.nan))[1]) == {"same"}
    assert set(choose(1000, np.zeros(3))[1]) == {"same"}


@pytest.mark.parametrize("count", [1, 5, 64, 1000, 10_000])
def test_the_first_common_images_are_spread_evenly(count: int) -> None:
    """64 images are kept, each once, and the first 8 of them are those that all published runs have."""
    chosen, _ = choose(count, None)
    assert len(set(chosen.tolist())) == len(chosen) == min(64, count)
    if count >= 8:
        assert sorted(chosen[:8].tolist()) == [i * count // 8 for i in range(8)]
    assert len(choose(count, None, large=True)[0]) == min(16, count)


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    """A truncated file is an error with its name, not an image."""
    watched([[0]])[0].save(tmp_path)
    path = tmp_path / snapshots.USAGE_FILE
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(Damaged, match=r"curves\.npz: damaged"):
        snapshots.read_usage(tmp_path)


def test_large_files_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are copied; large ones are not, and are named."""
    watched([[0]])[0].save(tmp_path / "runs")
    assert snapshots.copy(tmp_path / "runs", tmp_path / "results") == []
    assert snapshots.read_usage(tmp_path / "results") is not None
    monkeypatch.setattr(snapshots, "PUBLISHED", 10)
    assert snapshots.copy(tmp_path / "runs", tmp_path / "other") == [tmp_path / "runs" / snapshots.USAGE_FILE]
    assert not (tmp_path / "other").exists()
