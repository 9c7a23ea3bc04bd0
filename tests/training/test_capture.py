"""Captured updates on a pretended GPU: replays give the weights of updates computed one by one."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest
import torch
from torch import Tensor

from tests.support import captured_updates
from tests.support.captured_updates import REFUSED, UPDATES, different, recipe
from tests.support.pretended_gpu import PretendedGpu
from tests.support.pretended_graph import PretendedGraph, pretended_graphs
from vqbench import registry
from vqbench.conformance.recipes.case import RecipeCase
from vqbench.distributed.group import RankGroup
from vqbench.errors import RunError
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.quantizers.vq import VQ
from vqbench.recipes.autoencoder import ReconstructionRecipe, ReconstructionTraining
from vqbench.training.capture import captured_update
from vqbench.training.capture.captured_update import ALIKE, UpdateCapture
from vqbench.training.capture.host_state import HostState
from vqbench.training.engine import Engine


def trained(
    cls: type[Quantizer], how: Literal["captured", "single", "plain"] = "captured"
) -> tuple[dict[str, Tensor], UpdateCapture]:
    """A short training on the pretended device."""
    with PretendedGpu() as gpu, pretended_graphs(gpu):
        return captured_updates.trained(cls, how)


FEW = ("vq", "vq_ema_restart", "cvq", "gumbel", "kmeans")  # the others are captured by `tox -e integration`
ALL = [
    name if name in FEW else pytest.param(name, marks=pytest.mark.integration) for name in registry.names("quantizers")
]


@pytest.mark.parametrize("name", ALL)
def test_replays_give_the_weights_of_single_updates(name: str) -> None:
    """Replayed updates end with the same bits, for every quantizer but those whose updates make the host wait.

    Numbers that are frozen in a graph, of ``anneal`` or the learning rate, would lead to others.
    """
    cls = registry.load("quantizers", name)
    captured, capture = trained(cls)
    single, without = trained(cls, "single")
    assert not different(single, captured)
    assert without.replayed == 0
    if name in REFUSED:
        assert capture.replayed == 0
        assert REFUSED[name] in str(capture.refusal)
    else:
        assert capture.refusal is None
        assert capture.replayed >= 3


def test_whole_batches_are_replayed() -> None:
    """All whole batches after the first ones are replays of one graph; the smaller batch is not."""
    _, capture = trained(VQ)
    (graph,) = PretendedGraph.made
    assert graph.replays == capture.replayed
    assert UPDATES - 1 - graph.replays in (ALIKE, ALIKE + 1, ALIKE + 2)


class Numbered(VQ):
    """A VQ whose forward pass depends on a number."""

    paper = "none"
    number = 0.0

    def forward(self, z: Tensor) -> QuantizerOutput:
        output = super().forward(z)
        output.loss = output.loss + self.factor() * self.codebook.square().mean()
        return output

    def factor(self) -> Any:
        return self.number


class ByAnneal(Numbered):
    def anneal(self, progress: float) -> None:
        self.number = progress


class ByForward(Numbered):
    def factor(self) -> Any:
        self.number += 1.0
        return self.number


class FromOutside(Numbered):
    numbers: list[float] = [0.0]  # noqa: RUF012  # no attribute of a module, so no check of attributes sees it

    def factor(self) -> Any:
        self.numbers[0] += 1.0
        return self.numbers[0]


class OfHost(Numbered):
    def factor(self) -> Any:
        return torch.arange(3.0).sum().to(self.codebook.device, non_blocking=True)


class HostScalar(Numbered):
    def anneal(self, progress: float) -> None:
        type(self).scalar.fill_(progress)

    scalar = torch.zeros(())

    def factor(self) -> Any:
        return self.scalar


class Rebound(Numbered):
    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim)
        self.average = torch.nn.Buffer(torch.zeros(()))

    def factor(self) -> Any:
        self.average = self.average * 0.5 + 1.0
        return self.average


class Waiting(Numbered):
    def factor(self) -> Any:
        return self.codebook.sum().item()


class Declared(Numbered):
    uncapturable = "it reads the clock"


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        (ByAnneal, "quantizer.number of ByAnneal changes between updates"),
        (ByForward, "quantizer.number of ByForward changes within updates"),
        (FromOutside, "change: aten.mul.Tensor"),
        (OfHost, "arange works on a tensor of the CPU"),
        (HostScalar, "change: aten.mul.Tensor"),
        (Rebound, "quantizer.average of Rebound changes within updates"),
        (Waiting, "the host waits for the result of _local_scalar_dense in updates of Waiting"),
        (Declared, "Declared declares: it reads the clock"),
    ],
)
def test_what_a_graph_would_freeze_is_refused(planted: type[Quantizer], says: str) -> None:
    """Each kind of number that a replay would repeat is found, and named; updates are then computed one by one."""
    _, capture = trained(planted)
    assert says in str(capture.refusal)
    assert capture.replayed == 0
    assert capture.about() == {"replayed": 0, "refused": capture.refusal}


@pytest.mark.parametrize("planted", [ByAnneal, FromOutside, Rebound])
def test_a_replay_freezes_what_is_not_refused(planted: type[Quantizer]) -> None:
    """Without the checks the same faults lead to other weights, so that equal weights above mean something."""
    FromOutside.numbers[0] = 0.0
    with (
        mock.patch.object(HostState, "read", return_value={}),
        mock.patch.object(captured_update, "difference", return_value=None),
    ):
        captured, capture = trained(planted)
    FromOutside.numbers[0] = 0.0
    single, _ = trained(planted, "single")
    assert capture.replayed > 0
    assert different(single, captured)


class ChangesOnce(Numbered):
    def anneal(self, progress: float) -> None:
        self.number = float(progress > 0.5)


def test_a_late_change_leads_to_another_graph() -> None:
    """An attribute that ``anneal`` sets once drops the graph; another one is captured, and no weight differs."""
    captured, _ = trained(ChangesOnce)
    assert [graph.replays > 0 for graph in PretendedGraph.made] == [True, True]
    single, _ = trained(ChangesOnce, "single")
    assert not different(single, captured)


def failing(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing\nand more lines")


def test_a_failed_capture_is_named() -> None:
    """Where torch refuses a capture, updates are computed one by one, and the first line of its error is the reason."""
    with mock.patch("tests.support.pretended_graph.PretendedGraph.captured", failing):
        captured, capture = trained(VQ)
    assert capture.refusal == (
        "the capture of VQ failed (RuntimeError: operation not permitted when stream is capturing)"
    )
    single, _ = trained(VQ, "single")
    assert not different(single, captured)


def test_a_lost_device_fails_the_run() -> None:
    """Where the device does not recover from a failed capture, the run fails with what to do."""
    with (
        mock.patch("tests.support.pretended_graph.PretendedGraph.captured", failing),
        mock.patch.object(HostState, "read", side_effect=[{}] * 9 + [RuntimeError("lost")] * 9),
        pytest.raises(RunError, match=r"--capture: the capture of VQ failed .* leave the option out"),
    ):
        trained(VQ)


@pytest.mark.parametrize("asked", [False, True])
def test_a_training_is_freed_with_its_end(asked: bool, tmp_path: Path) -> None:
    """Nothing of a training outlives it, although no garbage is collected: it may hold the memory of a graph."""
    case = RecipeCase("autoencoder", ReconstructionRecipe, ReconstructionRecipe.check_args)
    task = case.task(tmp_path)
    if asked:
        task.capture = UpdateCapture(case.build(), task.model.quantizer, task.engine)
    training = ReconstructionTraining(case.build(), task)
    training.start_epoch(0, torch.arange(training.images), 0)
    training.update(0, 0)
    alive = weakref.ref(training)
    gc.collect()
    gc.disable()
    try:
        del training
        assert alive() is None
    finally:
        gc.enable()


def test_refusals_before_the_training() -> None:
    """A CPU, several ranks, and a recipe without such an update are refused with one sentence each."""
    log: list[str] = []
    vq = VQ(16, 8)
    with PretendedGpu():
        UpdateCapture(recipe(), vq, Engine("cpu"), log.append)
        cuda = Engine("cuda")
        UpdateCapture(recipe("gan"), vq, cuda, log.append)
        cuda.group = RankGroup(0, 2, 0, 2)
        UpdateCapture(recipe(), vq, cuda, log.append)
    assert log == [
        f"--capture: updates are not captured, since {reason}"
        for reason in (
            "the device is a CPU, which has no CUDA graphs",
            "Gan computes its updates one by one",
            "several ranks share each update",
        )
    ]
