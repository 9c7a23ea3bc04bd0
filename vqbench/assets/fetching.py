"""Fetch an asset by its name, verify it, and return where it is."""

from __future__ import annotations

import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

from vqbench.assets.cache import (
    cache_folder,
    candidates,
    data_folder,
    digests,
    files_below,
    fitting,
    recall,
    remember,
)
from vqbench.assets.catalogue import CATALOGUE, Asset
from vqbench.assets.content import Content, digest, load_npz, save
from vqbench.errors import AssetError, UsageError, nearest
from vqbench.system.files import MEMBER, read_regular

if TYPE_CHECKING:
    from torch import Tensor

    from vqbench.assets.download import Progress
    from vqbench.assets.sources import AssetSource

AssetState = Literal["local", "cached", "missing"]
_no_downloads = False  # set by no_downloads()
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def state(name: str) -> AssetState:
    """Return whether ``name`` is in the user's folder, in our cache, or missing.

    Digests are computed once and remembered until a file changes, so later calls return at once. Raises UsageError for
    an unknown name.
    """
    return states([name])[name]


def states(names: Iterable[str]) -> dict[str, AssetState]:
    """Return the :func:`state` of several assets; the user's folder is searched once."""
    local = data_folder()
    files = list(files_below(local)) if local else []
    found: dict[str, AssetState] = {}
    for name in names:
        asset = _asset(name)
        if _holds_all(asset, files):
            found[name] = "local"
        else:
            found[name] = "cached" if _in_cache(asset, []) else "missing"
    return found


def fetch(name: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Return the verified folder of a data set, or the file of weights.

    Looks in the user's folder (``VQBENCH_DATA``), in our cache (``VQBENCH_CACHE``), then tries the sources in their
    order. Of several processes that need the same asset, one downloads and the others wait.

    Args:
        name: In the catalogue.
        offline: Try no source; also by ``VQBENCH_OFFLINE=1`` and inside :func:`no_downloads`.
        progress: Called with the bytes of a download that were received, and those expected.

    Returns:
        The folder of the files of a data set, or the ``.npz`` of weights.

    Raises:
        UsageError: An unknown name.
        AssetError: It cannot be obtained; the message lists what was tried and why it failed.
    """
    asset = _asset(name)
    offline = offline or _no_downloads or os.environ.get("VQBENCH_OFFLINE", "0").lower() not in ("", "0", "false", "no")
    faults: list[str] = []  # why each attempt failed
    if place := _in_data_folder(asset) or _in_cache(asset, faults):
        return place
    if offline and data_folder() is None:
        raise AssetError(_failure(asset, offline, faults))
    with _writing(asset), FileLock(_created(cache_folder()) / "fetching.lock"):
        faults.clear()  # another process may have brought it while we waited
        place = (
            _in_cache(asset, faults) or _convert_local(asset, faults) or _try_sources(asset, offline, progress, faults)
        )
    if place:
        return place
    raise AssetError(_failure(asset, offline, faults))


@contextmanager
def no_downloads(active: bool = True) -> Iterator[None]:
    """Have :func:`fetch` find local files alone, in all threads, if ``active``."""
    global _no_downloads
    before, _no_downloads = _no_downloads, _no_downloads or active
    try:
        yield
    finally:
        _no_downloads = before


def tensors(name: str, *, offline: bool = False, progress: Progress | None = None) -> dict[str, Tensor]:
    """Return the weights ``name`` as float32 tensors on the CPU.

    They are named as in the library that uses them: ``inception_fid`` as in torch-fidelity, without ``fc.*`` and
    ``num_batches_tracked`` (470 tensors); ``vgg16_lpips`` and ``alexnet_lpips`` as torchvision's ``features.N.weight``
    and ``.bias`` (26 and 10). Raises as :func:`fetch` does.
    """
    import torch

    if not _asset(name).is_weights:
        raise UsageError(f"{name} is a data set, not weights: use vqbench.assets.raw")
    path = fetch(name, offline=offline, progress=progress)
    return {key: torch.from_numpy(value) for key, value in load_npz(path).items()}


def raw(name: str, file: str, *, offline: bool = False, progress: Progress | None = None) -> bytes:
    """Return the bytes of a canonical ``file`` of a data set.

    Raises as :func:`fetch` does.
    """
    asset = _asset(name)
    if asset.is_weights:
        raise UsageError(f"{name} is weights, not a data set: use vqbench.assets.tensors")
    if file not in asset.digests:
        raise UsageError(f"{name} has no file {file!r}; {nearest(file, asset.digests)}")
    path = fetch(name, offline=offline, progress=progress) / file
    try:
        return read_regular(path, MEMBER)
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error.strerror}); delete it, and it is fetched again") from error


def _asset(name: str) -> Asset:
    if name not in CATALOGUE:
        raise UsageError(f"no asset is called {name!r}; {nearest(name, CATALOGUE)}")
    return CATALOGUE[name]


# ---- assets on this machine ------------------------------------------------------------------------------------------


def _place(asset: Asset, folder: Path) -> Path:
    """Return the folder of a data set, or the file of weights, in ``folder``."""
    return folder / next(iter(asset.digests)) if asset.is_weights else folder


def _in_cache(asset: Asset, faults: list[str]) -> Path | None:
    """Return where the canonical form is in our cache, if it is verified."""
    folder = cache_folder() / asset.name
    if all((folder / file).is_file() for file in asset.digests) and _is_right(asset, folder, faults):
        return _place(asset, folder)
    return None


def _in_data_folder(asset: Asset) -> Path | None:
    """Return where the canonical form is below the user's folder, if verified."""
    root = data_folder()
    if root is None:
        return None
    present = defaultdict(set)
    for path, _ in candidates(asset, root):
        present[path.parent].add(path.name)
    for folder, names in present.items():
        if names.issuperset(asset.digests) and _is_right(asset, folder, []):
            return _place(asset, folder)
    return None


def _is_right(asset: Asset, folder: Path, faults: list[str]) -> bool:
    """Verify the files in ``folder``; note in ``faults`` what is wrong."""
    for file, expected in asset.digests.items():
        path = folder / file
        try:
            actual = digests(asset, path)[file]
        except Exception as error:  # a damaged file can fail in any way
            faults.append(f"{path} cannot be read ({_short(error)})")
            return False
        if actual != expected:
            faults.append(_mismatch(asset, file, path, actual))
            return False
    return True


def _holds_all(asset: Asset, files: Sequence[Path]) -> bool:
    """Return whether ``files`` contain all of ``asset``."""
    missing = set(asset.digests)
    for path, form in fitting(asset, files):
        try:
            actual = digests(asset, path, form)
        except Exception:  # a damaged file can fail in any way; ``fetch`` reports it
            continue
        missing -= {file for file in missing if actual.get(file) == asset.digests[file]}
        if not missing:
            return True
    return False


# ---- assets from elsewhere -------------------------------------------------------------------------------------------


def _extract(asset: Asset, folder: Path, faults: list[str]) -> dict[str, Content] | None:
    """Return all of ``asset`` from files below ``folder``, or None.

    What is wrong with files is noted in ``faults``.
    """
    verified: dict[str, Content] = {}
    for path, form in candidates(asset, folder):
        known = recall(asset, path)
        if known is not None and not any(known.get(file) == right for file, right in asset.digests.items()):
            faults.extend(_mismatch(asset, file, path, value) for file, value in known.items() if file in asset.digests)
            continue
        try:
            for file, content in form.read(path):
                if file not in asset.digests or file in verified:
                    continue
                value = digest(content, asset.algorithm)
                if value == asset.digests[file]:
                    verified[file] = content
                else:
                    faults.append(_mismatch(asset, file, path, value))
        except Exception as error:  # a damaged file can fail in any way
            faults.append(f"{path} cannot be read ({_short(error)})")
        if len(verified) == len(asset.digests):
            return verified
    return None


def _store(asset: Asset, content: dict[str, Content]) -> Path:
    """Write verified ``content`` to our cache."""
    folder = cache_folder() / asset.name
    for file, value in content.items():
        save(value, folder / file)
        remember(asset, folder / file, {file: asset.digests[file]})
    return _place(asset, folder)


def _convert_local(asset: Asset, faults: list[str]) -> Path | None:
    """Convert files of the user's folder into our cache."""
    root = data_folder()
    if root is None:
        return None
    content = _extract(asset, root, faults)
    return _store(asset, content) if content else None


def _try_sources(asset: Asset, offline: bool, progress: Progress | None, faults: list[str]) -> Path | None:
    """Try the sources in their order, noting in ``faults`` why each failed."""
    from vqbench.assets.download import SourceError  # not at the top: assets in the cache need no source

    if offline:
        return None
    for source in asset.sources:
        folder = _created(cache_folder() / "incoming" / source.slug)
        try:
            source.bring(folder, progress)
        except SourceError as error:
            faults.append(f"{source.label}: {error}")
            continue  # what was received is kept for the next attempt
        wrong: list[str] = []
        content = _extract(asset, folder, wrong)
        if content:
            place = _store(asset, content)
            _store_siblings(asset, source, folder)
            for used in asset.sources:
                shutil.rmtree(cache_folder() / "incoming" / used.slug, ignore_errors=True)
            return place
        shutil.rmtree(folder, ignore_errors=True)
        faults.append(f"{source.label}: {'; '.join(wrong) or 'it contains nothing of this'}")
    return None


def _store_siblings(asset: Asset, source: AssetSource, folder: Path) -> None:
    """Store other assets that were in the same download."""
    for other in CATALOGUE.values():
        if other is not asset and source in other.sources and not _in_cache(other, []):
            content = _extract(other, folder, [])
            if content:
                _store(other, content)


# ---- messages --------------------------------------------------------------------------------------------------------


@contextmanager
def _writing(asset: Asset) -> Iterator[None]:
    """Raise one AssetError for all the ways in which writing a cache can fail."""
    try:
        yield
    except OSError as error:
        cache = cache_folder()
        if error.errno in _DISK_FULL:
            what = f"the disk of the cache {cache} is full: free about {2 * asset.size // 1_000_000 + 1} MB there"
        else:
            what = f"the cache {cache} cannot be written ({_short(error)}): make it writable"
        raise AssetError(f"cannot store {asset.title}, {what} or set VQBENCH_CACHE to another folder") from error


def _created(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _mismatch(asset: Asset, file: str, path: Path, actual: str) -> str:
    kind = f"{asset.algorithm} of its tensors" if asset.is_weights else asset.algorithm
    inside = "" if path.name == file else f" in {path}"
    return f"{path if not inside else file}{inside} has {kind} {actual}, not {asset.digests[file]}"


def _lacks(folder: Path) -> str:
    return "does not have all of it" if folder.is_dir() else "is no folder"


def _short(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def _failure(asset: Asset, offline: bool, faults: list[str]) -> str:
    """Return one sentence: what is missing, all faults, what to do."""
    local = data_folder()
    where = [
        "VQBENCH_DATA is not set" if local is None else f"VQBENCH_DATA ({local}) {_lacks(local)}",
        f"the cache ({cache_folder() / asset.name}) {_lacks(cache_folder() / asset.name)}",
        *faults,
    ]
    if offline:
        where.append(f"offline, so not tried: {', '.join(source.label for source in asset.sources)}")
    remedy = "go online" if offline else "check the connection"
    patterns = ", ".join(dict.fromkeys(form.pattern.replace("[-.]", "-") for form in asset.forms))
    return (
        f"cannot get {asset.title}: {'; '.join(where)}. To fix it, {remedy}, or set VQBENCH_DATA to a folder with its "
        f"files (any of: {patterns})"
    )
