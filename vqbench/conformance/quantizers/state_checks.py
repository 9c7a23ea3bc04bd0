"""Check that one seed gives one result, and that ``state_dict`` is complete.

Also that inputs stay unchanged and memory does not grow.
"""

from __future__ import annotations

import gc
import io
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from vqbench.conformance.comparison import differing, state
from vqbench.conformance.outcome import Check, Fail
from vqbench.conformance.quantizers.case import QuantizerCase, evaluate, outputs, train_step
from vqbench.quantizer import Quantizer


def one_seed_one_result(case: QuantizerCase) -> None:
    """The same seeds give the same result, bit for bit.

    Only torch's default generator is used.

    The recipe seeds torch's default generator for every step; other generators would not be seeded, nor resumed.
    """
    foreign = random.getstate(), np.random.get_state()
    ends = []
    for _ in range(2):
        quantizer = case.trained()
        step = train_step(quantizer, case.features(seed=9), seed=9)
        ends.append({**state(quantizer), **outputs(step.out), "objective": step.objective.detach()})
    if random.getstate() != foreign[0]:
        raise Fail(
            "draws from Python's random", "draw from torch's default generator, preferably by vqbench.functional"
        )
    if any(not np.array_equal(a, b) for a, b in zip(np.random.get_state(), foreign[1], strict=True)):
        raise Fail(
            "draws from numpy's generator", "draw from torch's default generator, preferably by vqbench.functional"
        )
    if names := differing(*ends):
        raise Fail(
            f"trained twice after the same seeds, {', '.join(names)} differ",
            "draw every random number from torch's default generator, preferably by vqbench.functional",
        )
    after = []
    for seed in (1, 2):
        train_step(case.build(), case.features(), seed=seed)
        after.append(torch.get_rng_state())
    if torch.equal(*after):
        raise Fail(
            "seeds torch's generator itself", "leave seeding to the recipe: your seed would reach every other draw"
        )


def state_dict_is_all(case: QuantizerCase) -> None:
    """Saved and loaded into a new object, it trains on as the original.

    The next two steps are equal.
    """
    original = case.trained()
    file = io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    restored = case.build(seed=99)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for step in (7, 8):
        ends = []
        for quantizer in (original, restored):
            taken = train_step(quantizer, case.features(seed=step), seed=step)
            ends.append({**outputs(taken.out), "objective": taken.objective.detach(), **state(quantizer)})
        if names := differing(*ends):
            raise Fail(
                f"after saving and loading the next step has another {', '.join(names)}",
                "keep all that training changes in nn.Parameters and nn.Buffers, flags and counters too",
            )


def input_is_left_alone(case: QuantizerCase) -> None:
    """The input features are not changed in place."""
    quantizer, z = case.build(), case.features()
    before, version = z.clone(), z._version
    quantizer(z)
    evaluate(quantizer, z)
    if not torch.equal(before, z) or z._version != version:
        raise Fail("z is changed in place", "create a new tensor: the encoder's backward pass needs its output")


def memory_stays(case: QuantizerCase) -> None:
    """Memory does not grow with training, and no graph outlives its step.

    Fifty steps keep no more tensors and bytes than twenty-five, whatever else the process keeps.
    """
    quantizer, alive = _trained_apart(case)
    for name, tensor in _attributes(quantizer):
        if tensor.grad_fn is not None:
            raise Fail(
                f"{name} keeps the graph of its step, and with it that of every step before",
                "update statistics under torch.no_grad(), or detach their inputs",
            )
    (tensors, size), (tensors_after, size_after) = alive
    if tensors_after > tensors + 5 or size_after - size > 0.02 * size + 1024:
        raise Fail(
            f"25 steps leave {tensors_after - tensors} tensors and {size_after - size:,} bytes behind",
            "keep no tensors in lists, and give a pool of features a fixed size",
        )


def _trained_apart(case: QuantizerCase) -> tuple[Quantizer, list[tuple[int, int]]]:
    """Return a quantizer after fifty steps, and what was alive after 25 and 50.

    All objects from before are hidden from the garbage collector: a collection among those of a large process, which
    has imported torch, takes a third of a second, and what they hold is not the quantizer's.
    """
    alive = []
    gc.freeze()
    try:
        quantizer = case.build()
        for step in range(50):
            train_step(quantizer, case.features(), seed=step)
            if step in (24, 49):
                alive.append(_alive())
    finally:
        gc.unfreeze()
    return quantizer, alive


def _alive() -> tuple[int, int]:
    """Count the tensors that are alive, and their bytes."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) in (Tensor, nn.Parameter)]  # proxies excluded
    tensors = [each for each in tensors if each.layout == torch.strided and each.device.type != "meta"]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    return len(tensors), sum(storages.values())


def _attributes(quantizer: Quantizer) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor that is an attribute of the quantizer or its modules."""
    for prefix, module in quantizer.named_modules():
        for name, value in {**vars(module), **module._buffers, **module._parameters}.items():
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, Tensor):
                    yield f"{prefix}.{name}".lstrip("."), each


CHECKS = (
    Check(one_seed_one_result),
    Check(state_dict_is_all, "lucidrains/vector-quantize-pytorch#61"),
    Check(input_is_left_alone),
    Check(memory_stays, "lucidrains/vector-quantize-pytorch#57"),
)
