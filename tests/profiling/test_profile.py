"""The profile: its values follow from the timings, are stored completely, and print the same without torch."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vqbench import registry
from vqbench.cli import app
from vqbench.errors import UsageError
from vqbench.profiling import profile_tables, roofline
from vqbench.profiling.method_facts import facts
from vqbench.profiling.profile_tables import milliseconds, source
from vqbench.profiling.profile_worker import median_update
from vqbench.profiling.subjects import Size, expanded, size, subjects
from vqbench.profiling.timing import RandomImages, Rounds, StepTimer, bare_product, images
from vqbench.profiling.update_parts import UpdateParts

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
HOG = '''
import torch
from vqbench.quantizer import Quantizer, QuantizerOutput

class Hog(Quantizer):
    """Hands its features on, and holds 64 MB for as long as it looks at them."""
    paper = "none"

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim)

    def forward(self, z):
        memory = torch.ones(64_000_000 if self.num_codes > 16 else 1, dtype=torch.uint8)
        codes = torch.zeros(len(z), *z.shape[2:], 1, dtype=torch.int64)
        return QuantizerOutput(z + 0 * memory[0], codes, z.new_zeros(()))
'''
PEERS = """
import torch
from vqbench.errors import UsageError
from vqbench.profiling.subjects import Size, peers, subjects
from vqbench.profiling.profile_worker import made_of, two_steps
for subject in subjects(["vq"], ["vector-quantize-pytorch"], [Size(98, 16, 8)])[1:]:
    two_steps(subject, subject.size, torch.device("cpu"))
    quantizer = made_of(subject, torch.device("cpu")).eval()
    out = quantizer(torch.randn(2, 8, 7, 7))
    assert torch.equal(quantizer.decode(out.codes), out.z_q)
    print(subject.label)
try:
    peers("vector-quantize-pytorch/emma")
except UsageError as error:
    print(error)
"""
CPU = torch.device("cpu")
Profiled = tuple[Path, str, dict[str, Any]]


def vqbench(*words: object) -> int:
    return app.run_words([str(word) for word in words])


def without_a_trace(*words: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, since plugins, once added, stay."""
    command = [sys.executable, "-m", "vqbench", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    """A small profile: the file that it is kept in, what was printed, and what the file holds."""
    folder = tmp_path_factory.mktemp("profile")
    (folder / "hog.py").write_text(HOG)
    (folder / "broken.py").write_text(HOG.replace("memory =", 'raise RuntimeError("far too large")\n        memory ='))
    words = ["vq", "hog", "broken", "--size", "256,32,8", "--device", "cpu", "--repeat", 3]
    words += ["--plugin", folder / "hog.py", "--plugin", folder / "broken.py"]
    done = without_a_trace("profile", *words, "--threads", 1, "--cost", "-o", folder / "kept.json", "-q")
    assert done.returncode == 1, done.stderr  # one of them is broken
    return folder / "kept.json", done.stdout, json.loads((folder / "kept.json").read_text())


def test_every_row_has_positive_finite_numbers(profiled: Profiled) -> None:
    """Each requested quantizer has a line with all times, one sample per round, and the name of the machine."""
    _, printed, kept = profiled
    assert [row["label"] for row in kept["rows"]] == ["vq", "hog", "broken"]
    for row in kept["rows"][:2]:
        assert any(line.startswith(f"{row['label']} ") for line in printed.splitlines())
        assert set(row["seconds"]) == {"product", "forward", "forward_backward", "evaluation", "step"}
        for name, seconds in row["seconds"].items():
            assert math.isfinite(seconds)
            assert seconds > 0
            assert len(row["samples"][name]) == 3
            assert seconds in row["samples"][name]  # the median of three is one of them
        assert row["batch"] == [4, 3, 32, 32]
    machine = kept["machines"]["cpu"]
    assert machine["threads"] == 1
    assert machine["device"] in printed
    assert machine["versions"]["torch"] in printed


def test_ratios_and_shares_are_quotients_of_the_stored_times(profiled: Profiled) -> None:
    """The ratios in the file are those of its times, and the table shows them."""
    _, printed, kept = profiled
    for row in kept["rows"][:2]:
        seconds = row["seconds"]
        for name in ("forward", "forward_backward", "evaluation"):
            assert row["ratios"][name] == seconds[name] / seconds["product"]
        assert row["share"] == seconds["forward_backward"] / seconds["step"]
        line = next(line for line in printed.splitlines() if line.startswith(f"{row['label']} "))
        assert f"{row['ratios']['forward_backward']:.2f}" in line.split()


def test_a_module_that_holds_64_mb_is_seen(profiled: Profiled) -> None:
    """The peak of a quantizer that allocates 64 MB in forward is measured as such; that of vq is far lower."""
    _, _, kept = profiled
    vq, hog = (row["peak_bytes"] for row in kept["rows"][:2])
    assert 60e6 < hog < 80e6
    assert vq < 20e6


def test_a_kept_profile_prints_the_same_without_torch(profiled: Profiled) -> None:
    """--show prints what was printed when it was measured, byte for byte, as text, Markdown and JSON; torch is idle."""
    path, printed, kept = profiled
    shown = [sys.executable, "-X", "importtime", "-m", "vqbench", "profile", "--show", str(path), "--cost"]
    again = subprocess.run(shown, capture_output=True, text=True, check=True, cwd=ROOT)
    assert again.stdout == printed
    assert not [line for line in again.stderr.splitlines() if line.split("|")[-1].strip() == "torch"]
    assert json.loads(without_a_trace("profile", "--show", path, "--json").stdout) == kept
    markdown = without_a_trace("profile", "--show", path, "--cost", "--format", "markdown").stdout
    assert markdown.count("| `vq`") == 1
    assert markdown.count("| encoder ") == 2


def test_the_cost_of_a_step_adds_up(profiled: Profiled) -> None:
    """Parts and rest are of one measured update, which is not shorter than its parts; a limit is that of the ceilings.

    The slower of the two ceilings of a part gives its limit.
    """
    _, _, kept = profiled
    for row in kept["rows"][:2]:
        ceilings = kept["ceilings"]["cpu"]
        lines = profile_tables.costs(row, ceilings)
        *parts, step = lines
        assert [line["part"] for line in lines] == ["encoder", "quantizer", "decoder", "optimizer", "rest", "step"]
        assert step["seconds"] == statistics.median_low(row["samples"]["step"])
        assert parts[-1]["seconds"] > 0, "the parts of an update take longer than the update"
        for key in ("operations", "bytes", "limit", "seconds"):
            assert sum(line[key] for line in parts) == pytest.approx(step[key])
        encoder = parts[0]
        computing, moving = encoder["operations"] / ceilings["float32"], encoder["bytes"] / ceilings["bytes"]
        assert encoder["limit"] == max(computing, moving)
        assert all(rate > 0 for rate in ceilings.values())


def test_the_parts_are_of_the_median_update() -> None:
    """Parts are those of the update of median length: the median of each would be of no update, and sum to none."""
    steps, within = [3.0, 1.0, 2.0, 9.0], {"encoder": [1.0, 0.9, 0.5, 4.0], "decoder": [0.1, 0.05, 1.4, 0.2]}
    assert median_update(steps, within) == (2.0, {"encoder": 0.5, "decoder": 1.4})


def test_parts_are_timed_within_the_update() -> None:
    """Each border is one reading of the clock: forward, backward in reverse order, and the optimizer.

    A clock that counts its readings so gives every part its passes, and nothing between two parts of the backward pass.
    """
    like = RandomImages(2, 1, 28)
    [subject] = subjects(["vq"], [], [Size(98, 16, 8)])
    model = StepTimer(subject, like).model(_pixels(like))
    optimizer = torch.optim.Adam(model.parameters())
    readings = iter(range(100))
    clock = UpdateParts(model, lambda: float(next(readings)))
    for _ in range(2):
        images, out = model(torch.zeros(2, 1, 28, 28))
        (images.square().mean() + out.loss).backward()
        optimizer.step()
        assert clock.finished() == {"encoder": 2, "quantizer": 2, "decoder": 2, "optimizer": 1}
    clock.remove()
    optimizer.step()
    assert clock.finished() == {}


def test_operations_and_bytes_are_those_of_the_layers() -> None:
    """Counted by hand for the decoder's first and last layers and for vq: what the model charges is right."""
    like = RandomImages(2, 1, 28)
    n, k, d = 2 * 49, 16, 8
    [subject] = subjects(["vq"], [], [Size(n, k, d)])
    result = roofline.parts(StepTimer(subject, like), CPU)
    assert result["quantizer"].operations == 2 * n * k * d
    assert result["quantizer"].bytes == 4 * (6 * n * d + 2 * k * d) + 8 * n
    encoder = 0
    # positions, inputs, outputs, kernel: two strided layers, a third, two residual blocks of two, the projection
    layers = [(14, 1, 64, 16), (7, 64, 128, 16), (7, 128, 128, 9)] + 2 * [(7, 128, 32, 9), (7, 32, 128, 1)]
    for number, (side, inner, outer, kernel) in enumerate([*layers, (7, 128, d, 1)]):
        passes = 2 if number == 0 else 3  # forward, and the gradients of weights and, but for images, of the input
        encoder += passes * 2 * 2 * side**2 * inner * outer * kernel
    assert result["encoder"].operations == encoder
    weights = sum(p.numel() for p in StepTimer(subject, like).model(_pixels(like)).parameters())
    assert result["optimizer"].bytes == 28 * weights


def _pixels(like: RandomImages) -> Any:
    from vqbench.profiling.timing import Noise

    return Noise(like, like.batch)


def test_a_layer_s_traffic() -> None:
    """A linear layer reads and writes each of its tensors as often as the model says, in bytes of their type."""
    layer = torch.nn.Linear(5, 3)
    x = torch.ones(7, 5, requires_grad=True)
    traffic = roofline.Traffic(layer)
    layer(x)
    weights = 5 * 3 + 3
    assert traffic.bytes == 4 * (2 * 35 + 2 * 21 + 2 * weights + 35) + 4 * weights
    traffic.remove()
    layer(x)
    assert traffic.bytes == 4 * (3 * 35 + 2 * 21 + 3 * weights)


def test_rounds_take_turns() -> None:
    """Calls alternate, and rounds that warm up are not among the samples."""
    called: list[str] = []
    rounds = Rounds({name: lambda name=name: called.append(name) for name in "ab"}, CPU)  # type: ignore[misc]
    rounds.turn(counted=False)
    rounds.turn()
    rounds.turn()
    assert "".join(called) == "ababab"
    assert {name: len(samples) for name, samples in rounds.samples.items()} == {"a": 2, "b": 2}


def test_the_step_is_the_recipe_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The requested number of updates runs in the recipe's loop, one round after each, all in training mode."""
    like = RandomImages(2, 1, 28)
    [subject] = subjects(["vq"], [], [Size(98, 16, 8)])
    updates: list[bool] = []
    vq: Any = registry.load("quantizers", "vq")
    forward = vq.forward
    monkeypatch.setattr(vq, "forward", lambda self, z: updates.append(self.training) or forward(self, z))
    rounds = Rounds({"nothing": lambda: None}, CPU)
    samples = StepTimer(subject, like, device="cpu").timed(rounds, repeat=3)
    assert len(samples) == 3
    assert min(samples) > 0
    assert len(rounds.samples["nothing"]) == 3
    assert updates == [True] * 5  # two to warm up


def test_the_product_is_whole_or_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product larger than the limit is made of blocks that together have all its rows."""
    multiplied: list[tuple[int, int]] = []
    mm = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, out: multiplied.append((len(a), b.shape[1])) or mm(a, b, out=out))
    bare_product(10, 4, 3, CPU)()
    assert multiplied == [(10, 4)]
    multiplied.clear()
    monkeypatch.setattr("vqbench.profiling.timing.PRODUCT_LIMIT", 16)
    bare_product(10, 4, 3, CPU)()
    assert multiplied == [(4, 4), (4, 4), (2, 4)]


def test_features_belong_to_images() -> None:
    """The published batches make the published numbers of features; a number that makes no image has no step."""
    assert images(50_176) == RandomImages(1024, 1, 28)
    assert images(65_536) == RandomImages(1024, 3, 32)
    assert images(100) is None


def test_names_with_arguments_are_grids() -> None:
    """Lists make one row an item, presets and everything registered are named by themselves."""
    labels = [label for label, _, _ in expanded("cvq(anchor=[random, closest], online=[true,false])")]
    assert labels == [f"cvq(anchor={a},online={o})" for a in ("random", "closest") for o in ("true", "false")]
    result = subjects([], [], [Size(49, 16, 8)])
    assert {"identity", "vq", "cvq", "cvq_offline"} <= {subject.label for subject in result}
    [offline] = subjects(["cvq_offline(anchor=unique)"], [], [Size(49, 16, 8)])
    assert (offline.name, offline.args["anchor"], offline.args["online"]) == ("cvq", "unique", False)
    assert (offline.args["num_codes"], offline.args["dim"]) == (16, 8)


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "a,b,c", "0,1,1", "-1,2,3", "1.5,2,3"])
def test_a_size_is_three_whole_numbers(text: str) -> None:
    """Anything else is refused by its own words."""
    with pytest.raises(UsageError, match="N,K,D"):
        size(text)


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("vqq",), "vq"),
        (("vq(",), "vq("),
        (("vq(bta=1)",), "beta"),
        (("vq(distance=l3)",), "distance"),
        (("vq", "--size", "12"), "N,K,D"),
        (("vq", "--device", "tpu"), "tpu"),
        (("vq", "--precision", "float16"), "bf16"),
        (("vq", "--format", "html"), "markdown"),
        (("vq", "--against", "faiss"), "vector-quantize-pytorch"),
        (("vq", "--cost", "--size", "100,16,8"), "--cost"),
        (("vq", "--plugin", "nowhere.py"), "nowhere.py"),
    ],
)
def test_wrong_usage_is_one_sentence(words: tuple[str, ...], output: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake gives exit code 2 and one line with a valid alternative, before anything is measured."""
    assert vqbench("profile", *words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert output in shown.err
    assert shown.err.count("\n") == 1


def test_a_peer_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--against without the package says what to install, and ends with exit code 2."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert vqbench("profile", "vq", "--against", "vector-quantize-pytorch/ema") == 2
    assert "pip install 'vqbench[peers]'" in capsys.readouterr().err


def test_peers_stand_beside_ours() -> None:
    """Each variant of the peers' package trains and decodes like a quantizer of ours, where it is installed."""
    pytest.importorskip("vector_quantize_pytorch")
    done = subprocess.run([sys.executable, "-c", PEERS], capture_output=True, text=True, check=True, cwd=ROOT)
    output = done.stdout.splitlines()
    assert output[:3] == [f"vector-quantize-pytorch/{name}" for name in ("ema", "cosine", "learnable")]
    assert "vector-quantize-pytorch/ema" in output[3]


def test_what_cannot_be_measured_says_why(profiled: Profiled) -> None:
    """A quantizer that fails leaves a failed line with its reason after the others, and no number."""
    _, printed, kept = profiled
    assert set(kept["rows"][2]) == {"label", "N", "K", "D", "device", "error"}
    assert "broken: RuntimeError: far too large" in printed
    assert [line.split()[:5] for line in printed.splitlines() if line.startswith("broken ")] == [
        ["broken", "256", "32", "8", "failed"]
    ]


def test_a_file_that_is_no_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--show of something else is one sentence."""
    (tmp_path / "other.json").write_text('{"profile": 99}')
    for path in (tmp_path / "absent.json", tmp_path / "other.json"):
        assert vqbench("profile", "--show", path) == 1
        output = capsys.readouterr().err
        assert str(path) in output
        assert output.count("\n") == 1


def test_the_whole_step_benchmark_runs() -> None:
    """The script behind the figures of whole steps works at a small size, and its ratios are those of its times."""
    words = ("--batch", 4, "--num-codes", 16, "--dim", 8, "--repeat", 1, "--dataset", "mnist", "--precision", "float32")
    script = [sys.executable, "tests/benchmarks/whole_step.py", *map(str, words), "--json"]
    picked = ["--quantizer", "vq", "--quantizer", "cvq", "--quantizer", "cvq(anchor=closest,contrastive=false)"]
    done = subprocess.run([*script, *picked], capture_output=True, text=True, check=True, cwd=ROOT)
    rows = json.loads(done.stdout)["rows"]
    assert [row["plain"] for row in rows] == ["baseline", "headline", "closest"]
    for row in rows:
        assert row["ratio"] == row["seconds"]["plain"] / row["seconds"]["ours"] > 0


@pytest.mark.parametrize(
    ("name", "learns", "bits"),
    [
        ("identity", [], None),
        ("vq", ["gradient"], 5.0),
        ("vq_ema", ["rule"], 5.0),
        ("cvq", ["gradient", "rule"], 5.0),
        ("hvq", ["gradient", "rule"], 5.0),
    ],
)
def test_what_codes_learn_by_is_seen(name: str, learns: list[str], bits: float | None) -> None:
    """A few steps show whether codes move by gradient, by a rule of their own, by both, or not at all."""
    torch.manual_seed(0)
    quantizer: Any = registry.load("quantizers", name)(32, 8)
    result = facts(quantizer, torch.randn(2, 8, 4, 4))
    assert (result["learns"], result["bits"]) == (learns, bits)


def test_the_table_of_methods_is_what_is_stored(profiled: Profiled) -> None:
    """--methods prints source, bits and times of the stored rows, and a dash for what failed."""
    path, _, kept = profiled
    printed = profile_tables.text(profile_tables.read(path), "markdown", cost=False, methods=True)
    row = kept["rows"][0]
    [line] = [line for line in printed.splitlines() if line.startswith(f"| `{row['label']}`")]
    assert milliseconds(row["seconds"]["forward_backward"]) in line
    assert source(row["method"]["paper"]) in line
    assert "failed" in printed


def test_sources_are_short() -> None:
    """A reference becomes the first author and the year of publication, never a part of an arXiv number."""
    assert source("A. van den Oord, O. Vinyals, Neural Discrete, NeurIPS 2017, arXiv 1711.00937") == "van den Oord 2017"
    assert source("Y. Takida et al., SQ-VAE, ICML 2022, arXiv 2205.07547") == "Takida 2022"
    assert source("W. Williams, Hierarchical, NeurIPS 2020, arXiv 2002.08111") == "Williams 2020"
    assert source("a package without a paper") == "a package without a paper"
