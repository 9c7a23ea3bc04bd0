"""Pieces of samples are joined into one file; a damaged one is sampled again."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.generators import (
    ONE_STEP,
    SAMPLING,
    WHOLE,
    Maker,
    files,
    measure,
    samples_in,
    stopped_at,
)
from vqbench.errors import Interrupted, Unwritable
from vqbench.evaluation import sample_pieces
from vqbench.store.value_name import Sampling


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("damage", ["cut", "changed", "head", "empty", "short", "gone"])
def test_a_damaged_piece_is_made_anew(tmp_path: Path, damage: str) -> None:
    """A piece that is not what was written, or not of these images, is made once more, and no other is."""
    measure(tmp_path / "whole", Maker())
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        measure(parts, Maker(), stopped_at(8))
    piece, other = (parts / f"samples-{SAMPLING.samples_name}.parts" / f"{number:06}.npy" for number in (0, 1))
    data = piece.read_bytes()
    match damage:
        case "cut":
            piece.write_bytes(data[:-100])
        case "changed":
            piece.write_bytes(data[:400] + bytes([data[400] ^ 1]) + data[401:])
        case "head":
            piece.write_bytes(data[:20] + b"PK" + data[22:])
        case "empty":
            piece.write_bytes(b"")
        case "short":  # whole, but of pieces of another size
            sample_pieces.SamplePieces(parts, SAMPLING, 2).keep([0], [np.zeros((2, 3, 8, 8), np.uint8)])
        case "gone":
            piece.unlink()
    assert other.exists()
    maker = Maker()
    measure(parts, maker)
    assert maker.made == [[0, 1, 2, 3], [8, 9]]
    np.testing.assert_array_equal(samples_in(parts), samples_in(tmp_path / "whole"))


@pytest.mark.usefixtures("fours")
def test_stopped_while_joining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full when the pieces are joined loses none of them and leaves no half of a file under its name; a
    process that ended before it removed the pieces leaves them to the next."""
    with monkeypatch.context() as patched:
        patched.setattr(sample_pieces.os, "fsync", full_at(4))  # after three pieces, the whole
        with pytest.raises(Unwritable, match=r"samples-.*\.npy: cannot write \(No space left on device\)"):
            measure(tmp_path, Maker(), anew=False)
    assert not list(tmp_path.glob("*.npy"))
    rest = Maker()
    with monkeypatch.context() as patched:
        patched.setattr(sample_pieces.deletion, "delete", lambda *_: [])
        measure(tmp_path, rest, anew=False)
    assert rest.made == []
    assert list(tmp_path.glob("*.parts"))
    measure(tmp_path, rest, anew=False)
    assert rest.made == []
    assert files(tmp_path) == WHOLE - {"samples.sha256"}


def full_at(call: int) -> Callable[[int], None]:
    """In place of ``os.fsync``: the disk is full at this call of it."""
    calls = iter(range(1, call + 1))

    def fsync(_: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fsync


def test_samples_are_joined_piece_by_piece(tmp_path: Path) -> None:
    """While the one file is written, no more than some pieces of it are in memory."""
    sampling = Sampling(1000, "test", settings=ONE_STEP)
    kept = sample_pieces.SamplePieces(tmp_path, sampling, 50)
    levels = np.random.default_rng(0).integers(0, 256, (1000, 3, 64, 64), dtype=np.uint8)
    for number in range(20):
        kept.keep([number], [levels[kept.places(number)]])
    tracemalloc.start()
    try:
        kept.join()
        assert tracemalloc.get_traced_memory()[1] < 6 * levels.nbytes / 20
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(kept.read().numpy(), levels)
