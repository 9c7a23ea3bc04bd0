"""The contract of a generator on a trained autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqbench.assets.content import digest_of_arrays
from vqbench.backbone import Autoencoder
from vqbench.errors import StoreError

PIXELS = 2**20  # of images that are decoded at once: 16 of 256x256


class FirstStage:
    """The trained autoencoder of a generator.

    It is no module, so that it is neither trained nor saved with the generator.
    """

    def __init__(self, model: Autoencoder) -> None:
        self.model = model.eval()
        arrays = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
        self.digest = bytes.fromhex(digest_of_arrays(arrays))  # SHA-256


class Generator(nn.Module):
    """Samples images by way of a trained autoencoder, one per seed.

    ``state_dict`` and ``parameters`` are those of the second stage alone: the autoencoder has a checkpoint of its own.
    ``state_dict`` has the autoencoder's SHA-256, since with any other one a generator is meaningless.
    """

    first_digest: Tensor  # (32,) uint8

    def __init__(self, first: Autoencoder) -> None:
        super().__init__()
        self._first = FirstStage(first)
        self.register_buffer("first_digest", torch.tensor(list(self._first.digest), dtype=torch.uint8))

    @property
    def first(self) -> Autoencoder:
        """The trained autoencoder."""
        return self._first.model

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load a state.

        Raises StoreError where it was trained on another autoencoder than this one.
        """
        digest = state_dict.get("first_digest")
        if digest is None or not torch.equal(digest.cpu(), self.first_digest.cpu()):
            raise StoreError(
                "this second stage was trained on other weights of its first stage, which was trained anew since then; "
                "delete the second stage's folder to train it again"
            )
        return super().load_state_dict(state_dict, *args, **kwargs)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode sampled latents (B, ...) to images (B, C, S, S) in [-1, 1]."""
        raise NotImplementedError

    def decoded(self, latents: Tensor) -> Tensor:
        """Decode like :meth:`decode`, in parts that fit into memory."""
        images = [self.decode(latents[:1])]
        together = max(1, PIXELS // (images[0].shape[-1] ** 2))
        images += [self.decode(some) for some in latents[1:].split(together) if len(some)]
        return torch.cat(images)

    def code_bits(self, x: Tensor) -> Tensor | None:
        """Return the bits (B,) that the codes of images ``x`` (B, C, S, S) cost.

        The negative log2-likelihood of all codes of an image, in float64: the length that an arithmetic coder reaches
        which knows the generator. ``x`` is in [-1, 1]. None where the generator has no likelihood.
        """
        return None

    def sample(self, seeds: Sequence[int], **settings: Any) -> Tensor:
        """Sample images (len(seeds), C, S, S) in [-1, 1], one per seed.

        An image does not depend on the others in its batch.

        Computes in float32 (or tf32), also after a training in bf16. ``settings`` are those that the recipe names in
        ``sampler``. All random numbers of an image come from its seed, on the CPU, so that rows and devices are
        compared on equal ones. (torch's generator uses 32 bits of a seed: among 50,000 images, two share their random
        numbers in one of every three or four rows.)
        """
        raise NotImplementedError
