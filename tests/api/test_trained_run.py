"""`vqbench.load_run`: the model of a finished run gives what its evaluation saw."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vqbench
from tests.support import tiny_suite
from vqbench.backbone import Autoencoder
from vqbench.errors import Damaged, StoreError, UsageError
from vqbench.evaluation.exporting.model_card import model_card
from vqbench.evaluation.image_arrays import image_tensor
from vqbench.quantizers.optvq import OptVQ
from vqbench.spec import RunSpec

ROWS = "{vq: {}, label: Plain}, {residual: {depth: 2}, label: Two codes}, {identity: {}}, {vq: {}, label: Again}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite, `tiny`, and the store of its trained runs, `runs`."""
    folder = tmp_path_factory.mktemp("trained")
    path = tiny_suite.write(folder, ROWS)
    assert tiny_suite.vqbench("run", path, "--store", folder / "runs", "--subset", 700, "-q", "--jobs", 0) == 0
    return folder


@pytest.fixture
def run(folder: Path) -> vqbench.TrainedRun:
    return vqbench.load_run("tiny", "Plain", store=folder / "runs", device="cpu")


@pytest.mark.parametrize("row", ["Plain", "Two codes"])
def test_reconstructions_of_the_test_split_give_the_record(row: str, folder: Path) -> None:
    """Reconstructions and codes of the test split, evaluated as arrays, give every stored value, to the last bit."""
    run = vqbench.load_run("tiny", row, store=folder / "runs")
    images = run.test_images()
    reconstructions, codes = run.reconstruct(images.float() / 255), run.encode(images)
    assert codes.dtype == torch.int64
    assert codes.shape == (1000, 7, 7, 1 if row == "Plain" else 2)
    stored = run.record.values["clean"]
    found = vqbench.evaluate(images, reconstructions, codes, run.num_codes, metrics=["l1", "psnr", "usage"])
    assert found.values.set_index("metric").value.to_dict() == {
        name: stored[name].value for name in ("l1", "psnr", "usage")
    }


@pytest.mark.parametrize("row", ["Plain", "Two codes"])
def test_decoded_codes_are_the_reconstructions(row: str, folder: Path) -> None:
    """decode(encode(images)) equals reconstruct(images) bit for bit, in any number and split of images."""
    run = vqbench.load_run("tiny", row, store=folder / "runs")
    images = run.test_images()[:230]
    codes = run.encode(images)
    assert torch.equal(run.decode(codes), run.reconstruct(images / 255))
    assert torch.equal(run.decode(codes.numpy().astype(np.uint8)), run.decode(codes))
    assert torch.equal(torch.cat([run.encode(images[:100]), run.encode(images[100:])]), codes)
    with torch.no_grad():
        x = (images[:100].float() / 255 - 0.5) / 0.5
        assert torch.equal(run.model(x)[0].add(1).div(2).clamp(0, 1), run.reconstruct(images / 255)[:100])


def test_the_type_of_images_decides_that_of_reconstructions(run: vqbench.TrainedRun) -> None:
    """uint8 gives rounded uint8, floats of any width and numpy arrays give float32, of the same images."""
    images = run.test_images()[:5]
    floats = run.reconstruct(images.double() / 255)
    levels = run.reconstruct(images.numpy())
    assert (floats.dtype, levels.dtype) == (torch.float32, torch.uint8)
    assert torch.equal(levels, (floats * 255).round().byte())
    assert torch.equal(run.reconstruct(images.numpy() / 255), floats)
    assert floats.min() >= 0
    assert floats.max() <= 1


WRONG = [
    (torch.zeros(2, 28, 28, 1), "channels come second"),
    (torch.zeros(1, 28, 28), r"images\[None\] makes one"),
    (torch.zeros(2, 1, 14, 14), "trained on 28x28 pixels and 1 channel"),
    (torch.zeros(2, 3, 28, 28), "trained on 28x28 pixels and 1 channel"),
    (torch.zeros(2, 1, 28, 28, dtype=torch.int32), "give uint8"),
    (torch.full((2, 1, 28, 28), -1.0), r"\(x \+ 1\) / 2"),
    (torch.zeros(0, 1, 28, 28), "no image"),
    (torch.zeros(2, 1, 28, 28).to_sparse(), "sparse, .* give a dense one"),
    (torch.zeros(2, 1, 28, 28, device="meta"), "a .*meta, .* give a dense one that has values"),
]


@pytest.mark.parametrize(("images", "sentence"), WRONG, ids=[each[1][:12] for each in WRONG])
def test_other_images_are_refused(images: torch.Tensor, sentence: str, run: vqbench.TrainedRun) -> None:
    """Images of another shape, type or range are a sentence, for encoding and reconstructing alike."""
    for use in (run.encode, run.reconstruct):
        with pytest.raises(UsageError, match=sentence):
            use(images)


def test_other_codes_are_refused(run: vqbench.TrainedRun, folder: Path) -> None:
    """Codes of another shape, beyond the codebook, or no whole numbers are refused; so is a run without codes."""
    for codes, sentence in (
        (torch.full((2, 7, 7, 1), 64), "from 64 to 64, but those of 64 are 0 to 63"),
        (torch.zeros(2, 7, 6, 1).long(), r"this model's are \(N, 7, 7, 1\)"),
        (torch.zeros(2, 7, 7, 1), "whole numbers"),
        (torch.zeros(0, 7, 7, 1).long(), "at least one"),
        (np.full((2, 7, 7, 1), 2**63 + 1, np.uint64), "codes run up to 9223372036854775809, which no int64 holds"),
        (torch.from_numpy(np.full((2, 7, 7, 1), 2**63 + 1, np.uint64)), "codes run up to 9223372036854775809"),
    ):
        with pytest.raises(UsageError, match=sentence):
            run.decode(codes)
    plain = vqbench.load_run("tiny", "identity", store=folder / "runs")
    assert plain.num_codes is None
    assert "no codes" in repr(plain)
    with pytest.raises(UsageError, match="quantizes nothing"):
        plain.encode(plain.test_images()[:2])


def test_a_run_has_several_names(run: vqbench.TrainedRun, folder: Path) -> None:
    """A key, its beginning, a folder's name and path, a row's label, and its quantizer where it is the only one."""
    key = run.spec.key
    path = next((folder / "runs").glob(f"*-{key}"))
    for name in (key, key[:10], path.name, path, str(path)):
        assert vqbench.load_run(name, store=folder / "runs").spec == run.spec
    assert vqbench.load_run(path, store=folder / "none").spec == run.spec
    assert vqbench.load_run(folder / "tiny.yaml", "residual", store=folder / "runs").spec.quantizer.name == "residual"
    assert repr(run) == f"<TrainedRun {key}: vq on fashion_mnist_5k, seed 42; 1x28x28 images, 64 codes, on cpu>"
    assert not run.model.training


def test_a_wrong_name_lists_what_exists(folder: Path) -> None:
    """An unknown run, suite or row, and a row that is not trained, are a sentence that says what there is."""
    store = folder / "runs"
    for words, sentence in (
        (("abc",), r"no finished run 'abc'.*or name a suite \(tiny\) and the label of a row"),
        (("tiny",), "3 finished runs, so add a row's label.*Plain on fashion_mnist_5k, seed 42"),
        (("tiny", "Plane"), "no row 'Plane'; did you mean 'Plain'"),
        (("tinny", "Plain"), "no suite of this name has runs in .*did you mean 'tiny'"),
        (("quick", "cvq"), "no finished run of row 'cvq' of suite 'quick'; `vqbench run quick --only \"cvq\"`"),
    ):
        with pytest.raises(UsageError, match=sentence):
            vqbench.load_run(*words, store=store)


def test_names_of_another_type_are_refused(folder: Path) -> None:
    """A run, a store and a device that are none say what to give."""
    for words, named, sentence in (
        (None, {}, "run=None: give a key, a folder or the name of a suite"),
        ("tiny", {"store": None}, "store=None: give the folder of the runs"),
        ("tiny", {"device": None}, "unknown device None"),
        ("tiny", {"plugins": 5}, "plugins=5: give a text"),
    ):
        with pytest.raises(UsageError, match=sentence):
            vqbench.load_run(words, "Plain", **{"store": folder / "runs", **named})  # type: ignore[arg-type]  # wrong on purpose


def test_a_deleted_checkpoint_is_a_sentence(folder: Path, run: vqbench.TrainedRun, tmp_path: Path) -> None:
    """A run whose checkpoint was cleaned says so."""
    copy = tmp_path / "runs"
    shutil.copytree(folder / "runs", copy)
    next(copy.glob(f"*-{run.spec.key}/best.pt")).unlink()
    with pytest.raises(StoreError, match=r"best.pt: the checkpoint was deleted"):
        vqbench.load_run(run.spec.key, store=copy)


# Exported folders -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    words = (
        "export",
        "tiny",
        "Plain",
        "--store",
        folder / "runs",
        "-o",
        folder / "exported",
        "--reconstructions",
        "-q",
    )
    assert tiny_suite.vqbench(*words) == 0
    return folder / "exported"


def test_an_exported_folder_is_the_run(
    exported: Path, run: vqbench.TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads without store and data set, and gives the same bits, spec and record."""
    images = run.test_images()[:120]
    monkeypatch.setattr("vqbench.registry.create", _no_dataset(vqbench.registry.create))
    loaded = vqbench.load_run(exported)
    assert loaded.spec == run.spec
    assert loaded.record.to_json() == run.record.to_json()
    assert torch.equal(loaded.encode(images), run.encode(images))
    assert torch.equal(loaded.reconstruct(images / 255), run.reconstruct(images / 255))


def _no_dataset(create: Any) -> Any:
    def checked(kind: str, *args: Any, **named: Any) -> Any:
        assert kind != "datasets", "the data set is needed"
        return create(kind, *args, **named)

    return checked


def test_exported_files_hold_what_they_say(exported: Path, run: vqbench.TrainedRun) -> None:
    """The test split's floats and codes are the model's; the card names the run; no file is or holds a pickle."""
    images = run.test_images()
    assert torch.equal(torch.from_numpy(np.load(exported / "reconstructions.npy")), run.reconstruct(images / 255))
    with np.load(exported / "codes.npz") as codes:
        assert codes["codes"].dtype == np.uint8
        assert torch.equal(torch.from_numpy(codes["codes"].astype(int)), run.encode(images))
        assert codes["run"] == run.spec.key
    about = json.loads((exported / "run.json").read_text())
    assert about["codes"] == {"shape": [7, 7, 1], "num_codes": 64, "bits": 49 * 6}
    assert about["images"] == {"channels": 1, "size": 28, "range": [0, 1]}
    assert set(about["files"]) == {path.name for path in exported.iterdir()} - {"run.json", "README.md"}
    assert run.spec.key in (exported / "README.md").read_text()
    assert not [path.name for path in exported.iterdir() if b"data.pkl" in path.read_bytes()]


def test_exported_files_have_the_mode_of_other_files(run: vqbench.TrainedRun, tmp_path: Path) -> None:
    """Whoever may read the model card may read the weights, whatever the umask."""
    before = os.umask(0o027)
    try:
        run.export(tmp_path / "shared", reconstructions=True)
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "shared").iterdir()}
    assert set(modes.values()) == {"0o640"}, modes
    assert "model.safetensors" in modes


def test_a_model_card_names_variant_and_arguments(run: vqbench.TrainedRun) -> None:
    """Three rows of one quantizer differ in card and repr, and a card has all arguments."""
    args = {**run.spec.quantizer.args, "online": True, "contrastive": False, "distance": "cosine"}
    online = replace(run.spec.quantizer, name="cvq", args=args)
    changed = replace(run.record, run=replace(run.spec, quantizer=online))
    assert ": cvq_online on fashion_mnist_5k" in repr(vqbench.TrainedRun(run.coder, changed))
    card = model_card(run.coder, changed, {"vqbench": "0", "codes": None, "files": {}}, [])
    assert card.startswith("# cvq_online on Fashion-MNIST")
    assert "`contrastive=False`" in card
    assert "`num_codes=64`" in card


def test_a_model_card_says_that_codes_depend_on_the_batch(run: vqbench.TrainedRun) -> None:
    """For a method that declares it, beside the number of codes; for others, nothing."""
    about = {"vqbench": "0", "codes": {"shape": [7, 7, 1], "num_codes": 64, "bits": 294.0}, "files": {}}
    sentence = "; they depend on the other images of the batch, at most 100 here |"
    assert sentence not in model_card(run.coder, run.record, about, [])
    dependent = Autoencoder(run.coder.model.backbone, OptVQ(64, 8))
    assert f"294 bits an image{sentence}" in model_card(replace(run.coder, model=dependent), run.record, about, [])


def test_arrays_that_are_read_only_are_no_warning(run: vqbench.TrainedRun) -> None:
    """Read-only arrays, as from a memory map or JAX, are used without a copy and without a warning."""
    images = run.test_images().numpy()[:2]
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = image_tensor(images)
        assert torch.equal(run.encode(images), run.encode(images.copy()))
    assert tensor.data_ptr() == images.ctypes.data


def test_exported_programs_compute_what_the_model_does(exported: Path, run: vqbench.TrainedRun) -> None:
    """Programs of torch.export take any number of images, without vqbench's classes."""
    encode, decode = (torch.export.load(exported / name).module() for name in ("encode.pt2", "decode.pt2"))
    for count in (1, 7):
        images = run.test_images()[:count]
        codes = encode(images / 255)
        assert torch.equal(codes, run.encode(images))
        torch.testing.assert_close(decode(codes).detach(), run.decode(codes), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "harm", ["weights", "other weights", "no weights", "description", "size", "channels", "version", "later"]
)
def test_a_damaged_export_is_a_sentence(harm: str, exported: Path, tmp_path: Path) -> None:
    """Weights that do not fit their digest, a description that is none, and plugins of another version are refused."""
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    about = json.loads((copy / "run.json").read_text())
    expected: tuple[type[Exception], str] = (Damaged, "model.safetensors: its content does not fit its digest")
    if harm == "weights":
        content = bytearray((copy / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (copy / "model.safetensors").write_bytes(content)
    elif harm == "other weights":
        (copy / "model.safetensors").write_bytes(b"\0" * 100)
    elif harm == "description":
        del about["images"]
        expected = Damaged, "run.json: not what `vqbench export` wrote"
    elif harm in ("size", "channels"):
        about["images"][harm] = {"size": 32, "channels": -1}[harm]
        expected = Damaged, r"run.json: .* \(its content does not fit its digest\)"
    elif harm == "no weights":
        (copy / "model.safetensors").unlink()
        expected = StoreError, "model.safetensors: cannot be read"
    elif harm == "version":
        about["record"]["run"]["quantizer"]["version"] += 1
        del about["record"]["digest"]
        about["record"]["key"] = RunSpec.from_dict(about["record"]["run"]).key
        expected = UsageError, "was trained with version 2 of quantizer 'vq'"
    else:
        about["format"] += 1
        expected = StoreError, "exported by a later vqbench"
    if harm == "version":  # as an export by that version would have it
        del about["digest"]
        about["digest"] = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    (copy / "run.json").write_text(json.dumps(about))
    with pytest.raises(expected[0], match=expected[1]):
        vqbench.load_run(copy)
