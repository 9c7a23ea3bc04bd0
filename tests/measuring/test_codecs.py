"""Classical codecs: payloads by other means, targets kept, rows stored with their rate."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

import vqbench as api
from tests.cli.test_json import require
from tests.support.tiny_suite import vqbench, write
from vqbench import registry
from vqbench.measuring.codecs.image_codecs import CODECS
from vqbench.measuring.codecs.target_rate import compressed
from vqbench.planning import loading
from vqbench.store import external_rows
from vqbench.store.results import ResultStore
from vqbench.training.model_building import planned_bits

Folder = Path
SIDE = 64
RESULTS = Path(__file__).parents[2] / "results"


def crop(number: int) -> Image.Image:
    top, left = 40 * number, 60 * number
    return Image.fromarray(data.chelsea()[top : top + SIDE, left : left + SIDE])


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The current folder, with four crops in a folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        (tmp_path / "photos" / "cat").mkdir(parents=True, exist_ok=True)
        crop(number).save(tmp_path / "photos" / "cat" / f"{number}.png")
    return tmp_path


OTHERWISE = {  # the payload of a file as one scan, chunk, box or tile, without a parser
    "jpeg": lambda file: (
        len(file) - 2 - file.rindex(b"\xff\xda") - 2 - int.from_bytes(file[file.rindex(b"\xff\xda") + 2 :][:2])
    ),
    "webp": lambda file: int.from_bytes(file[file.index(b"VP8 ") + 4 :][:4], "little"),
    "avif": lambda file: int.from_bytes(file[file.index(b"mdat") - 4 :][:4]) - 8,
    "jpeg2000": lambda file: len(file) - 2 - file.index(b"\xff\x93") - 2,
}


@pytest.mark.parametrize("name", CODECS)
def test_payloads(name: str) -> None:
    """The payload is what lies between headers and end, and a higher setting makes it larger."""
    codec = CODECS[name]
    sizes = []
    for setting in (codec.settings[40], codec.settings[-20]):
        file = codec.encode(crop(1), setting)
        assert Image.open(io.BytesIO(file)).size == (SIDE, SIDE)
        assert codec.payload(file) == OTHERWISE[name](file)
        assert codec.size(file, headers=True) == len(file) > codec.payload(file)
        sizes.append(codec.payload(file))
    assert sizes[0] < sizes[1]


def test_jpeg2000_transforms_colours() -> None:
    """COD states the colour transform for RGB and none for grey, and no file has OpenJPEG's comment."""
    for image, transform in ((crop(0), 1), (crop(0).convert("L"), 0)):
        file = CODECS["jpeg2000"].encode(image, 150)
        assert file[file.index(b"\xff\x52") + 8] == transform
        assert b"OpenJPEG" not in file


def test_payload_of_several_scans_and_restarts() -> None:
    """JPEG's payload is that of all scans; stuffed bytes and restart markers do not end it."""
    buffer = io.BytesIO()
    crop(0).save(buffer, "JPEG", quality=95, progressive=True, restart_marker_blocks=4)
    file = buffer.getvalue()
    headers = [place for place in range(len(file) - 1) if file[place : place + 2] == b"\xff\xda"]
    assert len(headers) > 3
    assert b"\xff\xd0" in file
    assert len(file) - 1_000 * len(headers) < CODECS["jpeg"].payload(file) < len(file) - 20 * len(headers)
    with pytest.raises((ValueError, IndexError)):
        CODECS["jpeg"].payload(file[:-2])


@pytest.mark.parametrize("headers", [True, False])
def test_the_best_setting_within_the_target(headers: bool) -> None:
    """Of all settings of JPEG within the target, the highest is found; none is beyond."""
    codec = CODECS["jpeg"]
    sizes = {setting: 8 * codec.size(codec.encode(crop(2), setting), headers) for setting in codec.settings}
    for target in (3_000, 4_500, 9_000):
        found = compressed(crop(2), codec, target, headers)
        assert found.setting == max(setting for setting, bits in sizes.items() if bits <= target)
        assert found.bits == sizes[found.setting]
    assert compressed(crop(2), codec, 40, headers).over


def codecs(*words: object) -> int:
    return vqbench("codecs", *words, "-q", "--device", "cpu")


def test_files_are_measured_as_they_are(photographs: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """Bits are those of the files, values those of `measure` on them; a second call reads, other images are refused."""
    words = ("photos", "--bits", 4000, "--count", "files", "--metrics", "psnr", "--json")
    assert codecs(*words) == 0
    found = json.loads(capsys.readouterr().out)
    require("codecs", found)
    assert [each["codec"] for each in found] == [name for name, codec in CODECS.items() if codec.available]
    for each in found:
        files = [path for path in Path(each["folder"]).rglob("*") if path.suffix != ".json" and path.is_file()]
        sizes = [8 * path.stat().st_size for path in files]
        assert len(sizes) == 4
        assert max(sizes) <= 4000
        assert each["bits"] == each["file_bits"] == np.mean(sizes)
        assert each["values"][0]["value"] == api.evaluate("photos", each["folder"], metrics="psnr")["psnr"]
    before = {path: path.stat().st_mtime_ns for path in Path("compressed").rglob("*")}
    assert codecs(*words) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert {path: path.stat().st_mtime_ns for path in Path("compressed").rglob("*")} == before
    crop(5).save("photos/cat/5.png")
    assert codecs(*words) == 2
    assert "has other files, or unfinished ones" in capsys.readouterr().err


def test_out_of_reach(photographs: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the smallest files are larger, one sentence says so, nothing is measured, and no file is left."""
    assert codecs("photos", "--bits", 200, "--codec", "webp", "--codec", "jpeg", "--count", "files") == 1
    jpeg, webp = sorted(line.split() for line in capsys.readouterr().out.splitlines() if "200 bits" in line)
    for row, smallest in ((jpeg, "1"), (webp, "0")):
        assert row[1:3] == ["200", "bits"]
        assert float(row[3].replace(",", "")) > 200
        assert row[4:] == ["4", smallest]
    assert [path.name for path in Path("compressed").rglob("*") if path.is_file()] == ["codec.json"] * 2
    assert codecs("photos", "--bits", 200, "--bits", 6000, "--codec", "webp") == 0
    text = capsys.readouterr().out
    assert "WebP 6,000 bits, no headers" in text
    assert {line.split()[-1] for line in text.splitlines() if "200 bits" in line} == {"–"}
    assert "Over: how many of 4 images need more" in text
    assert "out of reach" in text
    assert max(map(len, text.splitlines())) <= 80


def test_shown_again(photographs: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """`--show` prints the table of what `--json` has printed, and refuses another file."""
    words = ("photos", "--bits", 200, "--bits", 5000, "--codec", "webp", "--metrics", "psnr")
    assert codecs(*words) == 0
    text = capsys.readouterr().out
    assert codecs(*words, "--json") == 0
    Path("kept.json").write_text(capsys.readouterr().out)
    assert codecs("--show", "kept.json") == 0
    assert capsys.readouterr().out == text
    for other in ("{}", "[]", '[{"row": "WebP"}]', "no JSON"):
        Path("kept.json").write_text(other)
        assert codecs("--show", "kept.json") == 2


def test_rows_of_a_suite(photographs: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """The suite's test images are compressed; the row has its rate in the record, the table and the results."""
    write(photographs, "vq")
    suite = ("--suite", "tiny.yaml", "--bits", 1200, "--codec", "jpeg", "--count", "payload")
    assert codecs(*suite, "--metrics", "l1", "--measured-by", "Jo") == 0
    (record,) = external_rows.external_records(ResultStore("runs"))
    assert record.label == "JPEG 1,200 bits, no headers"
    images = registry.create("datasets", "fashion_mnist_5k").pixels("test")[:, 0].numpy()  # type: ignore[attr-defined]
    bits = [compressed(Image.fromarray(image), CODECS["jpeg"], 1200, headers=False).bits for image in images]
    rate = record.given["rate"]
    assert rate["bits_per_image"] == record.values["clean"]["bits"].value == np.mean(bits)
    assert rate["counted"] == "the entropy-coded bytes of its scan"
    assert "chosen per image" in rate["codec"]
    capsys.readouterr()
    assert vqbench("table", "tiny.yaml", "--notes") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"JPEG 1,200 bits, no headers (measured {record.made['date'][:10]} by Jo, {np.mean(bits):,.0f} bits" in out
    frame: Any = api.results("runs")
    assert frame.external.all()
    assert frame[frame.metric == "bits"].value.item() == np.mean(bits)
    assert vqbench("verify", "runs") == 0


def test_bits_of_the_rows_of_a_suite(photographs: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --bits, targets are the rates of the suite's rows: those within 5 % once, and none without codes."""
    few = "{vq: {}, codebook: {num_codes: 4}, label: few}"
    write(photographs, f"identity, vq, {few}, {{fsq: {{levels: 9x7}}}}, {{fsq: {{levels: 2x2}}, label: small}}")
    words = ("--suite", "tiny.yaml", "--codec", "jpeg", "--count", "payload", "--metrics", "bits", "--metrics", "l1")
    assert codecs(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["target_bits"] for each in found] == [7 * 7 * 2, 7 * 7 * 6]
    assert [[value["metric"] for value in each["values"]] for each in found if each["reached"]] == [["l1"]]
    write(photographs, "identity")
    assert codecs("--suite", "tiny.yaml") == 2
    assert "no row on fashion_mnist_5k is quantized, so none has bits; give --bits" in capsys.readouterr().err


@pytest.mark.integration
def test_planned_bits_are_the_measured_ones() -> None:
    """The rate that a plan says of a quantizer is the value of `bits` in its published record."""
    entries = {entry.run.key: entry.run for entry in loading.load("modern_quick", []).entries}
    records = [record for record in ResultStore(RESULTS).records() if record.run.key in entries]
    assert len(records) > 30
    dataset = registry.create("datasets", "fashion_mnist_5k")
    for record in {record.run.quantizer.name: record for record in records}.values():
        expected = record.values["clean"]["bits"].value
        assert planned_bits(record.run, dataset) == (expected and pytest.approx(expected)), record.run.quantizer.name


REFUSED = {
    "no bits": (("photos",), "give --bits, or --suite"),
    "no images": (("--bits", 100), "give ORIGINALS, or --suite"),
    "unknown codec": (("photos", "--bits", 100, "--codec", "jpg"), "unknown codec 'jpg'"),
    "unknown count": (("photos", "--bits", 100, "--count", "all"), "--count all"),
    "no suite": (("photos", "--bits", 100, "--measured-by", "Jo"), "give --suite, too"),
    "features": (("--suite", "atomic_quick", "--bits", 100), "gaussian has features and no images"),
    "floats": (("floats.npy", "--bits", 100), "codecs take levels of 8 bits"),
    "absent": (("nowhere", "--bits", 100), "nowhere"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(photographs: Folder, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake is one sentence, before any file is written."""
    np.save("floats.npy", np.zeros((2, 3, SIDE, SIDE), np.float32))
    words, sentence = REFUSED[case]
    assert codecs(*words) != 0
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not Path("compressed").exists()
