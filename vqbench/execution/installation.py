"""Facts about an installation, and whether it reproduces the golden values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vqbench import assets, registry
from vqbench.errors import VqbenchError
from vqbench.system import provenance


@dataclass(frozen=True)
class GoldenResult:
    """How one group of golden values came out."""

    name: str
    state: str  # PASS, or what golden.check says, or FAIL
    about: str


@dataclass(frozen=True)
class Installation:
    """Versions, devices, assets and faults of this installation."""

    versions: Mapping[str, str]
    processor: str
    threads: int | None  # of torch; None where it cannot be imported
    gpus: Sequence[str]
    commit: str | None
    assets: Mapping[str, str]  # name -> state
    cache: Path
    broken_plugins: Sequence[str]
    problems: Sequence[str]
    golden: Sequence[GoldenResult]


def describe() -> Installation:
    """Collect the facts, load every plugin and compute the golden values."""
    problems: list[str] = []
    threads, gpus = _devices(problems)
    _import_networks(problems)
    return Installation(
        versions=provenance.versions(),
        processor=provenance.processor(),
        threads=threads,
        gpus=gpus,
        commit=provenance.commit(),
        assets=assets.states(assets.CATALOGUE),
        cache=assets.cache_folder(),
        broken_plugins=broken_plugins(),
        problems=problems,
        golden=golden_results(),
    )


def _devices(problems: list[str]) -> tuple[int | None, list[str]]:
    """The threads and GPUs of torch; a failed import is added to ``problems``."""
    try:
        import torch
    except ImportError as error:
        problems.append(f"torch cannot be imported: {error}")
        return None, []
    return torch.get_num_threads(), [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _import_networks(problems: list[str]) -> None:
    """Import the packages of fixed networks; add a failure to ``problems``."""
    try:
        from vqbench.networks.compat import ensure_torchvision

        ensure_torchvision()
        import lpips  # noqa: F401
        import torch_fidelity  # noqa: F401
    except Exception as error:  # these packages fail in many ways beside other versions of torch
        problems.append(f"lpips or torch-fidelity cannot be imported: {error}")


def broken_plugins() -> list[str]:
    """List the plugins that cannot be loaded, each with the reason."""
    broken = []
    for kind in registry.CONTRACTS:
        for name in registry.names(kind):
            try:
                registry.load(kind, name)
            except VqbenchError as error:
                broken.append(f"{name}: {error}")
        broken += [f"{name}: {reason}" for name, reason in registry.refused(kind).items()]
    return broken


def golden_results() -> list[GoldenResult]:
    """Compare this installation with the golden values, group by group.

    See :mod:`vqbench.conformance.golden`.
    """
    try:
        from vqbench.conformance.golden import compare

        return [GoldenResult(**asdict(result)) for result in compare.check()]
    except (ImportError, OSError, ValueError) as error:
        return [GoldenResult("all", "FAIL", f"cannot be computed: {error}")]
