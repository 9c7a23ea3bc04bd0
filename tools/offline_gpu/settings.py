"""What is compared, on which suite and at which size: all choices of this tool.

Needs the standard library alone, like all modules here but ``update_times``, so that it runs before anything is
installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

SUITE = "small_datasets"  # table B.1 of the paper
CAPTURE = "capture"  # option that replays each update on a GPU as one CUDA graph
REFUSED = "not captured: "  # how a captured setting ends whose updates are computed one by one
STRICT = "float32"
TRAINED_LAYOUT = "channels last"  # that of every training of vqbench; the other one is only timed


@dataclass(frozen=True)
class Setting:
    """One way to train one row: ``jobs`` equal trainings side by side on one device."""

    dataset: str
    row: str  # label in the suite
    captured: bool
    precision: str
    layout: str
    jobs: int

    @property
    def update(self) -> str:
        """The name of the way an update is carried out."""
        return "captured" if self.captured else "eager"


@dataclass(frozen=True)
class Scale:
    """How much is done: ``changes`` are arguments of ``vqbench.load_suite``."""

    times: Mapping[str, Any]  # changes of the suite whose updates are timed
    layouts: Mapping[str, Sequence[str]]  # by data set
    jobs: Sequence[int]
    batch: int
    updates: int  # timed per setting, after as many or a few to warm up
    rows: Mapping[str, Any]  # changes of the suite that is trained
    quantizers: Sequence[str]  # words of `vqbench check`
    backbones: Sequence[str]

    def settings(self, rows: Mapping[str, Iterable[str]]) -> list[Setting]:
        """Return all settings to time, the most important ones first.

        ``rows``: labels by data set.
        """
        return [*self._of(True, rows), *self._of(False, rows)]

    def _of(self, trained: bool, rows: Mapping[str, Iterable[str]]) -> Iterator[Setting]:
        for dataset, layouts in self.layouts.items():
            chosen = [layout for layout in layouts if (layout == TRAINED_LAYOUT) == trained]
            for layout, row, precision in product(chosen, rows[dataset], (STRICT, "tf32")):
                for captured, jobs in product((False, True), self.jobs):
                    yield Setting(dataset, row, captured, precision, layout, jobs)


@dataclass(frozen=True)
class Expected:
    """Rows of table B.1 that one device was expected to train within ``SECONDS``."""

    name: str
    captured: bool
    precision: str
    rows: tuple[float, float]


SECONDS = 720
TOLERANCE = 0.4  # an estimate is confirmed within this share
EXPECTED = (Expected("strict float32", False, STRICT, (2, 3)), Expected("tf32, captured", True, "tf32", (6, 7)))

_TINY = {
    "set": {
        "datasets": ["fashion_mnist_5k"],
        "metrics": ["psnr", "usage"],
        "codebook": {"num_codes": 16, "dim": 8},
        "backbone": {"conv": {"hidden": 8, "residual_hidden": 4}},
    },
    "only": ["VQ-VAE", "CVQ-VAE"],
    "epochs": 2,
    "subset": 256,
    "batch_size": 64,
    "test_images": 64,
}
_LAYOUTS = (TRAINED_LAYOUT, "contiguous")
SCALES = {
    "full": Scale(
        times={},
        layouts={"mnist": _LAYOUTS, "cifar10": _LAYOUTS[:1]},
        jobs=(1, 4),
        batch=1024,
        updates=20,
        rows={"set": {"datasets": ["mnist"]}},
        quantizers=["--all", "--kind", "quantizer", "--only", "gpu"],
        backbones=["--all", "--kind", "backbone", "--only", "on_gpu"],
    ),
    "tiny": Scale(
        times=_TINY,
        layouts={"fashion_mnist_5k": _LAYOUTS},
        jobs=(1, 2),
        batch=8,
        updates=2,
        rows=_TINY,
        quantizers=["vq", "--only", "gpu"],
        backbones=["conv", "--kind", "backbone", "--only", "on_gpu"],
    ),
}


def words(changes: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line that make the ``changes`` of the suite."""
    found = [SUITE]
    for name, value in changes.items():
        if name == "set":
            found += [word for path, to in value.items() for word in ("--set", f"{path}={json.dumps(to)}")]
        else:
            values = value if isinstance(value, list) else [value]
            found += [word for each in values for word in (f"--{name.replace('_', '-')}", str(each))]
    return found


def as_dict(setting: Setting) -> dict[str, Any]:
    """Return the setting as JSON; ``Setting(**data)`` is the inverse."""
    return asdict(setting)
