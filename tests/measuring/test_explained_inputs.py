"""What `vqbench explain` reads: all that `vqbench measure` reads, and larger originals at their own size."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.measuring.conftest import levels_of
from tests.support.tiny_suite import vqbench
from vqbench.errors import UsageError
from vqbench.measuring.explained_pairs import ExplainedPairs, prepared
from vqbench.measuring.inputs.preparation import Preparation
from vqbench.measuring.pair_inputs import ReadingOptions

Pairs = tuple[Path, Path]


def side(root: Path) -> np.ndarray:
    """The images of a folder, (N, 3, H, W) uint8, in the order of their names."""
    return np.stack([levels_of(path).transpose(2, 0, 1) for path in sorted(root.rglob("*.*")) if path.is_file()])


def written(kind: str, root: Path, to: Path) -> Path:
    """Write the images of a folder as ``kind``."""
    images = side(root)
    if kind == ".npy":
        np.save(to.with_suffix(kind), images)
    elif kind == ".npz":
        np.savez(to.with_suffix(kind), images=images, others=images[:1])
    elif kind == ".pt":
        torch.save(torch.from_numpy(images).float() / 127.5 - 1, to.with_suffix(kind))
    elif kind == "lmdb":
        lmdb = pytest.importorskip("lmdb")
        with lmdb.open(str(to), map_size=2**26) as environment, environment.begin(write=True) as transaction:
            for path in sorted(root.rglob("*.*")):
                key = str(path.relative_to(root).with_suffix("")).encode()
                transaction.put(key, path.read_bytes())
        return to
    else:
        with tarfile.open(to.with_suffix(".tar"), "w") as archive:
            for number, path in enumerate(sorted(path for path in root.rglob("*.*") if path.is_file())):
                archive.add(path, f"{number:04}{path.suffix}")
    return to.with_suffix("." + kind.strip("."))


@pytest.mark.parametrize("kind", [".npy", ".npz", ".pt", "tar", "lmdb"])
def test_every_kind_of_input_gives_the_same_pairs(kind: str, pairs: Pairs, tmp_path: Path) -> None:
    """Folders, arrays, tensors of floats, tar shards and lmdb environments of the same images give the same batches."""
    inputs = [written(kind, root, tmp_path / name) for root, name in zip(pairs, "ab", strict=True)]
    given = ExplainedPairs(*inputs)
    assert given.facts.images == given.available == 24
    assert given.facts.eight_bits == (kind != ".pt")
    for one, other in zip(given.batches("given"), ExplainedPairs(*pairs).batches("given"), strict=True):
        assert torch.allclose(one[0], other[0], atol=1e-6)
        assert torch.allclose(one[1], other[1], atol=1e-6)


def test_options_of_reading_are_those_of_measure(
    pairs: Pairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder against an array needs --by-order, as `measure` does; how floats are read is said."""
    array = written(".pt", pairs[1], tmp_path / "b")
    words = ("explain", pairs[0], array, "--metrics", "l1", "--from", "clean", "--to", "clean", "--images", 4)
    assert vqbench(*words, "-q") == 2
    assert "--by-order" in capsys.readouterr().err
    assert vqbench(*words, "--by-order") == 0
    shown = capsys.readouterr()
    assert "read as -1..1 (detected" in shown.err
    assert "pixels float → round" in shown.out
    with pytest.raises(UsageError, match="no such file"):
        ExplainedPairs(pairs[0], tmp_path / "gone")


@pytest.mark.parametrize("way", ["resize:bicubic", "resize:lanczos", "squash:bicubic", "crop"])
@pytest.mark.parametrize("size", [(90, 120), (121, 80), (70, 70)])
def test_larger_originals_are_prepared_as_measure_does(way: str, size: tuple[int, int]) -> None:
    """A preparation is that of `measure --originals-as`, to the level, whatever the aspect."""
    levels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    kind, _, kernel = way.partition(":")
    text = f"{kind}:64" + (f":{kernel}" if kernel else "")
    expected = np.asarray(Preparation.parse(text).apply(Image.fromarray(levels)))
    assert np.array_equal(prepared(levels.transpose(2, 0, 1), way, (64, 64)).transpose(1, 2, 0), expected)


def test_fewer_pairs_are_spread_evenly(pairs: Pairs) -> None:
    """--images takes pairs from everywhere, the same on both sides."""
    some = ExplainedPairs(*pairs, limit=4)
    assert (some.facts.images, some.available) == (4, 24)
    everything = torch.cat([x for x, _ in ExplainedPairs(*pairs).batches("given")])
    assert torch.equal(torch.cat([x for x, _ in some.batches("given")]), everything[[0, 6, 12, 18]])


def test_damaged_pairs_are_left_out_on_request(pairs: Pairs, tmp_path: Path) -> None:
    """A damaged file is refused, or left out with its partner."""
    roots = []
    for root, name in zip(pairs, "ab", strict=True):
        (tmp_path / name).mkdir()
        for number, path in enumerate(sorted(root.rglob("*.*"))[-3:]):
            (tmp_path / name / f"{number}{path.suffix}").write_bytes(
                path.read_bytes() if number or name == "b" else b"x"
            )
        roots.append(tmp_path / name)
    with pytest.raises(Exception, match="repair it, or leave it out on both sides with --skip-damaged"):
        _ = ExplainedPairs(*roots).facts
    left = ExplainedPairs(*roots, options=ReadingOptions(skip_damaged=True))
    assert sum(len(x) for x, _ in left.batches("given")) == 2
