"""Untrusted pickles and archives yield arrays, and no code in them is run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.script_archive import script_archive
from vqbench import assets
from vqbench.assets import array_pickles, torch_archives
from vqbench.errors import AssetError


class Evil:
    """When unpickled in the ordinary way, makes the folder that it was given."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_forbidden_pickle_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reader refuses a pickle that calls a system function, names the function, and runs nothing."""
    import torch

    evil = {"VGG16_0": Evil(world / "made"), b"data": Evil(world / "made")}
    (world / "vgg16.ckpt").write_bytes(pickle.dumps(evil))
    (world / "test_batch").write_bytes(pickle.dumps(evil, protocol=2))
    torch.save(evil, world / "alexnet-owt-7be5be79.pth")
    monkeypatch.setenv("VQBENCH_DATA", str(world))
    for name, file in (("vgg16_lpips", "vgg16.ckpt"), ("cifar10", "test_batch")):
        with pytest.raises(AssetError, match=rf"{file} cannot be read \(it needs posix.mkdir, which no array needs"):
            assets.fetch(name, offline=True)
    with pytest.raises(AssetError, match=r"alexnet-owt-7be5be79.pth cannot be read"):
        assets.fetch("alexnet_lpips", offline=True)
    assert not (world / "made").exists()


@pytest.mark.parametrize(
    "wanted", ["builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile", "torch.load", "os.system"]
)
def test_only_what_an_array_needs_is_admitted(wanted: str) -> None:
    """The readers of pickles admit only the globals of arrays, and no others of numpy or torch."""
    module, _, name = wanted.rpartition(".")
    attack = f"c{module}\n{name}\n.".encode()
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        array_pickles.load_arrays(io.BytesIO(attack))
    script = io.BytesIO()
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("net/data.pkl", attack)
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        torch_archives.load_script_tensors(script)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back_from_every_protocol(protocol: int) -> None:
    """Arrays and scalars come back whole from every pickle protocol."""
    value = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.float32(0.5)}
    loaded = array_pickles.load_arrays(io.BytesIO(pickle.dumps(value, protocol)))
    np.testing.assert_array_equal(loaded["a"], value["a"])
    assert loaded["b"] == value["b"]


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_arrays_of_all_numpys_are_read(core: str) -> None:
    """The names by which numpy 1 and numpy 2 rebuild an array are both admitted, whichever of them is installed."""
    value = np.arange(6, dtype="<f4").reshape(2, 3)
    data = pickle.dumps(value, protocol=2)
    installed = b"numpy._core" if b"numpy._core" in data else b"numpy.core"
    old = data.replace(installed, core.encode())
    assert core.encode() + b".multiarray" in old
    np.testing.assert_array_equal(array_pickles.load_arrays(io.BytesIO(old)), value)
    unpickler = array_pickles.ArrayUnpickler(io.BytesIO())
    for module, name in (("multiarray", "scalar"), ("numeric", "_frombuffer")):
        assert unpickler.find_class(f"{core}.{module}", name).__name__ == name


def test_script_tensors_are_views_with_bounds() -> None:
    """A tensor of a TorchScript archive follows its offset and strides; one beyond its storage is refused."""
    tensors = torch_archives.load_script_tensors(script_archive((1, (2, 2), (1, 2))))
    np.testing.assert_array_equal(tensors["weight"], [[1, 3], [2, 4]])
    with pytest.raises(pickle.UnpicklingError, match="beyond its storage"):
        torch_archives.load_script_tensors(script_archive((3, (2, 2), (1, 4))))
