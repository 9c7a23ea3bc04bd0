"""Checkpoints on disk: torch's own format with a digest inside, written in one piece.

The digest stands in the comment at the end of the zip archive that ``torch.save`` makes, so that file and digest
can never belong to different states, and ``torch.load`` reads the file as any other. It is needed: torch itself does
not notice a flipped bit.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from vqbench.errors import Damaged
from vqbench.store import write_atomically

LABEL = b"vqbench sha256 "
COMMENT = len(LABEL) + 64  # bytes
LENGTH = 2  # bytes at the end of an archive without comment: its length, which is 0


def write(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``: whoever reads sees the old or the new, never a part. Raises Unwritable where it cannot be."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    archive = buffer.getbuffer()  # in pieces, since a copy of some gigabytes is felt
    comment = LABEL + hashlib.sha256(archive).hexdigest().encode()
    write_atomically(path, archive[:-LENGTH], COMMENT.to_bytes(LENGTH, "little"), comment)


def read(path: Path, device: torch.device) -> dict[str, Any]:
    """What was written to ``path``. Raises Damaged for anything else; checkpoints without a digest are read as well."""
    try:
        content = path.read_bytes()
        comment = content[-COMMENT:]
        if comment.startswith(LABEL):
            sha = hashlib.sha256(memoryview(content)[: -COMMENT - LENGTH])
            sha.update(bytes(LENGTH))
            if sha.hexdigest().encode() != comment.removeprefix(LABEL):
                raise ValueError("its content does not fit its digest")
        return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        what = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise Damaged(
            f"{path}: the checkpoint is damaged or truncated ({what}); delete it to train this run from its start"
        ) from error
