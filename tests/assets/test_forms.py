"""Every form of an asset is read as its canonical one."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from vqbench import assets
from vqbench.assets import cache, content, weights
from vqbench.assets.catalogue import CATALOGUE


def test_cifar10_is_found_in_every_form(official: dict[str, Path], world: Path) -> None:
    """Pickled batches and both official archives are read as the same binary batches."""
    binary = official["cifar10"] / "test_batch.bin"
    rows = np.frombuffer(binary.read_bytes(), np.uint8).reshape(10_000, 3073)  # label, then pixels
    pickled = world / "test_batch"
    batch = {b"data": np.ascontiguousarray(rows[:, 1:]), b"labels": rows[:, 0].tolist()}
    pickled.write_bytes(pickle.dumps(batch, protocol=2))
    archives = {"cifar-10-python.tar.gz": pickled, "cifar-10-binary.tar.gz": binary}
    for archive, inner in archives.items():
        with tarfile.open(world / archive, "w:gz", compresslevel=1) as tar:
            tar.add(inner, f"cifar-10/{inner.name}")
    cifar10 = CATALOGUE["cifar10"]
    for name in ("test_batch", *archives):
        found = cache.digests(cifar10, world / name, cache.form_of(cifar10, world / name))
        assert found == {"test_batch.bin": cifar10.digests["test_batch.bin"]}


@pytest.mark.parametrize("legacy", [False, True])
def test_official_checkpoints_are_read(
    legacy: bool, official: dict[str, Path], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State dicts saved by torch, in its old and its present format, give the same tensors less what is not needed."""
    import torch

    nets = {name: content.load_npz(official[name]) for name in ("alexnet_lpips", "inception_fid")}
    state, fid = ({key: torch.from_numpy(value) for key, value in net.items()} for net in nets.values())
    state["classifier.1.bias"] = fid["fc.bias"] = torch.zeros(4096)
    fid["Mixed_5b.branch1x1.bn.num_batches_tracked"] = torch.tensor(0)
    monkeypatch.setenv("VQBENCH_DATA", str(world))
    torch.save(state, world / "alexnet-owt-7be5be79.pth", _use_new_zipfile_serialization=not legacy)
    torch.save(fid, world / "pt_inception-2015-12-05-6726825d.pth", _use_new_zipfile_serialization=not legacy)
    for name in nets:
        assert assets.state(name) == "local"
        assert assets.fetch(name, offline=True) == world / "cache" / name / f"{name}.npz"


def test_flax_kernels_are_transposed() -> None:
    """A Flax kernel (H, W, in, out) becomes torch's (out, in, H, W), at the place of its convolution."""
    kernel = np.arange(3 * 5 * 2 * 4, dtype=np.float32).reshape(3, 5, 2, 4)
    named = weights.trunk_from_flax({"Conv_0": {"kernel": kernel, "bias": np.zeros(4, np.float32)}}, (7,))
    assert set(named) == {"features.7.weight", "features.7.bias"}
    assert named["features.7.weight"][3, 1, 2, 4] == kernel[2, 4, 1, 3]


def test_digest_of_arrays_sees_everything() -> None:
    """The digest of tensors changes with a name, a value or their order, not with the order of names or the layout."""
    base = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
    same = {"b": base["b"].copy(), "a": np.asfortranarray(base["a"])}
    others = (
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"] + np.float32(1e-6), "b": base["b"]},
        {"a": base["a"][::-1], "b": base["b"]},
    )
    digest = content.digest_of_arrays(base)
    assert content.digest_of_arrays(same) == digest
    assert all(content.digest_of_arrays(other) != digest for other in others)
