"""`--model`: functions, modules, checkpoints and programs, measured as folders of what they make."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

import vqbench
from tests.measuring.conftest import COUNT, SIDE, photographs, write_pairs
from tests.support.tiny_suite import vqbench as command
from vqbench.api.measure_models import ModelOptions, measure_model, opened_model
from vqbench.backbones.vqgan import VQGAN
from vqbench.errors import AssetError, Interrupted, RunError, UsageError
from vqbench.functional.precision import initial_products
from vqbench.measuring import pair_stream

Pairs = tuple[Path, Path]
METRICS = ["l1", "psnr", "ssim"]
CODE = """
import torch
from levels_of_my_model import LEVELS

def coarse(x):  # (B, 3, H, W) in [-1, 1]
    levels = ((x + 1) / 2 * (LEVELS - 1)).round()
    r, g, b = levels.long().unbind(1)
    return levels / (LEVELS - 1) * 2 - 1, LEVELS * LEVELS * r + LEVELS * g + b

def noisy(x):
    return (x + 0.1 * torch.randn_like(x)).clamp(-1, 1)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of functions, one of which is beside it."""
    (tmp_path / "levels_of_my_model.py").write_text("LEVELS = 6\n")
    path = tmp_path / f"functions_{tmp_path.name.replace('-', '_')}.py"
    path.write_text(CODE)
    return path


def originals() -> np.ndarray:
    """The photographs, (N, 3, H, W) uint8."""
    return np.stack([image.transpose(2, 0, 1) for image in photographs()])


def coarse(x: Tensor) -> tuple[Tensor, Tensor]:
    levels = ((x + 1) / 2 * 5).round()
    r, g, b = levels.long().unbind(1)
    return levels / 5 * 2 - 1, 36 * r + 6 * g + b


def same_as(made: Tensor, found: vqbench.Evaluation, tmp_path: Path) -> None:
    """Assert that values are those of two arrays: the originals, and ``made`` in [-1, 1], clamped."""
    np.save(tmp_path / "given.npy", originals())
    np.save(tmp_path / "made.npy", made.float().clamp(-1, 1).numpy())
    expected = vqbench.evaluate(tmp_path / "given.npy", tmp_path / "made.npy", metrics=METRICS, range="-1..1")
    assert [found[name] for name in METRICS] == pytest.approx([expected[name] for name in METRICS], rel=1e-6)


def given() -> Tensor:
    """What a model is given: the photographs in [-1, 1], in the order of their names."""
    order = sorted(range(COUNT), key=lambda number: f"part{number % 2}/photo.{number}")
    return (torch.from_numpy(originals()[order]).float() / 255 - 0.5) / 0.5


def test_a_function_of_a_file(pairs: Pairs, file: Path, tmp_path: Path) -> None:
    """FILE.py:name has the values of what it makes, codes too; what lies beside the file is imported."""
    found = vqbench.evaluate(pairs[0], model=f"{file}:coarse", num_codes=216, metrics=[*METRICS, "usage", "perplexity"])
    images, codes = coarse(given())
    same_as(images[np.argsort(sorted(range(COUNT), key=lambda n: f"part{n % 2}/photo.{n}"))], found, tmp_path)
    assert found["usage"] == pytest.approx(100 * len(codes.unique()) / 216)
    assert found.about["codes"] == {"path": f"{file}:coarse", "num_codes": 216, "depth": 1}
    assert found.about["model"]["kind"] == "function"
    uncounted = vqbench.evaluate(pairs[0], model=f"{file}:coarse", metrics=METRICS)
    assert any("--num-codes states the size" in note for note in uncounted.notes)


@pytest.mark.parametrize("declared", ["-1..1", "0..1", "0..255"])
def test_the_range_of_images(pairs: Pairs, declared: str) -> None:
    """Images come in the declared range, exactly, and output is read in it; gradients and training mode are off."""
    low, high = map(float, declared.split(".."))
    seen: list[Tensor] = []

    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            seen.append(x)
            return (x - low) / 2 + low

    found = vqbench.evaluate(pairs[0], model=Half(), model_range=declared, metrics=["psnr"])
    levels = torch.from_numpy(originals()).float()
    first = levels[0] / 255 * (high - low) + low  # part0/photo.0
    assert seen[0].shape == (1, 3, SIDE, SIDE)  # the first image alone, to see whether all fits
    torch.testing.assert_close(seen[0][0], first, rtol=0, atol=1e-6 * (high - low))
    assert [len(x) for x in seen[1:]] == [COUNT]
    error = ((levels / 255 / 2) ** 2).flatten(1).mean(1)
    assert found["psnr"] == pytest.approx(float((-10 * error.log10()).mean()), abs=2e-5)


def test_batches(pairs: Pairs) -> None:
    """--batch-size is the most that a model gets together, and values do not depend on it."""
    counts: list[int] = []

    def model(x: Tensor) -> Tensor:
        counts.append(len(x))
        return x.round()

    found = vqbench.evaluate(pairs[0], model=model, batch_size=7, metrics=METRICS, model_range="-1..1")
    assert counts == [1, 7, 7, 7, 3]
    whole = vqbench.evaluate(pairs[0], model=model, metrics=METRICS, model_range="-1..1")
    assert found.values.value.tolist() == whole.values.value.tolist()


def test_a_model_may_reuse_its_buffer(pairs: Pairs) -> None:
    """Reconstructions and codes that a model overwrites in its next call, as CUDA graphs do, are kept before."""
    images, codes = torch.empty(7, 3, SIDE, SIDE), torch.empty(7, SIDE, SIDE, dtype=torch.int64)

    def reusing(x: Tensor) -> tuple[Tensor, Tensor]:
        made = coarse(x)
        return images[: len(x)].copy_(made[0]), codes[: len(x)].copy_(made[1])

    how: dict[str, Any] = {"batch_size": 7, "num_codes": 216, "metrics": ["l1", "perplexity"]}
    assert vqbench.evaluate(pairs[0], model=reusing, **how)["l1"] > 0
    found, expected = (vqbench.evaluate(pairs[0], model=model, **how) for model in (reusing, coarse))
    assert found.values.value.tolist() == expected.values.value.tolist()


def test_random_models_are_reproducible(pairs: Pairs, file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Stopped at random batches, a model that draws has the same values, and the caller's generator is left alone."""
    monkeypatch.setattr(pair_stream, "PIXELS", 5 * SIDE * SIDE)  # five images a batch
    torch.manual_seed(7)
    whole = vqbench.evaluate(pairs[0], model=f"{file}:noisy", metrics=METRICS)
    drawn = torch.rand(())
    torch.manual_seed(7)
    assert drawn == torch.rand(())
    draw = random.Random(0)

    def stop(done: int, total: int) -> None:
        if draw.random() < 0.4 and done < total:
            raise Interrupted("stopped")

    for _ in range(100):
        try:
            options = ModelOptions(f"{file}:noisy")
            found = measure_model(pairs[0], options, metrics=METRICS, store=tmp_path / "kept", progress=stop)
            break
        except Interrupted:
            continue
    assert found.about["resumed_at"] > 0
    assert found.values.value.tolist() == whole.values.value.tolist()


def test_kept_by_weights(pairs: Pairs, tmp_path: Path) -> None:
    """A finished measurement is read again for the same weights, and not for others, or for another range."""

    def measured(model: Any, **how: Any) -> bool:
        said: list[str] = []
        measure_model(pairs[0], ModelOptions(model, **how), metrics=["l1"], store=tmp_path, say=said.append)
        return any("measured before" in sentence for sentence in said)

    layer = nn.Conv2d(3, 3, 1)
    assert [measured(layer), measured(layer), measured(layer, range="0..1")] == [False, True, False]
    with torch.no_grad():
        layer.weight *= 1.01
    assert not measured(layer)
    scale = 0.5
    function = lambda x: x * scale  # noqa: E731
    assert [measured(function), measured(function)] == [False, True]
    scale = 0.25  # which is neither in its text nor in a module
    assert not measured(function)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda x: x[:, :, ::2], "returns the shape (1, 3, 32, 64) for (1, 3, 64, 64)"),
        (lambda x: x / 0 * 0, "returns NaN or infinity"),
        (lambda x: (x + 1) / 2, "which look like 0..1; --model-range declares"),
        (lambda x: (x + 1) * 127, "which look like 0..255"),
        (lambda x: x.long(), "returns torch.int64; return floats in -1..1, or uint8"),
        (lambda x: {"sample": x}, "returns dict; return a tensor of images"),
        (lambda x: (x, x, x), "returns 3 values"),
        (
            lambda x: x.nothing,
            "fails: AttributeError: 'Tensor' object has no attribute 'nothing' (test_models.py, line",
        ),
        (lambda x: sys.exit(0), "fails: SystemExit: 0 (test_models.py, line"),
        (lambda x: (x, x), "codes of type float32: give whole numbers"),
        (nn.Identity, "it is a class; give an instance"),
        (3, "it is of type int, which cannot be called"),
    ],
)
def test_what_is_checked_of_a_model(model: Any, sentence: str, pairs: Pairs) -> None:
    """Shape, type, range, NaN, codes and errors of the model's own are one sentence each, at the first image."""
    with pytest.raises((UsageError, RunError)) as error:
        vqbench.evaluate(pairs[0], model=model, num_codes=8)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_codes_are_checked(pairs: Pairs) -> None:
    """Codes beyond the codebook, of other images than the first, and none where they were stated, are refused."""
    for codes, sentence in (
        (lambda x: torch.full((len(x), 2, 2), 8), "run from 8 to 8, but those of 8 are 0 to 7"),
        (lambda x: torch.zeros(len(x) + 1, 4).long(), "returns codes of 2 images"),
        (
            lambda x: torch.zeros(len(x), 2, 2, len(x)).long(),
            "codes of depth 24, and of the first image codes of depth 1",
        ),
    ):
        with pytest.raises(UsageError) as error:
            vqbench.evaluate(pairs[0], model=lambda x, codes=codes: (x, codes(x)), num_codes=8)
        assert sentence in str(error.value)
    with pytest.raises(UsageError, match="returns no codes"):
        vqbench.evaluate(pairs[0], model=lambda x: x, num_codes=8, model_range="-1..1")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("{file}:nothing", "did you mean 'noisy'? known: coarse, noisy"),
        ("{file}", "which function or module of it?"),
        ("nosuch.py:coarse", "nosuch.py: no such file"),
        ("no_such_package:coarse", "the working directory is not searched: give a file as FILE.py:coarse"),
        ("nosuch.ckpt", "no such file"),
        ("0123", "no FILE.py:name, no folder of diffusers, no file; and as a run: "),
        ("{broken}:coarse", "cannot be imported: ZeroDivisionError: division by zero (broken.py, line 1)"),
    ],
)
def test_names_that_are_no_model(
    name: str, sentence: str, pairs: Pairs, file: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """A name that cannot be loaded is one sentence on stderr, exit code 2, and leaves nothing behind."""
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    words = ("--model", name.format(file=file, broken=tmp_path / "broken.py"), "--device", "cpu")
    assert command("measure", pairs[0], *words) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "measured").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("{folder}", "{folder}", "--model", "x.py:f"), "with a model, give originals or a data set alone"),
        (("{folder}", "--model", "{file}:coarse", "--dataset", "cifar10"), "give one of them"),
        (("--model", "{file}:coarse"), "give ORIGINALS or --dataset NAME"),
        (("--model", "{file}:coarse", "--dataset", "cifar"), "did you mean 'cifar10'"),
        (("{folder}", "--model", "{file}:coarse", "--by-order"), "a model makes the partner"),
        (("{folder}", "--model", "{file}:coarse", "--model-range", "0..2"), "--model-range '0..2'"),
        (("{folder}", "{folder}", "--trust"), "--trust: with --model alone"),
        ((), "nothing to measure"),
    ],
)
def test_words_that_do_not_fit(words: tuple[str, ...], sentence: str, pairs: Pairs, file: Path, capsys: Any) -> None:
    """Each mistake is one sentence and exit code 2."""
    assert command("measure", *(word.format(folder=pairs[0], file=file) for word in words), "--device", "cpu") == 2
    assert sentence in capsys.readouterr().err


def test_grey_and_colour(tmp_path: Path) -> None:
    """Files are given as RGB, a data set with its channels, and JSON has the model and the digests of what it made."""
    shapes: list[tuple[int, ...]] = []

    def model(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return x / 2

    folder, _ = write_pairs(tmp_path, count=4)
    vqbench.evaluate(folder, model=model, metrics=["l1"])
    found = vqbench.evaluate(None, model=model, dataset="fashion_mnist_5k", metrics=["l1"])
    assert shapes[:2] == [(1, 3, SIDE, SIDE), (4, 3, SIDE, SIDE)]
    assert shapes[2:4] == [(1, 1, 28, 28), (100, 1, 28, 28)]
    assert found.about["originals"]["kind"] == "data set"
    assert found.about["originals"]["digest"] != found.about["reconstructions"]["digest"]
    assert len(found.per_image) == 1000


class Tiny(nn.Module):
    """Four pixels to one and back, with codes."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = nn.functional.avg_pool2d(x, 2)
        return nn.functional.interpolate(z, scale_factor=2.0), (z[:, 0] > 0).long()


def exported(path: Path, batch: int | None) -> Path:
    dynamic = {"x": {0: torch.export.Dim("batch")}} if batch is None else None
    with initial_products():  # else torch reads settings of which it has two kinds
        program = torch.export.export(Tiny(), (torch.zeros(batch or 2, 3, SIDE, SIDE),), dynamic_shapes=dynamic)
    torch.export.save(program, path)
    return path


def scripted(path: Path) -> Path:
    torch.jit.save(torch.jit.script(Tiny()), str(path))
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "write",
    [
        lambda folder: exported(folder / "model.pt2", None),
        lambda folder: exported(folder / "model.pt2", 5),
        lambda folder: scripted(folder / "model.pt"),
    ],
)
def test_programs_are_code(write: Callable[[Path], Path], pairs: Pairs, tmp_path: Path) -> None:
    """Programs of torch.export, for any or a fixed batch, and of TorchScript have the module's values, if trusted."""
    path = write(tmp_path)
    with pytest.raises(UsageError, match="holds code that runs when it is loaded; add --trust"):
        vqbench.evaluate(pairs[0], model=path)
    found, expected = (
        vqbench.evaluate(pairs[0], model=model, num_codes=2, metrics=[*METRICS, "usage"], **how)
        for model, how in ((path, {"trust": True}), (Tiny(), {}))
    )
    assert found.values.value.tolist() == pytest.approx(expected.values.value.tolist(), rel=1e-6)


def test_damaged_programs(pairs: Pairs, tmp_path: Path) -> None:
    """A file that is no program, and weights without an architecture, are one sentence each."""
    (tmp_path / "model.pt2").write_bytes(b"PK")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pt")
    for name, sentence in (("model.pt2", "not a program of torch.export"), ("weights.pt", "without an architecture")):
        with pytest.raises(UsageError, match=sentence):
            vqbench.evaluate(pairs[0], model=tmp_path / name, trust=True)


SHAPE = {
    "double_z": False,
    "z_channels": 16,
    "resolution": 32,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [16, 8],
    "dropout": 0.0,
}


def taming(folder: Path, **changes: Any) -> tuple[Path, VQGAN, Tensor]:
    """A checkpoint and its configuration as taming-transformers leaves them."""
    torch.manual_seed(3)
    net = VQGAN(3, 8, width=32, multipliers="1x1", blocks=1, attention="16", z_channels=16, size=32).eval()
    codebook = torch.randn(16, 8)
    state = {**net.state_dict(), "quantize.embedding.weight": codebook, "loss.logvar": torch.zeros(())}
    path = folder / "checkpoints" / "last.ckpt"
    (folder / "configs").mkdir(parents=True)
    path.parent.mkdir()
    torch.save({"epoch": 3, "state_dict": state}, path)
    params = {"embed_dim": 8, "n_embed": 16, "ddconfig": SHAPE, "lossconfig": {"target": "x"}, **changes}
    model = {"target": changes.pop("target", "taming.models.vqgan.VQModel"), "params": params}
    (folder / "configs" / "now-project.yaml").write_text(yaml.safe_dump({"model": model}))
    return path, net, codebook


def test_a_checkpoint_of_taming_transformers(pairs: Pairs, tmp_path: Path) -> None:
    """Its reconstructions are those of encoder, nearest code and decoder; codes are counted, its YAML is found."""
    path, net, codebook = taming(tmp_path)
    inputs = opened_model(pairs[0], ModelOptions(path, batch_size=4))
    first = next(inputs.reader.batches())
    with torch.no_grad():
        z = net.encode(given()[:4])
        codes = torch.cdist(z.permute(0, 2, 3, 1), codebook).argmin(-1)
        y = net.decode(codebook[codes].permute(0, 3, 1, 2))
    assert first.codes is not None
    torch.testing.assert_close(first.codes[:4, ..., 0], codes)
    torch.testing.assert_close(first.reconstructions[:4], y, rtol=1e-4, atol=1e-4)
    found = vqbench.evaluate(pairs[0], model=path, metrics=["usage", "bits"])
    assert found["bits"] == 32 * 32 * 4
    assert found.about["model"]["kind"] == "VQGAN checkpoint"


def test_configurations_that_do_not_fit(pairs: Pairs, tmp_path: Path) -> None:
    """Another model, other widths, no YAML or two of them, are one sentence each."""
    for number, (changes, error, sentence) in enumerate(
        (
            ({"target": "taming.models.vqgan.GumbelVQ"}, UsageError, "a GumbelVQ, which has another quantizer"),
            ({"n_embed": 17}, UsageError, "its codebook has 16 codes of 8 dimensions"),
            (
                {"ddconfig": {**SHAPE, "ch": 64}},
                AssetError,
                "of the parameters of this backbone it has in another shape",
            ),
            ({"ddconfig": {**SHAPE, "ch_mult": "1,1"}}, UsageError, "ch_mult is '1,1'"),
            ({"ddconfig": None}, UsageError, "not a configuration of taming-transformers"),
        )
    ):
        path, _, _ = taming(tmp_path / str(number), **changes)
        with pytest.raises(error) as caught:
            vqbench.evaluate(pairs[0], model=path)
        assert sentence in str(caught.value)
    shutil.copy(tmp_path / "0/configs/now-project.yaml", tmp_path / "0/configs/then-project.yaml")
    with pytest.raises(UsageError, match="2 files may be its configuration"):
        vqbench.evaluate(pairs[0], model=tmp_path / "0/checkpoints/last.ckpt")
    (tmp_path / "0/checkpoints/last.yaml").write_text("[")
    with pytest.raises(UsageError, match=r"last.yaml: not a configuration"):
        vqbench.evaluate(pairs[0], model=tmp_path / "0/checkpoints/last.ckpt")


def test_report_and_json_of_a_model(pairs: Pairs, file: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """--report shows what the model makes; --json keeps its schema and names the model; text fits 80 columns."""
    from tests.cli.test_json import require

    monkeypatch.chdir(tmp_path)
    words = (pairs[0], "--model", f"{file.name}:coarse", "--device", "cpu", "-q")
    assert command("measure", *words, "--report", "page.html") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert (tmp_path / "page.html").read_text().count("<img") >= 6
    assert command("measure", *words, "--json", "--num-codes", "216") == 0
    data = json.loads(capsys.readouterr().out)
    require("measure", data)
    assert data["matched_by"] == "model"
    assert data["model"]["name"] == f"{file.name}:coarse"


def test_what_a_model_prints(pairs: Pairs, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """What a model's file prints goes to stderr, so that --json prints JSON alone."""
    monkeypatch.chdir(tmp_path)
    how = ("--model-range", "-1..1", "--device", "cpu", "--metrics", "l1", "-q", "--json")
    for name, *own in (("measure", "--report", "page.html"), ("explain",)):
        text = "print('imported')\n\ndef model(x):\n    print('called')\n    return x / 2\n"
        (tmp_path / f"loud_{name}.py").write_text(text)
        assert command(name, pairs[0], "--model", f"loud_{name}.py:model", *how, *own) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)
        assert "imported" in shown.err
        assert "called" in shown.err
