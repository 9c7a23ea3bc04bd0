"""A roofline model of a training step: its work and the machine's peak rates.

A step is four parts: encoder, quantizer, decoder and optimizer. Each is counted by itself and timed within the step,
forward and backward. Its limit is the larger of operations and bytes, each divided by the machine's peak rate, as if
one hid the other perfectly, and the step's limit is the sum over its parts. The rest is what the whole step takes
beyond its parts: loading and scaling images, the reconstruction error, and the loop itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vqbench.backbone import Autoencoder
from vqbench.functional.precision import float32_products
from vqbench.images import to_unit
from vqbench.profiling.timing import GPU_CALLS, Call, Noise, StepTimer, backward, feature_map, now
from vqbench.quantizer import Quantizer

FLOAT, CODE, IMAGE = 4, 8, 1  # bytes of a float32, of an int64 code, of a uint8 pixel
CountedCall = tuple[Call, int]  # a call, and its floating-point operations


@dataclass
class CostItem:
    """A part of a step, with the least that it must compute and move."""

    call: Call
    operations: int  # floating-point operations of products and convolutions; a multiply-add is two
    bytes: int
    type: str  # of the products
    launches: int | None = None  # kernels, on a GPU


def parts(step: StepTimer, device: torch.device) -> dict[str, CostItem]:
    """Build the parts of ``step``, on models of their own, ready to be called."""
    dataset = Noise(step.like, step.like.batch)
    model = step.model(dataset).to(device)
    x = to_unit(dataset.pixels("train").to(device))
    n, dim = step.like.batch * step.like.positions, model.quantizer.dim
    z, upstream = feature_map(n, dim, device), feature_map(n, dim, device)
    half = step.precision == "bf16"

    def through(run: Callable[[Tensor], Tensor], given: Tensor, upstream: Tensor, gradient: bool) -> Call:
        def call() -> None:
            leaf = given.detach().requires_grad_(gradient)
            model.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                out = run(leaf)
            out.backward(upstream.to(out.dtype))

        return call

    def quantize() -> None:
        model.zero_grad()
        leaf = z.detach().requires_grad_()
        backward(model.quantizer(leaf), upstream)

    model.train()
    backbone_type = {"float32": "float32", "tf32": "tf32", "bf16": "bf16"}[step.precision]
    encode = through(model.backbone.encode, x, upstream, False)
    decode = through(model.backbone.decode, z, torch.randn_like(x), True)
    items = {
        "encoder": CostItem(encode, *counted(model, encode), backbone_type),
        "quantizer": CostItem(quantize, *quantizer_cost(model.quantizer, quantize, n), "float32"),
        "decoder": CostItem(decode, *counted(model, decode), backbone_type),
        "optimizer": optimizer(model),
    }
    if device.type == "cuda":
        for part in items.values():
            part.launches = launches(part.call)
    return items


# Counting -------------------------------------------------------------------------------------------------------------


def operations(call: Call) -> int:
    """Count the operations of the products and convolutions of ``call``."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def counted(model: Autoencoder, call: Call) -> tuple[int, int]:
    """Count the operations of ``call``, and the bytes that its layers must move."""
    traffic = Traffic(model.backbone)
    try:
        return operations(call), traffic.bytes
    finally:
        traffic.remove()


@dataclass
class Traffic:
    """The bytes between memory and processor for every layer with weights.

    Forward and backward.

    Forward reads input and weights and writes the output; backward reads the output's gradient, input and weights, and
    writes the gradients of weights and, if needed, of the input. Everything between two such layers
    (activations, skips) could be fused with them, and is not counted.
    """

    model: nn.Module
    bytes: int = 0
    hooks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for module in self.model.modules():
            if list(module.parameters(recurse=False)):
                self.hooks.append(module.register_forward_hook(self._add))

    def _add(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        width = output.element_size()  # of what autocast computes in; inputs and weights are cast to it
        weights = sum(weight.numel() for weight in module.parameters(recurse=False))
        gradient = inputs[0].numel() if inputs[0].requires_grad else 0
        self.bytes += width * (2 * inputs[0].numel() + 2 * output.numel() + 2 * weights + gradient) + FLOAT * weights

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()


def quantizer_cost(quantizer: Quantizer, call: Call, n: int) -> tuple[int, int]:
    """Count the quantizer's operations, and the bytes that it must move.

    At least one product of all features with all codes is needed for each code of a position, even if torch counts
    none because a custom kernel computes it. Bytes: forward reads z and the codebook and writes z_q and codes;
    backward reads z, z_q and the gradient of z_q, and writes the gradients of z and of the codebook.
    """
    if quantizer.depth == 0:
        return 0, 0
    rows, codebook = n * quantizer.dim, quantizer.num_codes * quantizer.dim
    least = 2 * n * quantizer.num_codes * quantizer.dim * quantizer.depth
    return max(operations(call), least), FLOAT * (6 * rows + 2 * codebook) + CODE * n * quantizer.depth


def optimizer(model: Autoencoder) -> CostItem:
    """Build the update of all parameters by Adam.

    It reads weights, gradients and two moments, and writes weights and moments.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    copies = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    adam = torch.optim.Adam(copies, lr=3e-4)
    return CostItem(adam.step, 0, 7 * FLOAT * sum(copy.numel() for copy in copies), "float32")


def rest(step: StepTimer) -> int:
    """Count the bytes of a step outside its parts.

    Images are read and scaled; the error reads both and writes a gradient.
    """
    values = step.like.batch * step.like.channels * step.like.size**2
    return values * (IMAGE + 4 * FLOAT)


def launches(call: Call) -> int:
    """Count the kernels that ``call`` starts on the GPU."""
    from torch.profiler import ProfilerActivity, profile

    call()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        call()
        torch.cuda.synchronize()
    return sum(each.count for each in trace.key_averages() if "LaunchKernel" in each.key)


# Peak rates ---------------------------------------------------------------------------------------------------------


def peak_rates(device: torch.device) -> dict[str, float]:
    """Measure this machine's peak rates.

    Operations per second by type, bytes per second, and on a GPU seconds per launch.
    """
    gpu = device.type == "cuda"
    rates = {"float32": _products(device, torch.float32), "bf16": _products(device, torch.bfloat16)}
    rates["tf32"] = _products(device, torch.float32, tf32=True) if gpu else rates["float32"]
    source = torch.ones(2**28 if gpu else 2**26, device=device)  # floats: far more than any cache holds
    target = torch.empty_like(source)
    rates["bytes"] = 2 * FLOAT * source.numel() / _best(lambda: target.copy_(source), device)  # each read, and written
    if gpu:
        one = torch.zeros(1, device=device)
        rates["launch"] = _best(lambda: one.add_(1), device, calls=1000)
    return rates


def _products(device: torch.device, dtype: torch.dtype, tf32: bool = False) -> float:
    """Return the operations per second of the fastest product or convolution.

    Convolutions have kernels of their own. Sizes grow as long as they are affordable: where a CPU lacks instructions
    for ``dtype``, a large product takes minutes, at the rate of a small one.
    """
    gpu = device.type == "cuda"
    layer: Any = nn.Conv2d(128, 128, 3, padding=1, device=device, dtype=dtype)
    layer = layer.to(memory_format=torch.channels_last)

    def product(side: int) -> CountedCall:
        a = torch.ones(side, side, device=device, dtype=dtype)
        return partial(torch.mm, a, a, out=torch.empty_like(a)), 2 * side**3

    def convolution(batch: int) -> CountedCall:
        x = torch.ones(batch, 128, 16, 16, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        return partial(layer, x), 2 * x.numel() * 128 * 3 * 3

    with float32_products(tf32), torch.no_grad():
        return max(
            _highest_rate((product(side) for side in ((4096, 8192) if gpu else (256, 1024, 2048))), device),
            _highest_rate((convolution(batch) for batch in ((256,) if gpu else (4, 256))), device),
        )


def _highest_rate(growing: Iterable[CountedCall], device: torch.device) -> float:
    """Return the operations per second of the fastest call.

    The calls grow; the first that would take over a second ends them.
    """
    rate = 0.0
    for call, operations in growing:
        if rate and operations / rate > 1:
            break
        rate = max(rate, operations / _best(call, device))
    return rate


def _best(call: Call, device: torch.device, calls: int | None = None) -> float:
    """Return the least seconds per call, of several within half a second or so."""
    calls = calls or (GPU_CALLS if device.type == "cuda" else 1)
    call()
    best = float("inf")
    ends = time.monotonic() + 0.5
    for tries in range(100):
        if tries >= 3 and time.monotonic() > ends:
            break
        started = now(device)
        for _ in range(calls):
            call()
        best = min(best, (now(device) - started) / calls)
    return best
