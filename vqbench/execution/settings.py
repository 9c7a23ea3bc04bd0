"""Settings of a command that every process which carries out runs receives."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunSettings:
    """How runs are carried out; sent to every worker and rank."""

    device: str = "auto"  # auto, cpu, cuda or cuda:N
    devices: int = 1  # that share each run
    plugins: tuple[Path, ...] = ()  # plugin files named on the command line, absolute
    logger: str | None = None  # receives every epoch; see vqbench.execution.callbacks
    deterministic: bool = False  # see vqbench.system.determinism
    offline: bool = False  # fetch no data and no weights

    def downloads(self) -> AbstractContextManager[None]:
        """Return a context in which nothing is downloaded, if these settings are offline."""
        if not self.offline:
            return nullcontext()
        from vqbench import assets

        return assets.no_downloads()
