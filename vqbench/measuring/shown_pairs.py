"""Read some of the measured pairs again, to show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vqbench.images import rounded
from vqbench.measuring.models.model_inputs import ModelInputs
from vqbench.measuring.pair_inputs import PairInputs


def read_pairs(inputs: PairInputs | ModelInputs, names: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return original and reconstruction of the pairs called ``names``.

    Each is (C, H, W) uint8; floats are rounded. Raises DamagedImage for one that can no longer be decoded.
    """
    known = {name: place for place, name in enumerate(inputs.matched.names)}
    places = [known[name] for name in names]
    originals, reconstructions = (
        [side[place] for place in places] for side in (inputs.matched.originals, inputs.matched.reconstructions)
    )
    some = replace(inputs.matched, names=list(names), originals=originals, reconstructions=reconstructions)
    pairs = {}
    for batch in replace(inputs, matched=some).reader.batches():
        sides = [rounded((images + 1) / 2).numpy() for images in (batch.originals, batch.reconstructions)]
        pairs.update({names[place]: pair for place, *pair in zip(batch.places, *sides, strict=True)})
    return {name: (pair[0], pair[1]) for name, pair in pairs.items()}
