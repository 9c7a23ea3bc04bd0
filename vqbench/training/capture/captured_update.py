"""Replay updates as a CUDA graph, where device and method allow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from vqbench.errors import RunError, named
from vqbench.training.capture.capturable_adam import CapturableAdam
from vqbench.training.capture.host_state import HostState, changed_name
from vqbench.training.capture.recorded_operations import Operation, OperationRecorder, difference

if TYPE_CHECKING:
    from vqbench.quantizer import Quantizer
    from vqbench.training.engine import Engine

ALIKE = 3  # consecutive updates, computed one by one, that must be alike before one is captured
MOST_CHANGES = 8  # of what an update does, after which it stays uncaptured

Compute = Callable[[Tensor], Tensor]  # an update on the images (B,), to its terms (terms,)


class CapturableRecipe(Protocol):
    """What is asked of a :class:`vqbench.recipe.Recipe`."""

    captures: ClassVar[bool]


class UpdateCapture:
    """Decides whether the updates of a run are captured, and counts replays.

    A recipe with ``captures`` makes its optimizer by :meth:`adam` and its update by :meth:`update`.

    Args:
        recipe, quantizer, engine: those of the run.
        log: called with one sentence if updates are not captured.

    Attributes:
        refusal: why updates are not captured; None: they are, as far as is known.
    """

    def __init__(
        self,
        recipe: CapturableRecipe,
        quantizer: Quantizer,
        engine: Engine,
        log: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.device, self.owner, self.log = engine.device, type(quantizer).__name__, log
        self.refusal: str | None = None
        self.replayed = 0  # updates, since the start of this process
        if engine.device.type != "cuda":
            self.refuse("the device is a CPU, which has no CUDA graphs")
        elif engine.group.size > 1:
            self.refuse("several ranks share each update")
        elif not recipe.captures:
            self.refuse(f"{type(recipe).__name__} computes its updates one by one")
        elif quantizer.uncapturable:
            self.refuse(f"{self.owner} declares: {quantizer.uncapturable}")

    def refuse(self, reason: str) -> None:
        """Compute all further updates one by one, for this ``reason``."""
        self.refusal = reason
        self.log(f"--capture: updates are not captured, since {reason}")

    def adam(self, groups: list[dict[str, Any]], rate: float) -> torch.optim.Adam:
        """Return Adam for these groups of parameters, capturable unless refused."""
        if self.refusal is not None:
            return torch.optim.Adam(groups, lr=rate)
        return CapturableAdam(groups, rate, self.device)

    def update(self, compute: Compute, model: nn.Module, images: int) -> Compute:
        """Return ``compute``, captured unless refused.

        Args:
            compute: takes the places of a batch's images (B,), and does all of an update but what changes from one to
                the next: seeds, ``anneal`` and learning rate. It must leave its tensors where they are.
            model: all that is trained.
            images: of a whole batch; updates on fewer are computed without the graph.
        """
        return compute if self.refusal is not None else CapturedUpdate(self, compute, model, images)

    def about(self) -> dict[str, Any]:
        """Return what the record of the run says."""
        return {"replayed": self.replayed, **({} if self.refusal is None else {"refused": self.refusal})}


class CapturedUpdate:
    """An update that is computed a few times, then captured, then replayed.

    Before a capture, :data:`ALIKE` consecutive updates must be of the same operations with the same numbers, none of
    which waits for the device, and must leave the plain attributes of the model and the places of its tensors as they
    are: whatever differed would be frozen in the graph. If these change later, for example because ``anneal`` sets an
    attribute, the graph is dropped and another one captured in the same way.
    """

    def __init__(self, capture: UpdateCapture, compute: Compute, model: nn.Module, images: int) -> None:
        self._capture, self._compute, self._model, self._images = capture, compute, model, images
        self._host = HostState(model)
        self._state: dict[tuple[str, str], Any] | None = None  # after the last whole update
        self._operations: list[Operation] = []  # of the last update that was not replayed
        self._alike = self._changes = self._obstacles = 0  # the last: updates in a row with one
        self._graph: torch.cuda.CUDAGraph | None = None
        self._index: Tensor  # (B,) and ...
        self._terms: Tensor  # (terms,): where the graph reads and writes
        self._stream = torch.cuda.Stream(capture.device)

    def __call__(self, index: Tensor) -> Tensor:
        """Do the update on the images ``index`` (B,), and return its terms (terms,)."""
        if self._capture.refusal is not None or len(index) != self._images:
            return self._compute(index)
        before = self._host.read()
        if self._state is not None and before != self._state:
            self._changed(f"{changed_name(self._state, before)} of {self._capture.owner} changes between updates")
            self._operations = []  # those before the change
        if self._graph is None and self._alike >= ALIKE:
            self._record(index)
        if self._graph is None or self._capture.refusal is not None:
            return self._computed(index, before)
        self._index.copy_(index)
        self._graph.replay()
        self._capture.replayed += 1
        return self._terms

    def _computed(self, index: Tensor, before: dict[tuple[str, str], Any]) -> Tensor:
        """Compute an update, and note whether it is like the last one."""
        if self._capture.refusal is not None:
            return self._compute(index)
        recorder = OperationRecorder(self._capture.device)
        outside = torch.cuda.current_stream(self._capture.device)
        self._stream.wait_stream(outside)
        with torch.cuda.stream(self._stream), recorder:  # on the stream of the capture, for what is made only once
            terms = self._compute(index)
        outside.wait_stream(self._stream)
        after = self._host.read()
        if changed := changed_name(before, after):
            self._changed(f"{changed} of {self._capture.owner} changes within updates")
        elif self._operations and (text := difference(self._operations, recorder.operations)):
            self._changed(f"the operations of {self._capture.owner} change: {text}")
            self._alike = 1
        else:
            self._alike += 1
        self._obstacles = self._obstacles + 1 if recorder.obstacle else 0
        if (
            self._obstacles > 1 and self._capture.refusal is None
        ):  # a codebook that starts from the first batch may wait there
            self._capture.refuse(f"{recorder.obstacle} in updates of {self._capture.owner}")
        self._state, self._operations = after, recorder.operations
        return terms

    def _changed(self, what: str) -> None:
        """Start over, since what an update does has changed."""
        self._graph, self._alike = None, 0
        self._changes += 1
        if self._changes > MOST_CHANGES and self._capture.refusal is None:
            self._capture.refuse(what)

    def _record(self, index: Tensor) -> None:
        """Capture the update, without doing it.

        Raises RunError where a capture failed and left the device in a state in which nothing more can be computed.
        """
        device = self._capture.device
        self._index = index.clone()
        for parameter in self._model.parameters():
            parameter.grad = None  # so that gradients are made in the memory of the graph
        random, graph = torch.cuda.get_rng_state(device), torch.cuda.CUDAGraph()
        try:
            here = torch.cuda.stream(torch.cuda.current_stream(device))  # which a failed capture would not restore
            with here, torch.cuda.graph(graph, stream=self._stream):
                self._terms = self._compute(self._index)
        except RuntimeError as error:
            self._recover(error, random)
            self._capture.refuse(f"the capture of {self._capture.owner} failed ({_first_line(error)})")
            return
        self._graph = graph

    def _recover(self, error: RuntimeError, random: Tensor) -> None:
        """Make sure that the device still computes.

        Raises RunError otherwise.
        """
        device = self._capture.device
        try:
            torch.cuda.synchronize(device)
            torch.cuda.set_rng_state(random, device)
            whole = bool(torch.rand((), device=device) < 1) and self._host.read() == self._state
        except RuntimeError:
            whole = False
        if not whole:
            raise RunError(
                f"--capture: the capture of {self._capture.owner} failed ({_first_line(error)}), and the device does "
                "not recover from it; leave the option out"
            ) from error
        torch.cuda.set_rng_state(random, device)


def _first_line(error: RuntimeError) -> str:
    return named(error).partition("\n")[0]
