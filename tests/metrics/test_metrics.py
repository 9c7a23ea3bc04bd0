"""Each metric against its definition: the library that defines it, a closed form, or a count by hand."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from tests.support.fidelity import frechet_inception_distance
from vqbench import assets, registry
from vqbench.errors import RunError
from vqbench.evaluation.samples import SampleEvaluator
from vqbench.images import as_measured, rounded
from vqbench.metric import Batch, Context, Metric
from vqbench.metrics import rfid
from vqbench.networks import inception
from vqbench.protocol import MEASURE, measuring
from vqbench.store.sampling import Sampling

CPU = torch.device("cpu")
CODES = 16  # size of the codebook in these tests
NAMES = ("l1", "psnr", "ssim", "lpips", "rfid", "usage", "perplexity", "bits")


def context(
    protocol: str = "clean", num_codes: int | None = CODES, bits: float | None = 4.0, depth: int = 2
) -> Context:
    return Context(measuring(protocol), "0" * 64, num_codes, bits, CPU, depth)


def metric(name: str, of: Context | None = None) -> Metric:
    return registry.load("metrics", name)(of or context())


def grey(count: int) -> Tensor:
    """The first test images of Fashion-MNIST, (count, 1, 28, 28) in [-1, 1]."""
    return (registry.load("datasets", "fashion_mnist_5k")().pixels("test")[:count].float() / 255 - 0.5) / 0.5


def colour(count: int) -> Tensor:
    """Crops of a photograph, (count, 3, 32, 32) in [-1, 1]."""
    photograph = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)
    crops = [photograph[:, 8 * i : 8 * i + 32, 40 + 12 * i : 72 + 12 * i] for i in range(count)]
    return (torch.stack(crops).float() / 255 - 0.5) / 0.5


def reconstructed(x: Tensor) -> Tensor:
    """What a weak model might give: blurred, on 16 levels, and a little beyond [-1, 1]."""
    blurred = torch.from_numpy(scipy.ndimage.gaussian_filter(x.numpy(), (0, 0, 0.8, 0.8)))
    return 1.05 * (blurred * 8).round() / 8


def codes_of(x: Tensor) -> Tensor:
    """A code map (B, 4, 4, 2) of two depths: the levels of means and of deviations of patches."""
    patches = torch.nn.functional.adaptive_avg_pool2d(x[:, :1], 4)[:, 0]  # (B, 4, 4)
    mean = ((patches + 1) / 2 * (CODES - 1)).round().long()
    return torch.stack((mean, mean // 3), dim=-1)


def batch_of(x: Tensor, protocol: str = "clean", start: int = 0) -> Batch:
    seen = measuring(protocol)
    index = torch.arange(start, start + len(x))
    return Batch(as_measured(x, seen), as_measured(reconstructed(x), seen), codes_of(x), index)


def part(batch: Batch, begin: int, end: int) -> Batch:
    cut = slice(begin, end)
    assert batch.codes is not None
    return Batch(batch.originals[cut], batch.reconstructions[cut], batch.codes[cut], batch.index[cut])


def images(pictures: Tensor) -> np.ndarray:
    """(B, C, H, W) to (B, H, W, C) float64, as scikit-image takes them."""
    return pictures.double().permute(0, 2, 3, 1).numpy()


def cheap_features(net: torch.nn.Module, pictures: Tensor, resize: int | None) -> Tensor:
    """In place of Inception's, where only sums matter: an upscaled image's values, (B, 2048)."""
    return torch.nn.functional.interpolate(pictures[:, :1], (32, 64)).flatten(1)


def file_of(of: Context) -> Path:
    """Where metrics of features keep those of the originals."""
    collector = metric("rfid", of)
    assert isinstance(collector, rfid.RFID)
    return collector.originals.path


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nets' weights are fetched if need be; features of these tests' images go to a folder of their own."""
    for name in ("inception_fid", "vgg16_lpips", "alexnet_lpips"):
        assets.fetch(name)
    monkeypatch.setattr(assets, "cache_folder", lambda: tmp_path)


# ---------------------------------------------------------------------------------------------------- all metrics


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_says_what_a_table_needs(name: str) -> None:
    """A metric has a label, a direction, decimals, a reference and a docstring of its own."""
    cls = registry.load("metrics", name)
    assert issubclass(cls, Metric)
    assert cls.label
    assert cls.reference
    assert cls.__doc__
    assert cls.better == {"psnr": "max", "ssim": "max", "usage": "max", "perplexity": "max"}.get(name, "min")
    assert (
        cls.digits
        == {"l1": 4, "ssim": 4, "lpips": 4, "psnr": 2, "rfid": 2, "usage": 1, "perplexity": 1, "bits": 0}[name]
    )
    assert cls.needs_codes == (name in ("usage", "perplexity", "bits"))


@pytest.mark.parametrize("protocol", MEASURE)
@pytest.mark.parametrize("name", NAMES)
def test_states_of_parts_add_up_to_the_state_of_the_whole(
    name: str, protocol: str, weights: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two metrics that saw 5 and 3 images hold, added key by key, what one holds that saw all 8 in batches of 4."""
    monkeypatch.setattr(inception, "features", cheap_features)
    whole, first, second = (metric(name, context(protocol)) for _ in range(3))
    batch = batch_of(grey(8), protocol)
    each = [whole.update(part(batch, begin, begin + 4)) for begin in (0, 4)]
    first.update(part(batch, 0, 5))
    second.update(part(batch, 5, 8))
    assert whole.state.keys() == first.state.keys() == second.state.keys()
    for key, value in whole.state.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(first.state[key] + second.state[key], value, rtol=1e-5, atol=1e-5)
    if name in ("l1", "psnr", "ssim", "lpips"):
        values = torch.cat([v for v in each if v is not None])
        assert values.shape == (8,)
        assert values.dtype == torch.float64
        assert whole.compute() == pytest.approx(float(values.mean()), rel=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("usage", "perplexity")])
def test_each_image_is_counted_once(name: str, weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """After batches of 3, 3 and 1 images the count in the state is 7, and none is left from the run before."""
    monkeypatch.setattr(inception, "features", cheap_features)
    collector = metric(name)
    batch = batch_of(grey(7))
    for _ in range(2):
        collector.start(context())
        for begin in (0, 3, 6):
            collector.update(part(batch, begin, min(begin + 3, 7)))
        assert int(collector.state["count"]) == 7


@pytest.mark.parametrize("name", ["usage", "perplexity", "bits"])
def test_nothing_is_said_of_a_run_without_a_codebook(name: str) -> None:
    """Without codes the value is None, not zero."""
    collector = metric(name, context(num_codes=None, bits=None))
    collector.update(replace(batch_of(grey(2)), codes=None))
    assert collector.compute() is None


def test_making_a_metric_leaves_the_random_state_alone(weights: None) -> None:
    """The networks' random initial weights are not drawn from the stream that a run's training draws from."""
    before = torch.get_rng_state()
    inception.network.cache_clear()
    for name in NAMES:
        metric(name)
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------------------------------- l1, PSNR, SSIM


@pytest.mark.parametrize("protocol", MEASURE)
@pytest.mark.parametrize("images", [grey, colour])
def test_l1_and_psnr_equal_their_definitions(pictures: type, protocol: str) -> None:
    """Per image, l1 is numpy's mean absolute difference and PSNR is scikit-image's, to 1e-12 and 1e-9."""
    batch = batch_of(pictures(12), protocol)
    x, y = images(batch.originals), images(batch.reconstructions)
    l1 = metric("l1", context(protocol)).update(batch)
    psnr = metric("psnr", context(protocol)).update(batch)
    np.testing.assert_allclose(l1, [np.abs(a - b).mean() for a, b in zip(x, y, strict=True)], atol=1e-12)
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(psnr, expected, atol=1e-9)


def test_psnr_without_any_error_is_infinite() -> None:
    """One perfect reconstruction makes its PSNR, and so the mean, infinite, not NaN and not some large number."""
    batch = batch_of(grey(3))
    batch.reconstructions[1] = batch.originals[1]
    collector = metric("psnr")
    values = collector.update(batch)
    assert values is not None
    assert torch.isinf(values).tolist() == [False, True, False]
    assert collector.compute() == math.inf


@pytest.mark.parametrize("protocol", MEASURE)
@pytest.mark.parametrize("images", [grey, colour])
def test_ssim_equals_scikit_image(pictures: type, protocol: str) -> None:
    """Per image, SSIM is scikit-image's of the protocol's window, to 1e-9, on grey and colour alike."""
    own = {
        "official": {"gaussian_weights": False, "use_sample_covariance": True},
        "clean": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    }[protocol]
    batch = batch_of(pictures(12), protocol)
    assert batch.originals.shape[1] == (1 if protocol == "clean" and pictures is grey else 3)
    pairs = zip(images(batch.originals), images(batch.reconstructions), strict=True)
    expected = [structural_similarity(a, b, channel_axis=-1, data_range=1, win_size=11, **own) for a, b in pairs]
    values = metric("ssim", context(protocol)).update(batch)
    np.testing.assert_allclose(values, expected, atol=1e-9)
    assert 0.3 < values.min() < values.max() < 0.999  # nothing trivial was compared


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    """A 10-pixel image, on which no window fits, is a clear error and no NaN."""
    with pytest.raises(RunError, match="at least 11x11 pixels, these are 10x28"):
        metric("ssim").update(batch_of(grey(2)[:, :, :10]))


# ---------------------------------------------------------------------------------------------------------- LPIPS


@pytest.mark.parametrize("trunk", ["vgg", "alex"])
def test_lpips_equals_its_package(trunk: str, weights: None) -> None:
    """Per image, on colour and on grey, LPIPS is the package's own forward to 1e-6, and so it is in the next run."""
    from vqbench.metrics.lpips import network

    of = replace(context(), protocol=replace(measuring("clean"), lpips_net=trunk))
    for x in (colour(6), torch.nn.functional.pad(grey(6), (2, 2, 2, 2), value=-1)):
        batch = batch_of(x)
        rgb = [t.expand(-1, 3, -1, -1) for t in (batch.originals, batch.reconstructions)]
        with torch.no_grad():
            expected = network(trunk, CPU)(*rgb, normalize=True).flatten().double()
        collector = metric("lpips", of)
        for _ in range(2):
            torch.testing.assert_close(collector.update(batch), expected, rtol=0, atol=1e-6)
        assert expected.min() > 0.005


@pytest.mark.parametrize(("trunk", "asset", "count"), [("vgg", "vgg16_lpips", 26), ("alex", "alexnet_lpips", 10)])
def test_lpips_has_its_pretrained_trunk_and_heads(trunk: str, asset: str, count: int, weights: None) -> None:
    """Each tensor of the trunk is the pretrained one of its place, and the heads are the package's: none is random."""
    import lpips

    from vqbench.metrics.lpips import network

    net = network(trunk, CPU)
    stored = assets.tensors(asset, offline=True)
    trunk_state = net.net.state_dict()
    assert len(trunk_state) == len(stored) == count
    for name, tensor in trunk_state.items():
        assert torch.equal(tensor, stored["features." + name.split(".", 1)[1]])
    heads = torch.load(
        Path(lpips.__file__).parent / "weights" / "v0.1" / f"{trunk}.pth", map_location="cpu", weights_only=True
    )
    assert len(heads) == 5
    for name, tensor in heads.items():
        assert torch.equal(net.state_dict()[name], tensor)
    assert not net.training


def test_lpips_runs_its_trunk_once_on_each_original(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run takes the originals' features from memory, or computes them if they do not fit, to equal values."""
    from vqbench.metrics import lpips

    def passes(collector: Metric) -> tuple[int, Tensor]:
        seen: list[int] = []
        hook = collector.net.net.register_forward_hook(lambda net, args, out: seen.append(len(args[0])))
        collector.start(context())
        values = collector.update(batch)
        hook.remove()
        return sum(seen), values

    batch = batch_of(grey(4))
    collector = metric("lpips")
    first, second = passes(collector), passes(collector)
    monkeypatch.setattr(lpips, "MEMORY", 10)
    forgetful = metric("lpips")
    third, fourth = passes(forgetful), passes(forgetful)
    assert [count for count, _ in (first, second, third, fourth)] == [8, 4, 8, 8]
    for _, values in (second, third, fourth):
        assert torch.equal(values, first[1])


def test_lpips_holds_all_originals_or_none(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the maps outgrow the memory they are given back and no more are kept, in this run and the next."""
    from vqbench.metrics import lpips

    batch = batch_of(grey(6))
    collector = metric("lpips")
    collector.update(part(batch, 0, 2))
    monkeypatch.setattr(lpips, "MEMORY", collector._bytes * 2)
    collector.update(part(batch, 2, 4))
    assert len(collector._kept) == 2
    for begin in (4, 0, 2):
        collector.update(part(batch, begin, begin + 2))
        assert not collector._kept


def test_lpips_refuses_images_too_small_for_its_net(weights: None) -> None:
    """AlexNet has no last layer on 28 pixels, which is said in a sentence."""
    of = replace(context(), protocol=replace(measuring("clean"), lpips_net="alex"))
    with pytest.raises(RunError, match="at least 31x31 pixels, these are 28x28"):
        metric("lpips", of).update(batch_of(grey(1)))


# ----------------------------------------------------------------------------------------------------------- rFID


def test_clean_rfid_is_torch_fidelitys(weights: None, tmp_path: Path) -> None:
    """On 8 colour images the value is torch_fidelity.calculate_metrics' on the same 8-bit images, to 1e-6."""
    batch = batch_of(colour(8))
    collector = metric("rfid")
    collector.update(part(batch, 0, 5))
    collector.update(part(batch, 5, 8))

    levels = rounded(batch.originals), rounded(batch.reconstructions)
    expected = frechet_inception_distance(*levels, tmp_path)
    assert expected > 1
    assert collector.compute() == pytest.approx(expected, rel=1e-6)
    assert file_of(context()).exists()  # for the next process


def test_layers_are_torch_fidelitys_network(weights: None) -> None:
    """Layer by layer behind its own preprocessing, the network gives exactly what torch-fidelity's forward gives."""
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    net = inception.network(CPU)
    levels = rounded((colour(2) + 1) / 2)
    x = (interpolate_bilinear_2d_like_tensorflow1x(levels.float(), (299, 299), align_corners=False) - 128) / 128
    assert torch.equal(inception._pool3(net, x), net(levels)[0])


def test_fewer_than_two_images_have_no_rfid(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image has no covariance: an error, no number."""
    monkeypatch.setattr(inception, "features", cheap_features)
    collector = metric("rfid")
    collector.update(batch_of(colour(1)))
    with pytest.raises(RunError, match="at least 2 images"):
        collector.compute()


@pytest.mark.parametrize("distance", [rfid.scipy_distance, rfid.torch_fidelity_distance])
def test_frechet_distance_of_known_gaussians(distance: type) -> None:
    """With commuting covariances the distance is |m - m'|^2 + sum (sqrt s - sqrt s')^2, turned by any rotation."""
    turn = scipy.linalg.qr(np.vander(np.linspace(-1, 1, 5)))[0]
    s1, s2 = np.array([4.0, 1, 9, 0.25, 2]), np.array([1.0, 1, 4, 0.5, 3])
    m1, m2 = np.arange(5.0), np.array([0.0, 1, 2, 3, 6])
    value = distance(m1, turn @ np.diag(s1) @ turn.T, m2, turn @ np.diag(s2) @ turn.T)
    assert value == pytest.approx(4 + ((np.sqrt(s1) - np.sqrt(s2)) ** 2).sum(), rel=1e-10)


def test_singular_product_falls_back_to_an_offset() -> None:
    """Two covariances of rank one whose product has no finite root in scipy still have a distance, up to the offset."""
    a, b = np.array([2.0, 0, 1, 2, -1, 2, 2]), np.array([0.0, 1, -1, -2, 2, 0, 2])
    cov1, cov2 = np.outer(a, a), np.outer(b, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not np.isfinite(scipy.linalg.sqrtm(cov1 @ cov2)).all()  # else this test proves nothing
    value = rfid.scipy_distance(np.zeros(7), cov1, np.zeros(7), cov2)
    assert value == pytest.approx(a @ a + b @ b - 2 * abs(a @ b), abs=0.02)


def test_complex_root_is_refused() -> None:
    """Where the root is not real beyond 1e-3 its imaginary part is not dropped in silence."""
    with pytest.raises(RunError, match="imaginary"):
        rfid.scipy_distance(np.zeros(2), -np.eye(2), np.zeros(2), np.eye(2))


def test_features_of_originals_are_computed_once(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run, and the next process, put reconstructions alone through the network, to the same sums."""
    batch = batch_of(colour(2))
    passed: list[int] = []
    honest = inception.features
    monkeypatch.setattr(inception, "features", lambda net, x, r: (passed.append(len(x)), honest(net, x, r))[1])
    states = []
    this = metric("rfid")
    for collector in (lambda: this, lambda: this, lambda: metric("rfid")):  # the last as in a new process
        each = collector()
        each.start(context())
        each.update(batch)
        each.originals.save()
        states.append(each.state)
    assert passed == [2, 2, 2, 2]  # originals and reconstructions, then reconstructions, and again
    for state in states[1:]:
        for key in state:
            assert torch.equal(state[key], states[0][key])


def test_the_next_process_finds_the_features(weights: None, tmp_path: Path) -> None:
    """Two processes end with equal sums, to the last bit, and the second puts the reconstructions alone through."""
    code = f"""
import hashlib, pathlib, torch
from vqbench import assets, inception, registry
from vqbench.metric import Batch, Context
from vqbench.protocol import measuring

assets.cache_folder = lambda: pathlib.Path({str(tmp_path)!r})
passed, features = [], inception.features
inception.features = lambda net, x, side: (passed.append(len(x)), features(net, x, side))[1]
collector = registry.load("metrics", "rfid")(Context(measuring("official"), "0" * 64, None, None, torch.device("cpu")))
x, y = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
collector.update(Batch(x, y, None, torch.arange(2)))
collector.originals.save()
sums = b"".join(collector.state[key].numpy().tobytes() for key in sorted(collector.state))
print(passed, hashlib.sha256(sums).hexdigest())
"""
    run = [sys.executable, "-c", code]
    first, second = (subprocess.run(run, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert first.startswith("[2, 2] ")
    assert second == first.replace("[2, 2]", "[2]")


def test_files_of_features_are_named_by_what_decides_them(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another data set, protocol, version of it or of features, or net has another file; another run has not."""
    clean = context()
    paths = [
        file_of(clean),
        file_of(context("official")),
        file_of(replace(clean, dataset="1" * 64)),
        file_of(replace(clean, protocol=replace(clean.protocol, VERSION=99))),
    ]
    assert file_of(replace(clean, num_codes=7, bits=1.0)) == paths[0]
    with monkeypatch.context() as patch:
        patch.setattr(inception, "VERSION", 99)
        paths.append(file_of(clean))
    monkeypatch.setattr(inception, "network", lambda device: torch.nn.Linear(2, 2))
    paths.append(file_of(clean))
    assert len(set(paths)) == 6


def test_references_of_samples_share_the_file(weights: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What samples are held against is kept where reconstructions look for their originals, in every version."""
    monkeypatch.setattr(inception, "features", cheap_features)
    pictures = rounded((grey(5) + 1) / 2)
    dataset = SimpleNamespace(pixels=lambda split: pictures, digest=lambda split: "0" * 64)
    under = Sampling(9, "test")
    for version in (inception.VERSION, 99):
        monkeypatch.setattr(inception, "VERSION", version)
        evaluator = SampleEvaluator(dataset, CPU)  # type: ignore[arg-type]
        found = evaluator._reference_features(f"clean:{under.name}", under, measuring("clean"))
        store = inception.FeatureStore(file_of(context()))
        assert torch.equal(store.get(range(5), refuse), found)
    assert len([*tmp_path.glob("features/*.npy")]) == 2


# ------------------------------------------------------------------------------------------------------- the store


def rows(*positions: int) -> Tensor:
    """Features that tell which image they belong to."""
    return torch.tensor(positions, dtype=torch.float32)[:, None].expand(-1, inception.DIM)


def filled(path: Path, *positions: int) -> inception.FeatureStore:
    store = inception.FeatureStore(path)
    store.get(list(positions), lambda places: rows(*(positions[place] for place in places)))
    return store


def refuse(places: list[int]) -> Tensor:
    raise AssertionError(f"computed again: {places}")


def test_the_store_keeps_images_in_order(tmp_path: Path) -> None:
    """Features seen in any order come back from disk by position, and only what is missing is computed."""
    path = tmp_path / "f.npy"
    filled(path, 2, 0, 3, 1).save()
    store = inception.FeatureStore(path)
    assert torch.equal(store.get([3, 1, 0, 2], refuse), rows(3, 1, 0, 2))
    asked: list[list[int]] = []
    store.get([1, 4, 0, 5], lambda places: (asked.append(places), rows(4, 5))[1])
    assert asked == [[1, 3]]
    assert torch.equal(store.get([5, 4], refuse), rows(5, 4))


def test_the_store_writes_whole_prefixes_and_never_less(tmp_path: Path) -> None:
    """Nothing is written of images with gaps, no shorter file replaces a longer one, and no other file is left."""
    path = tmp_path / "f.npy"
    filled(path, 1, 2).save()
    assert not path.exists()
    shorter = filled(path, 0)  # another process, which began before there was a file
    filled(path, 0, 1, 2).save()
    shorter.save()
    assert np.load(path).shape == (3, inception.DIM)
    assert [p.name for p in tmp_path.iterdir()] == ["f.npy"]


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "changed", "without its digest"])
def test_the_store_does_not_believe_a_damaged_file(tmp_path: Path, damage: str) -> None:
    """A file that is cut off, empty, of another shape or with other values than written is as none, and is replaced."""
    path = tmp_path / "f.npy"
    filled(path, 0, 1, 2).save()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "changed":
        content = bytearray(path.read_bytes())
        content[5000] ^= 1
        path.write_bytes(content)
    elif damage == "without its digest":
        np.save(path, np.zeros((9, inception.DIM), np.float32))
    else:
        np.save(path, np.zeros((9, 64), np.float32))
    filled(path, 0, 1).save()
    assert torch.equal(inception.FeatureStore(path).get([1, 0], refuse), rows(1, 0))


def test_a_store_that_cannot_be_written_warns(tmp_path: Path) -> None:
    """A cache folder that is a file costs the next run its time, and this run a warning, but not its value."""
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not kept"):
        filled(tmp_path / "file" / "f.npy", 0, 1).save()


# ---------------------------------------------------------------------------------------------------------- codes


def coded(codes: list) -> Batch:
    """A batch with the given codes, nested as (B, h, w, depth)."""
    tensor = torch.tensor(codes)
    pictures = torch.zeros(len(tensor), 1, 4, 4)
    return Batch(pictures, pictures, tensor, torch.arange(len(tensor)))


def test_usage_and_perplexity_of_known_counts() -> None:
    """Frequencies 1/2, 1/4, 1/4, 0 of four codes: 75 % in use, perplexity 2^1.5, whatever the batches."""
    for cuts in ([4], [1, 2, 1], [2, 2]):
        usage, perplexity = (metric(name, context(num_codes=4, depth=1)) for name in ("usage", "perplexity"))
        for piece in torch.tensor([0, 1, 0, 2]).split(cuts):
            batch = coded([[[[int(code)]]] for code in piece])
            usage.update(batch)
            perplexity.update(batch)
        assert usage.compute() == 75
        assert perplexity.compute() == pytest.approx(2**1.5, rel=1e-8)


def test_usage_and_perplexity_are_means_over_depths() -> None:
    """One depth on a single code, the other on all four: shares of 25 % and 100 %, perplexities 1 and 4."""
    batch = coded([[[[0, code]]] for code in range(4)])
    usage, perplexity = (metric(name, context(num_codes=4)) for name in ("usage", "perplexity"))
    usage.update(batch)
    perplexity.update(batch)
    assert usage.state["counts"].tolist() == [[4, 0, 0, 0], [1, 1, 1, 1]]
    assert usage.compute() == 62.5
    assert perplexity.compute() == pytest.approx(2.5, rel=1e-8)


def test_perplexity_equals_the_one_hot_formula() -> None:
    """On codes of real images it is exp(-sum p ln(p + 1e-10)) of the mean of one-hot rows."""
    codes = codes_of(grey(50))[..., :1]
    collector = metric("perplexity")
    collector.update(replace(batch_of(grey(50)), codes=codes))
    p = torch.nn.functional.one_hot(codes.flatten(), CODES).double().mean(0)
    assert collector.compute() == pytest.approx(float(torch.exp(-(p * torch.log(p + 1e-10)).sum())), rel=1e-12)
    assert 2 < collector.compute() < CODES


@pytest.mark.parametrize("code", [-1, 4])
def test_codes_outside_the_codebook_are_refused(code: int) -> None:
    """A code below 0 or at K would be counted for another code or enlarge the codebook: an error."""
    with pytest.raises(RunError, match="the codebook has 4 codes"):
        metric("usage", context(num_codes=4, depth=1)).update(coded([[[[0]]], [[[code]]]]))


@pytest.mark.parametrize("name", ["usage", "perplexity", "bits"])
def test_no_images_give_no_number(name: str) -> None:
    """Without any image there is nothing to report: an error, not 0 and not NaN."""
    with pytest.raises(RunError, match="was given none"):
        metric(name).compute()


def test_bits_are_positions_times_bits_a_position() -> None:
    """A 7x7 map at 9 bits costs 441 bits; the depth is within the bits a position, not counted again."""
    collector = metric("bits", context(num_codes=512, bits=9.0))
    collector.update(
        Batch(torch.zeros(3, 1, 28, 28), torch.zeros(3, 1, 28, 28), torch.zeros(3, 7, 7, 1).long(), torch.arange(3))
    )
    assert collector.compute() == 441
    collector.start(context(num_codes=512, bits=18.0))
    collector.update(
        Batch(torch.zeros(3, 1, 28, 28), torch.zeros(3, 1, 28, 28), torch.zeros(3, 7, 7, 2).long(), torch.arange(3))
    )
    assert collector.compute() == 882


# ------------------------------------------------------------------------------------------------------ precision


def test_networks_run_in_true_float32() -> None:
    """Inside, autocast, TF32 and bfloat16 are off; outside, all settings are as they were, after an error too."""
    backends = torch.backends
    settings = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    before = [s.fp32_precision for s in settings]
    outside = ["tf32", "tf32", "bf16", "bf16"]
    try:
        for setting, value in zip(settings, outside, strict=True):
            setting.fp32_precision = value
        with torch.autocast("cpu", torch.bfloat16), suppress(KeyError), inception.full_precision(CPU):
            assert [s.fp32_precision for s in settings] == ["ieee"] * 4
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            assert not torch.is_grad_enabled()
            raise KeyError
        assert [s.fp32_precision for s in settings] == outside
        assert torch.is_grad_enabled()
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
