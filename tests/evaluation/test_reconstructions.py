"""The evaluation protocols, compared with a plain script that processes one image file at a time."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from vqbench import assets, images, registry
from vqbench.errors import RunError, UsageError
from vqbench.evaluation.reconstructions import Evaluator
from vqbench.images import as_measured, to_unit
from vqbench.metric import Batch, Context, Metric
from vqbench.networks import inception
from vqbench.protocol import MeasureProtocol, measuring

CPU = torch.device("cpu")


def originals(count: int) -> Tensor:
    """The first test images of Fashion-MNIST, (count, 1, 28, 28) in [-1, 1]."""
    return to_unit(registry.load("datasets", "fashion_mnist_5k")().pixels("test")[:count])


def reconstructed(x: Tensor) -> Tensor:
    """What a weak model might give: blurred, on 16 levels, and a little beyond [-1, 1]."""
    blurred = torch.from_numpy(scipy.ndimage.gaussian_filter(x.numpy(), (0, 0, 0.8, 0.8)))
    return 1.05 * (blurred * 8).round() / 8


# ---------------------------------------------------------------------------------------------- the reference script


def write_jpegs(x: Tensor, folder: Path) -> None:
    """Each image of [-1, 1] by itself: to [0, 1], tiled, times 255, cut to uint8, and a file by plain imageio."""
    folder.mkdir()
    for number, image in enumerate(x):
        unit = ((image + 1.0) / 2.0).clamp(0, 1).numpy()
        if unit.shape[0] == 1:
            unit = np.repeat(unit, 3, axis=0)
        imageio.imwrite(folder / f"{number:08d}.jpg", (unit.transpose(1, 2, 0) * 255).astype(np.uint8))


def read(file: Path) -> np.ndarray:
    """An image file as (H, W, 3) in [0, 1]: divided in float32, so that both sides start alike, then float64."""
    with Image.open(file) as image:
        return (np.array(image.convert("RGB")).astype(np.float32) / np.float32(255)).astype(np.float64)


def measured_one_by_one(x: Tensor, y: Tensor, folder: Path) -> dict[str, list[float]]:
    """l1, PSNR and SSIM of each pair under the official protocol, by way of files and scikit-image."""
    write_jpegs(x, folder / "originals")
    write_jpegs(y, folder / "reconstructions")
    values: dict[str, list[float]] = {"l1": [], "psnr": [], "ssim": []}
    for number in range(len(x)):
        a, b = (read(folder / side / f"{number:08d}.jpg") for side in ("originals", "reconstructions"))
        values["l1"].append(np.mean(np.abs(a - b)))
        values["psnr"].append(peak_signal_noise_ratio(a, b, data_range=1))
        values["ssim"].append(structural_similarity(a, b, channel_axis=-1, data_range=1, win_size=11))
    return values


def lpips_one_by_one(net: nn.Module, folder: Path, count: int) -> list[float]:
    """The package's LPIPS of each pair of files, one at a time, in [0, 1] with normalize=True."""
    values = []
    for number in range(count):
        files = (folder / side / f"{number:08d}.jpg" for side in ("originals", "reconstructions"))
        a, b = (torch.from_numpy(read(file).astype(np.float32)).permute(2, 0, 1) for file in files)
        with torch.no_grad():
            values.append(net(a, b, normalize=True).item())
    return values


def features_of_files(net: nn.Module, folder: Path) -> np.ndarray:
    """Features (N, 2048) of JPEG files: Pillow to 229x229, [0, 1], PyTorch to 299x299, [-1, 1], one at a time."""
    rows = []
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            small = np.asarray(image.convert("RGB").resize((229, 229), Image.BILINEAR), dtype=np.uint8)
        x = torch.from_numpy(small.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        x = 2 * nn.functional.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
        with torch.no_grad():
            for block in list(net.children())[:-1]:  # in the order of their making; the last is the classifier
                x = block(x)
        rows.append(x.flatten().numpy().astype(np.float64))
    return np.stack(rows)


def distance_by_scipy(f: np.ndarray, g: np.ndarray) -> float:
    """The Fréchet distance of two sets of features by the textbook: numpy's covariances and the root by scipy."""
    cov_f, cov_g = np.cov(f, rowvar=False), np.cov(g, rowvar=False)
    root = scipy.linalg.sqrtm(cov_f.dot(cov_g))
    assert np.isfinite(root).all()
    return ((f.mean(0) - g.mean(0)) ** 2).sum() + np.trace(cov_f) + np.trace(cov_g) - 2 * np.trace(root).real


def exact_distance(f: np.ndarray, g: np.ndarray) -> float:
    """The same, from N < 2,048 images without a root of (2048, 2048).

    With centred features F, G (N, 2048) the root's trace is the sum of the singular values of F G^T, over N - 1.
    """
    centred_f, centred_g = f - f.mean(0), g - g.mean(0)
    traces = (centred_f**2).sum() + (centred_g**2).sum() - 2 * np.linalg.norm(centred_f @ centred_g.T, "nuc")
    return ((f.mean(0) - g.mean(0)) ** 2).sum() + traces / (len(f) - 1)


# ----------------------------------------------------------------------------------------- the same, as vqbench does


def measured(name: str, x: Tensor, y: Tensor, size: int = 64) -> tuple[Metric, list[float]]:
    """The metric after batches of ``size`` under the official protocol, and its values per image."""
    official = measuring("official")
    metric = registry.load("metrics", name)(Context(official, "0" * 64, None, None, CPU))
    values: list[float] = []
    for begin in range(0, len(x), size):
        cut = slice(begin, begin + size)
        index = torch.arange(len(x))[cut]
        each = metric.update(Batch(as_measured(x[cut], official), as_measured(y[cut], official), None, index))
        values += [] if each is None else each.tolist()
    return metric, values


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nets' weights are fetched if need be; features of these tests' images go to a folder of their own."""
    for name in ("inception_fid", "vgg16_lpips"):
        assets.fetch(name)
    monkeypatch.setattr(assets, "cache_folder", lambda: tmp_path / "cache")


def test_l1_psnr_and_ssim_equal_the_image_by_image_script(tmp_path: Path) -> None:
    """On 200 images each image's l1, PSNR and SSIM, and their means, are those of the script, to 1e-9."""
    x = originals(200)
    y = reconstructed(x)
    expected = measured_one_by_one(x, y, tmp_path)
    for name, script in expected.items():
        metric, values = measured(name, x, y)
        np.testing.assert_allclose(values, script, rtol=0, atol=1e-9, err_msg=name)
        assert metric.compute() == pytest.approx(np.mean(script), abs=1e-9)
        assert np.std(script) > 0.001  # images differ, so a shuffled order would be seen


def test_lpips_equals_the_image_by_image_script(tmp_path: Path, weights: None) -> None:
    """On 24 images each image's LPIPS is the package's, one file at a time, to 1e-6."""
    from vqbench.metrics.lpips import network

    x = originals(24)
    y = reconstructed(x)
    measured_one_by_one(x, y, tmp_path)
    script = lpips_one_by_one(network("vgg", CPU), tmp_path, len(x))
    _, values = measured("lpips", x, y, size=10)
    np.testing.assert_allclose(values, script, rtol=0, atol=1e-6)
    assert min(script) > 0.01


@pytest.mark.integration
def test_statistics_behind_rfid_equal_the_image_by_image_script(tmp_path: Path, weights: None) -> None:
    """On 12 images the features have the means and covariances of the script, which takes file by file, to 1e-5."""
    x = originals(12)
    y = reconstructed(x)
    measured_one_by_one(x, y, tmp_path)
    metric, _ = measured("rfid", x, y, size=5)
    for side in ("originals", "reconstructions"):
        features = features_of_files(inception.network(CPU), tmp_path / side)
        mean, cov = metric.moments(side)
        np.testing.assert_allclose(mean, features.mean(0), rtol=0, atol=1e-5)
        np.testing.assert_allclose(cov, np.cov(features, rowvar=False), rtol=0, atol=1e-5)
        assert np.abs(cov).max() > 0.1


@pytest.mark.slow  # a root of (2048, 2048), of a singular matrix, takes scipy a minute
@pytest.mark.parametrize(("count", "distance"), [(12, exact_distance), (200, distance_by_scipy)])
def test_rfid_equals_the_image_by_image_script(
    count: int, distance: Callable[[np.ndarray, np.ndarray], float], tmp_path: Path, weights: None
) -> None:
    """rFID is the distance, to 1e-3, of features that the script takes from each file by itself."""
    x = originals(count)
    y = reconstructed(x)
    measured_one_by_one(x, y, tmp_path)
    net = inception.network(CPU)
    script = distance(*(features_of_files(net, tmp_path / side) for side in ("originals", "reconstructions")))
    metric, _ = measured("rfid", x, y, size=50)
    assert script > 10
    assert metric.compute() == pytest.approx(script, abs=1e-3)


# --------------------------------------------------------------------------------------------------- the conversion


def test_official_images_are_the_files_of_imageio(tmp_path: Path) -> None:
    """The JPEG in memory is byte by byte the file that imageio writes without options and Pillow at quality 75."""
    for x in (originals(8), reconstructed(originals(8))):
        levels = images.truncated(((x + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1))
        for image, array in zip(levels, levels.permute(0, 2, 3, 1).numpy(), strict=True):
            path = tmp_path / "image.jpg"
            imageio.imwrite(path, array)
            by_pillow = io.BytesIO()
            Image.fromarray(array).save(by_pillow, format="JPEG", quality=75, subsampling="4:2:0")
            assert images._encoded(array, 75) == path.read_bytes() == by_pillow.getvalue()
            seen = images.through_jpeg(image[None], 75)[0].permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(seen, np.asarray(Image.open(path)))


def test_jpeg_copies_keep_the_order_of_the_images() -> None:
    """Each of 150 images comes back at its own place, byte by byte as Pillow opens it, grey and colour alike."""
    x = reconstructed(originals(150))
    colour = torch.cat([x, x.flip(-1), x.flip(-2)], dim=1)
    for levels in (images.truncated(((side + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1)) for side in (x, colour)):
        seen = images.through_jpeg(levels, 75)
        assert seen.shape == levels.shape
        for array, copy in zip(levels.permute(0, 2, 3, 1).numpy(), seen.permute(0, 2, 3, 1).numpy(), strict=True):
            with Image.open(io.BytesIO(images._encoded(array, 75))) as opened:
                np.testing.assert_array_equal(copy, np.asarray(opened))
        assert len(seen.flatten(1).unique(dim=0)) == 150


def test_a_damaged_jpeg_is_an_error() -> None:
    """Decoding without Pillow's header parsing does not accept a truncated file as an image."""
    jpeg = images._encoded(np.full((28, 28, 3), 7, np.uint8), 75)
    for damaged in (jpeg[: len(jpeg) // 2], b"", b"no image"):
        with pytest.raises((ValueError, OSError)):
            images._decoded(damaged, (28, 28))


def test_grey_is_one_channel_seen_three_times() -> None:
    """JPEG gives none of the 256 greys a tint, so metrics see one channel of them; colour keeps its three."""
    ramp = to_unit(torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16))
    official = measuring("official")
    for x in (ramp, reconstructed(originals(20))):
        seen = as_measured(x, official)
        rgb = images.through_jpeg(images.truncated(((x + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1)), 75)
        assert torch.equal(seen, rgb.float() / 255)
        assert images.distinct(seen).shape[1] == 1
    assert images.distinct(as_measured(ramp.expand(-1, 3, -1, -1), official)).shape[1] == 3


def test_grey_with_a_tint_keeps_its_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a JPEG library to tint grey, no channel would be dropped, and l1 would see the tint."""
    tint = torch.tensor([0, 0, 9], dtype=torch.uint8).view(1, 3, 1, 1)
    monkeypatch.setattr(images, "through_jpeg", lambda levels, quality: levels // 2 + tint)
    x = as_measured(originals(2), measuring("official"))
    assert images.distinct(x).shape[1] == 3
    context = Context(measuring("official"), "0" * 64, None, None, CPU)
    grey = x[:, :1].expand(-1, 3, -1, -1)
    values = registry.load("metrics", "l1")(context).update(Batch(x, grey, None, torch.arange(2)))
    np.testing.assert_allclose(values, 3 / 255, atol=1e-7)


def test_ssim_in_pieces_is_ssim_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the pieces changes no value and no order; the last one may be smaller."""
    from vqbench.metrics import ssim

    x = originals(23)
    _, at_once = measured("ssim", x, reconstructed(x))
    monkeypatch.setattr(ssim, "PIECE", 5 * 28 * 28)
    _, in_pieces = measured("ssim", x, reconstructed(x))
    np.testing.assert_allclose(in_pieces, at_once, rtol=0, atol=1e-12)


def test_originals_seen_again_are_the_same() -> None:
    """An evaluator gives the second run the very originals of the first, also to one that keeps nothing."""
    dataset = registry.load("datasets", "fashion_mnist_5k")()
    x = originals(30)
    for name in ("official", "clean"):
        for keep in (True, False):
            evaluator = Evaluator(dataset, CPU, keep)
            first, second = (evaluator._measured_originals(x, 0, measuring(name)) for _ in range(2))
            assert torch.equal(first, second)
            assert images.distinct(first).shape == images.distinct(second).shape == (30, 1, 28, 28)
            assert bool(evaluator._originals) == (keep and name == "official")


def test_the_benchmark_shows_what_it_kept_without_torch(tmp_path: Path) -> None:
    """A kept measurement gives the same Markdown each time, on a machine that cannot import torch."""
    row = {"dataset": "d", "what": "w", "against": "a", "images": 100}
    seconds = {"seconds": {"ours": 2.0, "other": 1.0}, "cpu_seconds": {"ours": 3.0, "other": 2.0}}
    machine = {"device": "CPU", "threads": 2, "torch": "2", "pillow": "13", "load": 0.1}
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"machine": machine, "repeats": 3, "rows": [row | seconds]}))
    script = Path(__file__).parents[1] / "benchmarks" / "measuring.py"
    code = (
        "import runpy, sys; sys.modules['torch'] = None; "
        f"sys.argv = ['x', '--show', {str(kept)!r}]; runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    shown = {subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout for _ in range(2)}
    assert len(shown) == 1
    assert shown.pop().decode().splitlines()[-1] == "| d | w | a | 50.0 | 100.0 | 2.000 | 1.500 |"


def test_truncation_lowers_63_of_256_grey_levels() -> None:
    """The float32 round trip of an original through [-1, 1] and the cut lower exactly 63 levels, each by one."""
    levels = torch.arange(256, dtype=torch.uint8)
    back = images.truncated((to_unit(levels) + 1) / 2)
    lost = levels.int() - back.int()
    assert lost.unique().tolist() == [0, 1]
    assert lost.sum() == 63
    assert torch.equal(images.rounded((to_unit(levels) + 1) / 2), levels)


def test_clean_images_are_floats_clamped_to_one() -> None:
    """Under the clean protocol nothing but the range changes: grey stays one channel, and no value is rounded."""
    x = torch.tensor([-3.0, -1, -0.123456, 0, 0.7777777, 1, 1.5]).view(1, 1, 1, 7)
    seen = as_measured(x, measuring("clean"))
    assert seen.dtype == torch.float32
    assert seen.shape == x.shape
    torch.testing.assert_close(seen.flatten(), torch.tensor([0, 0, 0.438272, 0.5, 0.88888885, 1, 1]), rtol=0, atol=1e-7)


def test_official_images_are_rgb_multiples_of_a_255th() -> None:
    """Grey becomes three channels, all values are k/255 exactly as float32 has it, also from half precision."""
    x = originals(5)
    seen = as_measured(x, measuring("official"))
    assert seen.shape == (5, 3, 28, 28)
    assert seen.dtype == torch.float32
    assert torch.equal(seen, (seen * 255).round() / 255)
    assert not torch.equal(seen[:, :1], (x + 1) / 2)  # JPEG and truncation did happen
    assert as_measured(x.bfloat16(), measuring("official")).dtype == torch.float32


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("protocol", ["clean", "official"])
def test_nan_is_refused(protocol: str, value: float) -> None:
    """NaN and infinity, which 8 bits would turn into some grey, are an error under every protocol."""
    x = originals(2)
    x[1, 0, 3, 4] = value
    with pytest.raises(RunError, match="NaN"):
        as_measured(x, measuring(protocol))


def test_images_of_two_channels_are_refused() -> None:
    """Two channels are neither grey nor RGB."""
    with pytest.raises(UsageError, match="2 channels"):
        as_measured(torch.zeros(1, 2, 8, 8), measuring("clean"))


def test_a_protocol_of_floats_and_jpeg_is_refused() -> None:
    """A protocol with JPEG of float pixels is an error; JPEG is not silently skipped."""
    odd = MeasureProtocol("odd", "", pixels="float", jpeg=75, ssim="uniform", fid_resize=None)
    with pytest.raises(UsageError, match="8 bits"):
        as_measured(originals(1), odd)
