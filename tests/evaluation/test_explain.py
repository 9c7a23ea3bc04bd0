"""The explanation of a trained model's values, setting by setting of the measuring protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqbench import assets, protocol, registry
from vqbench.backbone import Autoencoder
from vqbench.errors import AssetError, RunError, StoreError, UsageError
from vqbench.evaluation.explaining import trained_run as explain
from vqbench.evaluation.explaining.image_explanation import plan_of
from vqbench.evaluation.explaining.other_tools import named_protocol
from vqbench.evaluation.explaining.pair_changes import plan
from vqbench.evaluation.explaining.protocol_differences import Explanation
from vqbench.evaluation.explaining.settings import ALEXNET, Inputs
from vqbench.evaluation.reconstructions import Evaluator
from vqbench.evaluation.trained_model import load_model
from vqbench.execution.preparation import fetch
from vqbench.images import as_measured, to_unit
from vqbench.metric import Batch, Context, Metric
from vqbench.metrics import lpips, rfid
from vqbench.metrics.l1 import L1
from vqbench.networks import inception
from vqbench.protocol import MeasureProtocol
from vqbench.quantizers.vq import VQ
from vqbench.registry import metric_groups
from vqbench.reporting.explaining import protocol_differences
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.record import Record
from vqbench.store.results import ResultStore
from vqbench.store.value_name import ValueName
from vqbench.training import model_building
from vqbench.training.engine import Engine

CPU = torch.device("cpu")
IMAGES = 40
METRICS = ["l1", "psnr", "ssim", "usage"]
WAY: dict[str, dict[str, Any]] = {  # every protocol from official to clean for these metrics, spelled out
    "official+jpeg=none": {"jpeg": None},
    "official+jpeg=none+pixels=float": {"jpeg": None, "pixels": "float"},
    "official+jpeg=none+pixels=float+ssim=gaussian": {"jpeg": None, "pixels": "float", "ssim": "gaussian"},
    "clean": {"jpeg": None, "pixels": "float", "ssim": "gaussian", "fid_resize": None},
}
PLAIN = Inputs(IMAGES, 28, 28, channels=1, of_run=True)


def a_run(quantizer: str = "vq", seed: int = 42) -> RunSpec:
    def part(kind: registry.Kind, name: str, fixed: dict[str, Any] | None = None, **given: Any) -> PluginSpec:
        found = registry.resolve(kind, name, given, fixed)
        return PluginSpec(found.name, found.version, found.args)

    return RunSpec(
        part("recipes", "autoencoder", **protocol.training("clean")),
        part("backbones", "conv", hidden=16, residual_hidden=8),
        part("datasets", "fashion_mnist_5k"),
        part("quantizers", quantizer, {"num_codes": 32, "dim": 8}),
        seed,
    )


def model_of(run: RunSpec) -> Autoencoder:
    """As it starts, but with outputs spread over the grey levels, so that every setting has something to change."""
    model = model_building.build(run, registry.load("datasets", run.dataset.name)())
    torch.manual_seed(run.seed)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def stored(store: ResultStore, run: RunSpec) -> RunSpec:
    """Store ``run`` as training leaves it."""
    store.write(Record(run, {}, {"seconds": 1.0}))
    Engine("cpu").save(store.folder(run) / "best.pt", model_of(run).state_dict())
    return run


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "runs")


@pytest.fixture
def run(store: ResultStore) -> RunSpec:
    return stored(store, a_run())


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nets are cached; metrics write to a folder of this test."""
    try:
        inception.network(CPU), lpips.network("vgg", CPU), lpips.network("alex", CPU)
    except AssetError as error:
        pytest.skip(f"the weights of LPIPS and FID are not to be had on this machine: {error}")
    monkeypatch.setattr(assets, "cache_folder", lambda: tmp_path / "cache")


def metric_class(name: str) -> type[Metric]:
    return registry.load("metrics", name)


def varied(settings: dict[str, Any]) -> MeasureProtocol:
    return replace(protocol.measuring("official"), name="varied", **settings)


def explanation(store: ResultStore, run: RunSpec, metrics: list[str] = METRICS, **ends: str) -> Explanation:
    trained = load_model(store, store.find(run.key), "cpu")
    return explain.explain(run, trained.model, trained.dataset, CPU, metrics, IMAGES, fetch=fetch, **ends)


def explained(store: ResultStore, run: RunSpec, metrics: list[str] = METRICS) -> dict[str, Any]:
    values: dict[str, Any] = protocol_differences.data(explanation(store, run, metrics))["metrics"]
    return values


def by_hand(name: str, run: RunSpec, under: MeasureProtocol) -> float | None:
    """The metric of the first images under one protocol: the model's images and the metric's class, no more."""
    model = model_of(run).eval()
    x = to_unit(registry.load("datasets", "fashion_mnist_5k")().pixels("test")[:IMAGES])
    with torch.no_grad():
        y, out = model(x)
    metric = registry.load("metrics", name)(Context(under, "0" * 64, 32, 5.0, CPU))
    metric.update(Batch(as_measured(x, under), as_measured(y, under), out.codes, torch.arange(IMAGES)))
    return metric.compute()


# ---------------------------------------------------------------------------------------------------------- the values


def test_the_ends_are_what_a_run_of_a_suite_measures(store: ResultStore, run: RunSpec) -> None:
    """Under both named protocols, and at the end of the steps, the values are exactly those of the usual evaluation."""
    names = {end: str(ValueName(end, IMAGES)) for end in ("official", "clean")}
    evaluator = Evaluator(registry.load("datasets", "fashion_mnist_5k")(), CPU)
    usual = evaluator.measure(model_of(run), dict.fromkeys(names.values(), METRICS)).values
    found = explained(store, run)
    for metric in METRICS:
        for end, name in names.items():
            assert found[metric][end] == usual[name][metric].value
        if metric != "usage":
            assert found[metric]["steps"][-1]["value"] == usual[names["clean"]][metric].value
            assert found[metric]["official"] != found[metric]["clean"]


def test_changes_add_up(store: ResultStore, run: RunSpec) -> None:
    """Each step begins where the one before it ended, the first under official; changes sum to the whole change."""
    for metric, found in explained(store, run).items():
        at = found["official"]
        for step in found["steps"]:
            assert step["before"] == at
            assert step["change"] == step["value"] - step["before"]
            at = step["value"]
        assert sum(step["change"] for step in found["steps"]) == pytest.approx(found["change"], abs=1e-12), metric
        assert all(turned["before"] == found["official"] for turned in found["alone"])


def test_each_value_is_that_of_its_settings(store: ResultStore, run: RunSpec) -> None:
    """A step or single setting reports exactly the metric's own value under these settings, to the bit."""
    official = protocol.measuring("official")
    count = 0
    for metric, found in explained(store, run).items():
        of_steps = [(step, WAY[step["protocol"]]) for step in found["steps"]]
        for step, settings in of_steps + [(step, {step["knob"]: step["to"]}) for step in found["alone"]]:
            under = replace(official, name="by hand", **settings)
            assert step["value"] == by_hand(metric, run, under), (metric, step["protocol"])
            count += 1
    assert count == 2 + 2 + 3 + 3 + 6 + 8  # l1, psnr and ssim on the way, then alone


@pytest.mark.parametrize(("start", "end"), [("clean", "official"), ("torchmetrics", "llamagen")])
def test_from_any_protocol_to_any_other(start: str, end: str, store: ResultStore, run: RunSpec) -> None:
    """A run is explained between any two named protocols, as images are; both ends are the metric's own values."""
    found = protocol_differences.data(explanation(store, run, ["psnr", "ssim"], start=start, end=end))["metrics"]
    for metric, of in found.items():
        for name in (start, end):
            assert of[name] == by_hand(metric, run, named_protocol(name))
        assert sum(step["change"] for step in of["steps"]) == pytest.approx(of["change"], abs=1e-12)
        assert of["steps"][-1]["value"] == pytest.approx(of[end], rel=1e-6)


def test_knobs_stand_only_with_metrics_that_they_can_move(store: ResultStore, run: RunSpec) -> None:
    """l1 and PSNR have no window, usage sees no images; without rFID nothing is said of its resize but why."""
    shown = explanation(store, run)
    data = protocol_differences.data(shown)
    knobs = {
        metric: [list(dict.fromkeys(step["knob"] for step in found[part])) for part in ("steps", "alone")]
        for metric, found in data["metrics"].items()
    }
    assert knobs == {
        "l1": [["jpeg", "pixels"], ["pixels", "jpeg"]],
        "psnr": [["jpeg", "pixels"], ["pixels", "jpeg", "psnr_range", "psnr_mean"]],
        "ssim": [["jpeg", "pixels", "ssim"], ["pixels", "jpeg", "ssim", "ssim_range", "ssim_border"]],
        "usage": [[], []],
    }
    assert data["left_out"] == [
        "originals does not apply: originals and reconstructions are of one size",
        "pixels cannot be float alone: a JPEG round trip needs pixels of 8 bits",
        "colour does not apply: the images are grey",
        "images is not changed for a run; for the images that `vqbench export` writes it is",
        "no effect on these metrics: fid_resize, lpips_net, lpips_input, fid_input, reference",
    ]
    assert all(sentence in protocol_differences.text(shown) for sentence in data["left_out"])


def test_a_knob_that_a_metric_does_not_name_is_noticed(
    store: ResultStore, run: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a metric is moved by a setting that its ``knobs`` lack, no waterfall is shown that ends beside clean."""
    monkeypatch.setattr(L1, "knobs", ("jpeg",))
    with pytest.raises(RunError, match=r"'l1' .* `knobs` lack"):
        explained(store, run)


def states(metric: str, under: MeasureProtocol, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the state of a metric after some images."""
    collector: Metric = registry.load("metrics", metric)(Context(under, "0" * 64, 4, 2.0, CPU))
    codes = torch.arange(len(x)).view(-1, 1, 1, 1)
    collector.update(Batch(as_measured(x, under), as_measured(y, under), codes, torch.arange(len(x))))
    return collector.state


OF_RECONSTRUCTIONS = [  # by images and codes alone
    name for name in registry.names("metrics") if not (metric_class(name).of_samples or metric_class(name).needs_model)
]


# Classes of three images seldom change; its features, those of feature_distance, are moved.
MOVED = [name for name in OF_RECONSTRUCTIONS if name != "classifier_agreement"]


@pytest.fixture(scope="module")
def features_once() -> Iterator[None]:
    """Inception sees each input once, for all metrics and settings that hand it the same."""
    kept: dict[bytes, Tensor] = {}
    whole = inception._pool3

    def pool3(net: nn.Module, x: Tensor) -> Tensor:
        key = x.contiguous().numpy().tobytes()
        if key not in kept:
            kept[key] = whole(net, x)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "_pool3", pool3)
        yield


@pytest.mark.integration
@pytest.mark.parametrize("metric", MOVED)
def test_metrics_are_moved_by_the_knobs_that_they_name_and_by_no_other(
    metric: str, weights: None, features_once: None
) -> None:
    """Changing a setting changes the state of a built-in metric if and only if the metric lists this setting."""
    pixels = registry.load("datasets", "fashion_mnist_5k")().pixels("test")[:3]
    border = (max(32, metric_class(metric).smallest(protocol.measuring("clean"))) - 28) // 2  # 32x32 for AlexNet
    x = to_unit(torch.nn.functional.pad(pixels, (border,) * 4))
    x = torch.cat([x, x.flip(2), x.flip(3)], 1)  # with colours, for a setting to take them away
    torch.manual_seed(0)
    y = x + 0.2 * torch.randn_like(x)
    start = varied({"jpeg": None})  # from which every knob can be turned
    turned = {"jpeg": protocol.measuring("official")}
    for knob, value in (("pixels", "float"), ("ssim", "gaussian"), ("fid_resize", None), ("lpips_net", "alex")):
        turned[knob] = varied({"jpeg": None, knob: value})
    for knob, other in (("colour", "grey"), ("psnr_range", 2.0), ("psnr_mean", "set"), ("ssim_range", 2.0)):
        turned[knob] = varied({"jpeg": None, knob: other})
    turned["ssim_border"] = varied({"jpeg": None, "ssim_border": "reflect"})
    turned["lpips_input"] = varied({"jpeg": None, "lpips_input": "[0, 1]"})
    turned["fid_input"] = varied({"jpeg": None, "fid_input": "x/128-1"})
    assert turned.keys() == start.knobs().keys()
    before = states(metric, start, x, y)
    for knob, under in turned.items():
        after = states(metric, under, x, y)
        moved = any(not torch.equal(before[name], after[name]) for name in before)
        assert moved == (knob in metric_class(metric).knobs), knob


def test_a_run_without_codebook_and_a_perfect_image(store: ResultStore) -> None:
    """Usage is None without a quantizer; an infinite PSNR is shown as a word, without a change."""
    run = stored(store, a_run("identity"))
    shown = explanation(store, run, ["l1", "usage"])
    assert protocol_differences.data(shown)["metrics"]["usage"] == {
        "official": None,
        "clean": None,
        "change": None,
        "steps": [],
        "alone": [],
    }
    assert "Usage is undefined for this run." in protocol_differences.text(shown)
    what = explain.programme(["psnr"], PLAIN, fetch)
    values = {under: {"psnr": 30.0} for under in what.wanted()} | {what.start: {"psnr": math.inf}}
    perfect = Explanation(run, IMAGES, what, values)
    found = protocol_differences.data(perfect)["metrics"]["psnr"]
    assert (found["official"], found["change"], found["steps"][0]["change"]) == ("inf", None, None)
    json.dumps(found, allow_nan=False)
    assert "undefined" in protocol_differences.text(perfect)


# ----------------------------------------------------------------------------------------------------- what is stored


def contents(*folders: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_nothing_is_written(store: ResultStore, run: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the store or of the cache is new, changed or gone, not even a lock."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "features").mkdir(parents=True)
    (tmp_path / "cache" / "features" / "kept.npy").write_bytes(b"kept")
    before = contents(store.root, tmp_path / "cache")
    assert len(before) == 3
    explained(store, run)
    assert contents(store.root, tmp_path / "cache") == before


def test_variants_have_names_of_their_own(weights: None) -> None:
    """No two protocols of explain, named ones included, share a name or a file of features."""
    coloured = replace(PLAIN, height=32, width=32, channels=3)
    everything = list(explain.programme(["rfid", "ssim", "lpips"], coloured, fetch).wanted())
    assert {"official", "clean"} < {under.name for under in everything}
    assert len({under.name for under in everything}) == len(everything) > 15
    paths = {rfid.RFID(Context(under, "0" * 64, None, None, CPU)).originals.path for under in everything}
    assert len(paths) == len(everything)


def test_variants_follow_the_versions_of_both_protocols() -> None:
    """Raising the version of either protocol renames the feature files of the protocols in between."""
    ends = [protocol.measuring(name) for name in ("official", "clean")]
    for raised in ([0, 0], [0, 1], [1, 0]):
        pair = [replace(end, VERSION=end.VERSION + more) for end, more in zip(ends, raised, strict=True)]
        steps = plan(*pair, {"l1": metric_class("l1")}, PLAIN, fetch).cumulative
        assert {step.under.VERSION for step in steps} == {2 + sum(raised)}


@pytest.mark.parametrize(("name", "count"), [("official", 1), ("clean", 1), ("twice", 2)])
def test_the_evaluator_refuses_a_variant_under_a_taken_name(name: str, count: int) -> None:
    """Values of changed settings are never returned or cached under the name of another protocol."""
    variants = [replace(protocol.measuring("official"), name=name, jpeg=quality) for quality in (50, None)[:count]]
    evaluator = Evaluator(registry.load("datasets", "fashion_mnist_5k")(), CPU)
    with pytest.raises(UsageError, match=f"'{name}' is taken"):
        evaluator.measure(model_of(a_run()), {f"{name}@2": ["l1"]}, variants=variants)


def test_one_run_alone_keeps_no_features_in_memory(weights: None) -> None:
    """Where no other run follows, LPIPS does not keep the originals' features, a gigabyte for each setting."""
    x = torch.rand(2, 3, 32, 32)
    batch = Batch(x, x.flip(0), None, torch.arange(2))
    context = Context(protocol.measuring("clean"), "0" * 64, None, None, CPU)
    collectors = [lpips.LPIPS(context), lpips.LPIPS(replace(context, keep=False))]
    values = [collector.update(batch) for collector in collectors]
    assert torch.equal(*values)
    assert [len(collector._kept) for collector in collectors] == [1, 0]


def test_in_explain_metrics_keep_nothing(store: ResultStore, run: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Explaining evaluates one run under many settings, so metrics keep nothing for a next run."""
    keep: list[bool] = []
    start = L1.start

    def noting(metric: L1, context: Context) -> None:
        keep.append(context.keep)
        start(metric, context)

    monkeypatch.setattr(L1, "start", noting)
    explained(store, run, ["l1"])
    assert keep == [False] * 6  # official, clean, and the settings between and beside


# ------------------------------------------------------------------------------------------------- what is to be had


def test_alexnet_is_tried_where_images_and_weights_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 32x32 the other LPIPS net is a single setting; on 28x28, or without its weights, a reason is shown."""
    assert lpips.SMALLEST["alex"] == ALEXNET
    fetched: list[str] = []
    monkeypatch.setattr(assets, "fetch", lambda name, progress: fetched.append(name))
    small, large = (explain.programme(["lpips"], replace(PLAIN, height=side, width=side), fetch) for side in (28, 32))
    assert "lpips_net" not in [change.knob for change in small.alone]
    assert any("31x31 pixels, and these have 28" in sentence for sentence in small.left_out)
    assert "lpips_net vgg → alex" in [turn.title for turn in large.alone]
    assert set(fetched) == {"vgg16_lpips", "alexnet_lpips"}

    def fetch_all_but_alexnet(name: str, progress: Callable[..., None]) -> None:
        if name == "alexnet_lpips":
            raise AssetError("alexnet_lpips is nowhere to be had")

    monkeypatch.setattr(assets, "fetch", fetch_all_but_alexnet)
    without = explain.programme(["lpips"], replace(PLAIN, height=32, width=32), fetch)
    assert "lpips_net" not in [change.knob for change in without.alone]
    assert "lpips_net cannot be alex: alexnet_lpips is nowhere to be had" in without.left_out


def test_all_metrics_but_the_slow_are_explained_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a choice all that need no network are; where rFID is, its resize is last, under clean."""
    monkeypatch.setattr(assets, "fetch", lambda name, progress: None)
    clean = protocol.measuring("clean")
    expected = {name for name in OF_RECONSTRUCTIONS if not metric_class(name).assets(clean)} - {"ms_ssim"}  # too small
    assert set(explain.programme([], PLAIN, fetch).metrics) == expected
    chosen = explain.programme(["rfid"], PLAIN, fetch)
    assert [change.knob for change in chosen.cumulative] == ["jpeg", "pixels", "fid_resize"]
    assert chosen.cumulative[-1].under == chosen.end
    assert {change.knob for change in chosen.alone} == {"pixels", "jpeg", "fid_resize", "fid_input"}


@pytest.mark.parametrize("group", ["fast", "paper", "all"])
def test_a_group_is_explained_by_its_metrics_that_apply(monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    """A run has those of its codes, too; images that exist have those of pairs alone; a further name is added."""
    monkeypatch.setattr(assets, "fetch", lambda name, progress: None)
    members = set(metric_groups.members(group, [protocol.measuring("clean")]))
    of_run = explain.programme([group], PLAIN, fetch).metrics
    of_images = plan_of(replace(PLAIN, of_run=False), "official", "clean", [group, "lpips"], fetch).metrics
    assert {"l1", "psnr", "ssim"} < set(of_run) <= members
    assert "usage" in of_run
    assert set(of_images) == {name for name in of_run if not metric_class(name).needs_codes} | {"lpips"}
    with pytest.raises(UsageError, match="are groups of metrics, of which one is taken"):
        explain.programme(["fast", "all"], PLAIN, fetch)


def test_what_networks_cost_is_said_first(store: ResultStore, run: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a metric with a network is computed, the passes and the time that they take are said."""
    said: list[str] = []

    def measure(*_: object, **__: object) -> None:
        raise InterruptedError(said[0])

    monkeypatch.setattr(assets, "fetch", lambda name, progress: None)
    monkeypatch.setattr(Evaluator, "measure", measure)
    trained = load_model(store, store.find(run.key), "cpu")
    with pytest.raises(InterruptedError, match=r"40 pairs go through the network of rFID \d+ times, about"):
        explain.explain(run, trained.model, trained.dataset, CPU, ["rfid"], IMAGES, fetch=fetch, say=said.append)


def test_a_record_in_another_run_s_folder_is_refused(store: ResultStore, run: RunSpec) -> None:
    """A renamed folder, which would explain one run by another's weights, is refused, and so is a damaged record."""
    folder = store.folder(run)
    renamed = folder.rename(folder.with_name("fashion_mnist_5k-vq-0123456789abcdef"))
    with pytest.raises(StoreError, match="renamed"):
        store.find("0123")
    (renamed / "record.json").write_text("{")
    with pytest.raises(StoreError, match="not a record"):
        store.find("0123")


def test_weights_of_another_version_are_refused(
    store: ResultStore, run: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights trained by an older version of a quantizer are not measured with the newer code."""
    monkeypatch.setattr(VQ, "VERSION", VQ.VERSION + 1)
    with pytest.raises(UsageError, match=r"version \d+ of quantizer 'vq'"):
        explained(store, run)


def test_an_unknown_metric_or_knob_is_refused(
    store: ResultStore, run: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Misspelt metrics, and misspelt settings of a metric, are errors that list the valid ones."""
    with pytest.raises(UsageError, match="psnr"):
        explained(store, run, ["psnrr"])
    monkeypatch.setattr(L1, "knobs", ("pixel",))
    with pytest.raises(UsageError, match="did you mean 'pixels'"):
        explained(store, run, ["l1"])
