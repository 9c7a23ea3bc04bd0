"""Results of 20 updates of every published row, reduced; ``python tests/support/twenty_updates.py`` rewrites them.

Rows that differ in sizes, weights or learning rates alone are one here, since they share all code.
A code change that moves these values changes the weights of trained runs, so published records would no longer belong
to the code. Then raise VERSION of the plugin and rewrite the values. ``test_versions.py`` checks this.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vqbench import registry, spec
from vqbench.backbone import Autoencoder
from vqbench.dataset import Dataset
from vqbench.datasets.fashion_mnist_5k import FashionMnist5k
from vqbench.datasets.gaussian import Gaussian
from vqbench.planning import expansion
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.yamlfile import parse
from vqbench.quantizer import QuantizerOutput
from vqbench.recipe import Task
from vqbench.spec import PluginSpec
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).parent / "kept" / "twenty_updates.json"
UPDATES, BATCH = 20, 12  # 588 features an update: more than the 512 codes of most rows
FEATURES = 588  # an update of rows that are fitted to features
SECOND = {"steps": UPDATES, "batch_size": BATCH, "subset": None}
SMALL = {"hidden": 8, "residual_hidden": 4}  # of the backbone; quantizers keep their published sizes
SEED = 42
NUMBERS = {"num_codes", "dim", "beta", "commitment", "scale", "learning_rate"}  # that choose no code

# As shares: a hundred times, for second stages a thousand times, what was seen between instruction sets (with and
# without AVX2 and AVX-512) and numbers of threads. Tokenizers are computed in float64 here, from starts in float32
# that differ by rounding; second stages in float32.
TOLERANCES = {"tokenizer": 2e-5, "second stage": 2e-4}


@dataclass(frozen=True)
class Trained:
    """A published row: what its weights follow from."""

    recipe: PluginSpec
    backbone: PluginSpec
    quantizer: PluginSpec
    stage: str = "tokenizer"

    @property
    def name(self) -> str:
        """The row in words, without versions; of the recipe, what is not a size."""
        return " | ".join(f"{part.name} {json.dumps(dict(part.args), sort_keys=True)}" for part in self._parts())

    @property
    def kind(self) -> str:
        """The row in words, without the numbers that choose no code."""
        quantizer, recipe = (
            PluginSpec(part.name, 1, {name: value for name, value in part.args.items() if name not in NUMBERS})
            for part in (self.quantizer, self.recipe)
        )
        return Trained(recipe, self.backbone, quantizer).name

    @property
    def data(self) -> Dataset:
        if not registry.load("recipes", self.recipe.name).on_features:  # type: ignore[attr-defined]
            return Few()
        return Gaussian(dim=self.quantizer.args["dim"], train=UPDATES * FEATURES, test=FEATURES)

    @property
    def versions(self) -> dict[str, int]:
        return {part.name: part.version for part in self._parts()}

    def _parts(self) -> tuple[PluginSpec, PluginSpec, PluginSpec]:
        return self.quantizer, self.backbone, self.recipe


class Few(FashionMnist5k):
    """Images for 20 batches, and two batches each to select and to test by."""

    holdout = 2 * BATCH

    def pixels(self, split: Any) -> torch.Tensor:
        return super().pixels(split)[: (UPDATES + 2) * BATCH if split == "train" else 2 * BATCH]


class Double(Autoencoder):
    """In float64, so that the rounding of another CPU decides no nearest neighbour."""

    def __init__(self, backbone: Any, quantizer: Any) -> None:
        super().__init__(backbone, quantizer)
        self.double()
        encode = backbone.encode
        backbone.encode = lambda x: encode(x.double())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, QuantizerOutput]:
        out = self.quantizer(self.backbone.encode(x))
        return self.backbone.decode(out.z_q), out

    def quantize_features(self, z: torch.Tensor) -> QuantizerOutput:
        return self.quantizer(z.double())


class _NoData:
    """The registry without data sets: what their arguments are needs no files, and no row depends on it here."""

    names = staticmethod(registry.names)
    load = staticmethod(registry.load)

    @staticmethod
    def resolve(kind: Any, name: str, given: Any, fixed: Any = None) -> Any:
        return PluginSpec(name, 1, {}) if kind == "datasets" else registry.resolve(kind, name, given, fixed)


def rows() -> dict[str, Trained]:
    """The kinds of rows of all published suites, as they resolve today, by name; second stages, on their first row.

    Of a kind it is the first row; of rows on features the last, which has the most dimensions.
    """
    found: dict[str, Trained] = {}
    stages: set[str] = set()
    for path in sorted((ROOT / "results" / "suites").glob("*.json")):
        suite = SuiteSpec.from_document(parse(json.loads(path.read_text(encoding="utf-8"))["suite"], str(path)))
        for entry in expansion.expand(suite, _NoData()):
            row = _reduced(entry.run.recipe, entry.run.backbone, entry.run.quantizer)
            if row.kind not in found or isinstance(row.data, Gaussian):
                found[row.kind] = row
            if entry.second is not None:
                second = entry.second.recipe
                recipe = PluginSpec(second.name, second.version, {**second.args, **SECOND})
                if (text := json.dumps(dict(recipe.args), sort_keys=True)) not in stages:
                    stages.add(text)
                    row = Trained(recipe, row.backbone, row.quantizer, "second stage")
                    found[f"second stage {row.kind}"] = row
    return {row.name: row for row in found.values()}


def _reduced(recipe: PluginSpec, backbone: PluginSpec, quantizer: PluginSpec) -> Trained:
    on_features = registry.load("recipes", recipe.name).on_features  # type: ignore[attr-defined]
    sizes = {"epochs": 1, "batch_size": FEATURES if on_features else BATCH, "subset": None}
    small = {name: value for name, value in SMALL.items() if name in backbone.args}
    return Trained(
        PluginSpec(recipe.name, recipe.version, {**recipe.args, **sizes}),
        PluginSpec(backbone.name, backbone.version, {**backbone.args, **small}),
        quantizer,
    )


def train(row: Trained, folder: Path) -> dict[str, float]:
    """Train ``row`` by its recipe for 20 updates: the losses, and statistics of all that was learned, by name."""
    data, seeds = row.data, spec.seeds(SEED, "few")
    torch.manual_seed(seeds("backbones"))
    backbone = registry.load("backbones", row.backbone.name)(
        channels=data.channels, dim=row.quantizer.args["dim"], **row.backbone.args
    )
    torch.manual_seed(seeds("quantizers"))
    quantizer = registry.load("quantizers", row.quantizer.name)(**row.quantizer.args)
    second = row.stage == "second stage"
    model = Autoencoder(backbone, quantizer).eval().requires_grad_(False) if second else Double(backbone, quantizer)
    recipe = registry.load("recipes", row.recipe.name)(**row.recipe.args)
    (epoch,) = recipe.fit(Task(model, data, seeds, Engine("cpu"), folder, CodebookMonitor())).history
    values = {name: float(value) for name, value in epoch.items() if name != "epoch"}
    if second:
        state = torch.load(folder / "best.pt", weights_only=True)  # with a digest of the tokenizer, which is a number
        return values | _statistics("generator", [each for each in state.values() if each.is_floating_point()])
    for name, tensor in model.quantizer.state_dict().items():
        values.update(_statistics(name, [tensor]))
    learned = list(model.backbone.parameters())  # none where features are held fixed
    return values | (_statistics("backbone", learned) if learned else {})


def _statistics(name: str, tensors: list[torch.Tensor]) -> dict[str, float]:
    numbers = torch.cat([tensor.detach().flatten().double() for tensor in tensors])
    return {f"{name}, mean": numbers.mean().item(), f"{name}, rms": numbers.square().mean().sqrt().item()}


def moved(kept: Mapping[str, float], now: Mapping[str, float], tolerance: float) -> Iterator[str]:
    """The names of values that differ by more than the share ``tolerance``; means, by that share of their rms."""
    for name in sorted(kept.keys() | now.keys()):
        if name not in kept or name not in now:
            yield name
            continue
        scale = abs(kept.get(name.replace(", mean", ", rms"), kept[name]))
        if not abs(now[name] - kept[name]) <= tolerance * scale:
            yield name


def main() -> None:
    torch.set_num_threads(1)
    written = []
    for name, row in rows().items():
        with tempfile.TemporaryDirectory() as folder:
            values = {key: float(f"{value:.10g}") for key, value in train(row, Path(folder)).items()}
        written.append({"row": name, "versions": row.versions, "values": values})
        print(row.quantizer.name, values["loss"], flush=True)
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
