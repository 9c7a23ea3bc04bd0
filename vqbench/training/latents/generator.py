"""The contract of what a second stage trains: it makes images by way of a trained autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqbench.assets.content import digest_of_arrays
from vqbench.errors import StoreError
from vqbench.model import Autoencoder

PIXELS = 2**20  # of images that are decoded at once: 16 of 256x256


class Generator(nn.Module):
    """Makes images, each from a seed of its own.

    ``state_dict`` and ``parameters`` are of what was trained here, not of the autoencoder, which keeps its own
    checkpoint; of that, ``state_dict`` has the SHA-256, since with any other it would mean nothing.
    """

    first_digest: Tensor  # (32,) uint8

    def __init__(self, first: Autoencoder) -> None:
        super().__init__()
        self._first = (first.eval(),)  # in a tuple, so that it is no part of what is trained and kept
        digest = digest_of_arrays({name: value.cpu().numpy() for name, value in first.state_dict().items()})
        self.register_buffer("first_digest", torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8))

    @property
    def first(self) -> Autoencoder:
        """The trained autoencoder."""
        return self._first[0]

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As of any module. Raises StoreError where it was trained on another autoencoder than this one."""
        noted = state_dict.get("first_digest")
        if noted is None or not torch.equal(noted.cpu(), self.first_digest.cpu()):
            raise StoreError(
                "this second stage was trained on other weights of its first stage, which was trained anew since then; "
                "delete the second stage's folder to train it again"
            )
        return super().load_state_dict(state_dict, *args, **kwargs)

    def decode(self, latents: Tensor) -> Tensor:
        """What was sampled (B, ...) to images (B, C, S, S) in [-1, 1]."""
        raise NotImplementedError

    def decoded(self, latents: Tensor) -> Tensor:
        """As :meth:`decode`, some at a time, whatever the size of images."""
        images = [self.decode(latents[:1])]
        together = max(1, PIXELS // (images[0].shape[-1] ** 2))
        images += [self.decode(some) for some in latents[1:].split(together) if len(some)]
        return torch.cat(images)

    def sample(self, seeds: Sequence[int], **settings: Any) -> Tensor:
        """Images (len(seeds), C, S, S) in [-1, 1], one a seed, whatever else is in the batch.

        In float32 (or tf32), also after a training in bf16. ``settings`` are those that the recipe names in
        ``sampler``. All random numbers of an image come from its seed, on the CPU, so that rows and devices are
        compared on equal ones. (torch's generator takes 32 bits of a seed: of 50,000 images, two have the same
        numbers in one row of three or four.)
        """
        raise NotImplementedError
