"""How a training uses its codebook: codes are counted on the device, and read once an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqbench.distributed.collectives import is_first_rank
from vqbench.functional import all_sum, perplexity, shares, world_size
from vqbench.quantizer import Quantizer
from vqbench.store import snapshots

LINES = 4096  # of the record over the epochs at most; with more codes, neighbours share a line


class CodebookMonitor:
    """Counts the codes of a training. Any recipe may use it: ``start``, ``codes`` after every update, ``epoch_ended``,
    ``state`` with every checkpoint, ``save`` at the end.

    It draws no random numbers and never waits for the device within an epoch, so that a watched training ends with the
    same weights. With several ranks each counts its own codes; ``epoch_ended`` and ``state`` add them up, so that all
    ranks have to call these. A batch that all ranks compute alike is counted by the first.
    """

    def __init__(self) -> None:
        self._counts: Tensor | None = None  # (depth, K) int64, of the epoch so far, on the device; None: no codes
        self._used: Tensor | None = None  # (depth, K) bool, in the epoch before, on the CPU
        self._past: list[Tensor] = []  # an epoch's shades each, (lines,) uint8, on the CPU

    def start(self, quantizer: Quantizer, device: torch.device, saved: dict[str, Any] | None = None) -> None:
        """Begin, or go on from what ``state`` said. A quantizer without codes is not watched."""
        self._counts, self._used, self._past = None, None, []  # of a training that had to start over
        if quantizer.depth == 0:
            return
        self._counts = torch.zeros(quantizer.depth, quantizer.num_codes, dtype=torch.int64, device=device)
        self._first = torch.arange(quantizer.depth, device=device) * quantizer.num_codes  # (depth,)
        if saved is not None:
            if is_first_rank():
                self._counts.copy_(saved["counts"])
            self._used = None if saved["used"] is None else saved["used"].cpu()
            self._past = list(saved["past"].cpu())

    @torch.no_grad()
    def codes(self, codes: Tensor) -> None:
        """Count ``codes`` (B, H, W, depth) of one update."""
        if self._counts is None or (world_size() == 1 and not is_first_rank()):
            return
        places = (codes + self._first).flatten()
        self._counts.view(-1).scatter_add_(0, places, torch.ones_like(places))  # bincount would wait for the device

    def epoch_ended(self) -> dict[str, Any]:
        """What the epoch's codes were like, for its history; all ranks get the same. Counts begin anew.

        ``usage`` in percent and ``perplexity`` as the metrics of these names have them, ``dead``: codes that did not
        occur, ``revived``: those that occurred, and had not in the epoch before. Empty without codes.
        """
        if self._counts is None:
            return {}
        counts = all_sum(self._counts).cpu().clone()  # (depth, K); alone, the sum is the counts themselves
        self._counts.zero_()
        if not counts.any():
            return {}
        used = counts > 0
        revived = 0 if self._used is None else int((used & ~self._used).sum())
        self._used = used
        self._past.append(torch.from_numpy(snapshots.shades(_lines(counts).numpy())))
        return {
            "usage": 100 * float(used.double().mean()),
            "perplexity": float(torch.stack([perplexity(shares(each.double())) for each in counts]).mean()),
            "dead": int((~used).sum()),
            "revived": revived,
        }

    def state(self) -> dict[str, Any] | None:
        """What ``start`` needs to go on."""
        if self._counts is None:
            return None
        past = torch.stack(self._past) if self._past else torch.empty(0, 0, dtype=torch.uint8)
        return {"counts": all_sum(self._counts).cpu(), "used": self._used, "past": past}

    def save(self, folder: Path) -> None:
        """Keep the use of every code over the epochs beside the record; the first rank does."""
        if self._counts is None or not self._past or not is_first_rank():
            return
        depth, codes = self._counts.shape
        snapshots.write(folder, snapshots.UsageHistory(torch.stack(self._past).numpy(), depth, _share(depth, codes)))


def _share(depth: int, codes: int) -> int:
    """How many neighbouring codes of one depth share a line."""
    return -(-depth * codes // LINES)


def _lines(counts: Tensor) -> Tensor:
    """Counts (depth, K) as lines, of neighbours that share one the largest: (depth · ⌈K / share⌉,)."""
    share = _share(*counts.shape)
    padded = torch.nn.functional.pad(counts, (0, -counts.shape[1] % share))
    lines: Tensor = padded.unflatten(1, (-1, share)).amax(2)
    return lines.flatten()
