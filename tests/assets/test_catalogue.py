"""The real assets: their digests, and the libraries that use them."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from vqbench import assets
from vqbench.assets import content
from vqbench.assets.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]


def test_import_needs_no_torch() -> None:
    """The catalogue can be read without importing torch."""
    code = "import sys, vqbench.assets as a; assert len(a.CATALOGUE) == 8; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_cached_asset_needs_no_reader_and_no_source() -> None:
    """Looking an asset up in the cache imports neither its forms nor its sources."""
    assets.fetch("mnist")
    code = (
        "import os, sys; os.environ.pop('VQBENCH_DATA', None); from vqbench import assets\n"
        "assert assets.raw('mnist', 't10k-labels-idx1-ubyte', offline=True)\n"
        "assert not {'vqbench.assets.origins', 'vqbench.assets.forms', 'vqbench.assets.sources'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_data_files_are_the_official_ones(name: str) -> None:
    """The files of every data set have the published digests, computed here from the disk."""
    folder = assets.fetch(name)
    found = {file: content.digest_of_file(folder / file, CATALOGUE[name].algorithm) for file in CATALOGUE[name].digests}
    assert found == CATALOGUE[name].digests
    assert assets.state(name) in ("local", "cached")


@pytest.mark.parametrize(
    ("name", "count"),
    [("inception_fid", 470), ("vgg16_lpips", 26), ("alexnet_lpips", 10), ("dists", 2), ("efficientnet_lite0", 247)],
)
def test_weights_are_the_published_ones(name: str, count: int) -> None:
    """The tensors of every net are float32, as many as there should be, and have the catalogue's digest."""
    tensors = assets.tensors(name)
    sha = hashlib.sha256()
    for key in sorted(tensors):
        sha.update(key.encode() + b"\0" + tensors[key].numpy().astype("<f4").tobytes())
    assert len(tensors) == count
    assert {str(value.dtype) for value in tensors.values()} == {"torch.float32"}
    assert [sha.hexdigest()] == list(CATALOGUE[name].digests.values())


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")  # lpips calls it in the old way
def test_weights_fit_the_libraries() -> None:
    """Names and shapes are those of the trunks of lpips and of torch-fidelity's Inception, none more and none less."""
    from vqbench.networks.compat import ensure_torchvision

    ensure_torchvision()
    import torch
    from lpips.pretrained_networks import alexnet, vgg16
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    for name, net in (("vgg16_lpips", vgg16), ("alexnet_lpips", alexnet)):
        ours = {key.removeprefix("features."): value.shape for key, value in assets.tensors(name).items()}
        with torch.device("meta"):  # shapes alone, no numbers drawn
            trunk = net(pretrained=False)
        theirs = {key.partition(".")[2]: value.shape for key, value in trunk.state_dict().items()}
        assert ours == theirs
    state = assets.tensors("inception_fid") | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    net = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=buffer)
    counters = [key for key in net.state_dict() if key.endswith("num_batches_tracked")]
    assert set(net.state_dict()) == set(state) | set(counters)
