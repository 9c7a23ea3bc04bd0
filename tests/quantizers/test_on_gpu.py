"""Quantizers on a pretended GPU: nothing of an update is on the CPU, or makes the host wait."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.pretended_gpu import PretendedGpu
from vqbench import registry
from vqbench.conformance.quantizers.case import QuantizerCase
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.vq import VQ

NAMES = sorted(registry.names("quantizers"))
WAITING = {
    "lucidrains": "vector-quantize-pytorch reads a flag from the device",
    "kmeans": "its one fit asks whether a code moved",
    "wasserstein_vq": "eigenvalues of each update are found by the host",
}


def trained(gpu: PretendedGpu, cls: type[Any], args: dict[str, Any]) -> None:
    """Three updates and an evaluation of a small quantizer, watched."""
    torch.manual_seed(0)
    quantizer = QuantizerCase(cls.__name__, cls, args).build().to("cuda")
    adam = torch.optim.Adam([*quantizer.parameters(), torch.zeros(1, requires_grad=True, device="cuda")])
    with gpu.watched():
        for step in range(3):
            quantizer.train()
            quantizer.anneal(step / 3)
            z = torch.randn(2, quantizer.dim, 5, 5, device="cuda").requires_grad_()
            output = quantizer(z)
            quantizer.objective((output.z_q - 1).square().mean(), output, 75).backward()
            adam.step()
        quantizer.eval()
        with torch.no_grad():
            output = quantizer(z.detach())
            if quantizer.depth:
                quantizer.decode(output.codes)


@pytest.mark.parametrize("name", NAMES)
def test_a_quantizer_stays_on_its_device(name: str) -> None:
    """Forward, objective, backward, evaluation and decoding wait for nothing and copy nothing."""
    with PretendedGpu() as gpu:
        cls = registry.load("quantizers", name)
        trained(gpu, cls, QuantizerCase.usual_args(cls))
    assert sum(gpu.launches.values()) > 10
    found = [str(finding) for finding in gpu.findings]
    assert bool(found) == (name in WAITING), found
    assert all(finding.kind == "waits" for finding in gpu.findings), found


class WithSum(VQ):
    """A VQ whose loss has a further term."""

    def further(self, output: QuantizerOutput) -> Tensor | float:
        raise NotImplementedError

    def forward(self, z: Tensor) -> QuantizerOutput:
        output = super().forward(z)
        output.loss = output.loss + self.further(output)
        return output


class NoDevice(WithSum):
    def further(self, output: QuantizerOutput) -> Tensor:
        return (torch.zeros(self.num_codes) + self.codebook.sum(1)).mean()


class Item(WithSum):
    def further(self, output: QuantizerOutput) -> float:
        return output.loss.item()


class Mask(WithSum):
    def further(self, output: QuantizerOutput) -> Tensor:
        return self.codebook[output.codes.flatten().new_zeros(self.num_codes) == 0].mean()


class Count(WithSum):
    def further(self, output: QuantizerOutput) -> Tensor:
        return 0.0 * output.codes.flatten().bincount(minlength=self.num_codes).float().mean()


class CpuIndex(WithSum):
    def further(self, output: QuantizerOutput) -> Tensor:
        return self.codebook[torch.arange(3)].mean()


class Condition(WithSum):
    def further(self, output: QuantizerOutput) -> float:
        return 1.0 if (output.codes == 0).any() else 0.0


class Scalar(WithSum):
    def further(self, output: QuantizerOutput) -> Tensor:
        return torch.tensor(1.0, device=output.z_q.device)


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] + torch.zeros(grads[0].shape)


class InBackward(WithSum):
    def further(self, output: QuantizerOutput) -> Tensor:
        back: Tensor = _Backward.apply(self.codebook)  # type: ignore[no-untyped-call]  # torch's
        return back.mean()


@pytest.mark.parametrize(
    ("planted", "kind", "what"),
    [
        (NoDevice, "both devices", "add"),
        (InBackward, "both devices", "add"),
        (Item, "waits", "_local_scalar_dense"),
        (Condition, "waits", "_local_scalar_dense"),
        (Mask, "waits", "by a mask"),
        (Count, "waits", "bincount"),
        (CpuIndex, "copies", "index with (3,)"),
        (Scalar, "copies", "torch.tensor"),
    ],
)
def test_a_planted_fault_is_seen(planted: type[Any], kind: str, what: str) -> None:
    """Each kind of fault is a finding that names this file."""
    with PretendedGpu() as gpu:
        trained(gpu, planted, {})
    assert any(each.kind == kind and what in each.what and "test_on_gpu.py" in each.where for each in gpu.findings), (
        gpu.findings
    )


class Numpy(VQ):
    def forward(self, z: Tensor) -> QuantizerOutput:
        z.detach().numpy()
        return super().forward(z)


def test_numpy_is_refused() -> None:
    """A tensor of the pretended device becomes no array, as one of a real device."""
    with PretendedGpu() as gpu, pytest.raises(TypeError, match="numpy"):
        trained(gpu, Numpy, {})


def test_values_are_those_of_the_cpu() -> None:
    """Pretending moves nothing: output and gradient are equal bit for bit."""
    seen = []
    for device in ("cpu", "cuda"):
        with PretendedGpu():
            torch.manual_seed(0)
            quantizer = VQ(16, 8).to(device)
            z = torch.randn(2, 8, 4, 4).to(device).requires_grad_()
            output = quantizer(z)
            (output.z_q.square().mean() + output.loss).backward()
            assert z.grad is not None
            assert output.z_q.device.type == device
            seen.append((output.z_q.detach().cpu(), z.grad.cpu()))
    assert all(torch.equal(*pair) for pair in zip(*seen, strict=True))
