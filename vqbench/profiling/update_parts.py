"""Where an update's time goes: its parts, timed within the update itself.

A part that is timed by itself, with inputs of its own, finds other memory and other caches than within the update; the
sum of such times differs from the update's by tens of percent. Here a clock is read where one part ends and the next
begins, forward and backward, so what is left over is what the parts leave out: loading and scaling images, the error,
and the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from vqbench.backbone import Autoencoder


class UpdateParts:
    """Reads ``clock`` at the borders of the parts of ``model``'s updates.

    The model must not be used elsewhere meanwhile.
    """

    def __init__(self, model: Autoencoder, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spans: list[tuple[str, float, float]] = []
        self._open: tuple[str, float] | None = None  # the part at hand, in the backward pass
        backbone: Any = model.backbone
        self._encode, self._decode, self._quantize = backbone.encode, backbone.decode, model.quantize_features
        backbone.encode, backbone.decode = self._encoder, self._decoder
        model.quantize_features = self._quantizer  # type: ignore[method-assign]  # of this one model
        self._hooks = [
            register_optimizer_step_pre_hook(lambda *_: self._begin("optimizer")),
            register_optimizer_step_post_hook(lambda *_: self._begin(None)),
        ]

    def finished(self) -> dict[str, float]:
        """Return what each part has taken since the last call, by the clock."""
        total: dict[str, float] = {}
        for part, start, end in self._spans:
            total[part] = total.get(part, 0.0) + end - start
        self._spans = []
        return total

    def remove(self) -> None:
        """Stop listening to optimizers, which are shared by the process."""
        for hook in self._hooks:
            hook.remove()

    def _begin(self, part: str | None) -> None:
        """End the part at hand, and begin ``part`` at the same reading."""
        reading = self._clock()
        if self._open is not None:
            self._spans.append((*self._open, reading))
        self._open = None if part is None else (part, reading)

    def _forward(self, part: str, call: Callable[[Tensor], Any], given: Tensor) -> Any:
        start = self._clock()
        result = call(given)
        self._spans.append((part, start, self._clock()))
        return result

    def _encoder(self, x: Tensor) -> Tensor:
        z: Tensor = self._forward("encoder", self._encode, x)
        self._on_gradient(z, "encoder")  # which is ready once the quantizer's backward pass has ended
        return z

    def _quantizer(self, z: Tensor) -> Any:
        out = self._forward("quantizer", self._quantize, z)
        if out.z_q is not z:  # else the quantizer has no backward pass
            self._on_gradient(out.z_q, "quantizer")
        return out

    def _decoder(self, z_q: Tensor) -> Tensor:
        x: Tensor = self._forward("decoder", self._decode, z_q)
        self._on_gradient(x, "decoder")
        return x

    def _on_gradient(self, tensor: Tensor, part: str) -> None:
        if tensor.requires_grad:
            tensor.register_hook(lambda _: self._begin(part))
