"""From the name of an asset to its verified files, wherever they come from."""

from __future__ import annotations

import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

from vqbench.assets.cache import cache_folder, candidates, data_folder, digests, recall, remember
from vqbench.assets.catalogue import CATALOGUE, Asset
from vqbench.assets.content import Content, digest, load_npz, save
from vqbench.errors import AssetError, UsageError, nearest
from vqbench.system.files import MEMBER, read_regular

if TYPE_CHECKING:
    from torch import Tensor

    from vqbench.assets.download import Progress
    from vqbench.assets.sources import AssetSource

_no_downloads = False  # set by no_downloads()
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def state(name: str) -> Literal["local", "cached", "missing"]:
    """Where ``name`` is: verified in the user's folder, verified in our cache, or neither.

    What a file holds is computed once and remembered until the file changes, so later answers are immediate.
    """
    asset = _asset(name)
    local = data_folder()
    if local and _holds_all(asset, local):
        return "local"
    return "cached" if _in_cache(asset, []) else "missing"


def fetch(name: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The verified folder of the data set ``name``, or the file of the tensors ``name`` (an ``.npz``).

    Looks in the user's folder (``VQBENCH_DATA``), then in our cache (``VQBENCH_CACHE``), then asks the sources in
    their order, unless ``offline``, inside :func:`no_downloads` or with ``VQBENCH_OFFLINE=1``. Several processes may
    ask at once: one downloads, the others wait. ``progress(done, total)`` is told the bytes of a download.

    Raises AssetError, which says what was tried and why it failed.
    """
    asset = _asset(name)
    offline = offline or _no_downloads or os.environ.get("VQBENCH_OFFLINE", "0").lower() not in ("", "0", "false", "no")
    tried: list[str] = []
    if place := _in_data_folder(asset) or _in_cache(asset, tried):
        return place
    if offline and data_folder() is None:
        raise AssetError(_failure(asset, offline, tried))
    with _writing(asset), FileLock(_made(cache_folder()) / "fetching.lock"):
        tried.clear()  # another process may have brought it while we waited
        place = _in_cache(asset, tried) or _convert_local(asset, tried) or _ask_sources(asset, offline, progress, tried)
    if place:
        return place
    raise AssetError(_failure(asset, offline, tried))


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
    """The weights ``name`` as float32 tensors on the CPU, named as the library that uses them names them.

    ``inception_fid`` in torch-fidelity's names without ``fc.*`` and ``num_batches_tracked`` (470 tensors);
    ``vgg16_lpips`` and ``alexnet_lpips`` as torchvision's ``features.N.weight`` and ``.bias`` (26 and 10). Raises as
    ``fetch`` does.
    """
    import torch

    if not _asset(name).is_weights:
        raise UsageError(f"{name} is a data set, not weights: use vqbench.assets.raw")
    path = fetch(name, offline=offline, progress=progress)
    return {key: torch.from_numpy(value) for key, value in load_npz(path).items()}


def raw(name: str, file: str, *, offline: bool = False, progress: Progress | None = None) -> bytes:
    """The bytes of one ``file`` of the data set ``name``, in its canonical form. Raises as ``fetch`` does."""
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


# ---- what is there ---------------------------------------------------------------------------------------------------


def _place(asset: Asset, folder: Path) -> Path:
    """What ``fetch`` returns for the canonical form of ``asset`` in ``folder``."""
    return folder / next(iter(asset.digests)) if asset.is_weights else folder


def _in_cache(asset: Asset, tried: list[str]) -> Path | None:
    """The canonical form in our cache, if it is whole and right."""
    folder = cache_folder() / asset.name
    if all((folder / file).is_file() for file in asset.digests) and _is_right(asset, folder, tried):
        return _place(asset, folder)
    return None


def _in_data_folder(asset: Asset) -> Path | None:
    """The canonical form in one folder somewhere below the user's, if it is whole and right."""
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


def _is_right(asset: Asset, folder: Path, tried: list[str]) -> bool:
    """Whether the canonical files in ``folder`` hold what they should; if not, ``tried`` is told."""
    for file, expected in asset.digests.items():
        path = folder / file
        try:
            found = digests(asset, path)[file]
        except Exception as error:  # a broken file can break its reader in any way
            tried.append(f"{path} cannot be read ({_short(error)})")
            return False
        if found != expected:
            tried.append(_mismatch(asset, file, path, found))
            return False
    return True


def _holds_all(asset: Asset, folder: Path) -> bool:
    """Whether the files below ``folder``, in whichever form, hold all of ``asset``."""
    missing = set(asset.digests)
    for path, form in candidates(asset, folder):
        try:
            found = digests(asset, path, form)
        except Exception:  # a broken file can break its reader in any way; ``fetch`` tells the user how
            continue
        missing -= {file for file in missing if found.get(file) == asset.digests[file]}
        if not missing:
            return True
    return False


# ---- what is to be had -----------------------------------------------------------------------------------------------


def _harvest(asset: Asset, folder: Path, tried: list[str]) -> dict[str, Content] | None:
    """All of ``asset`` out of the files below ``folder``, or None; ``tried`` is told what is wrong with them."""
    found: dict[str, Content] = {}
    for path, form in candidates(asset, folder):
        known = recall(asset, path)
        if known is not None and not any(known.get(file) == right for file, right in asset.digests.items()):
            tried.extend(_mismatch(asset, file, path, value) for file, value in known.items() if file in asset.digests)
            continue
        try:
            for file, content in form.read(path):
                if file not in asset.digests or file in found:
                    continue
                value = digest(content, asset.algorithm)
                if value == asset.digests[file]:
                    found[file] = content
                else:
                    tried.append(_mismatch(asset, file, path, value))
        except Exception as error:  # a broken file can break its reader in any way
            tried.append(f"{path} cannot be read ({_short(error)})")
        if len(found) == len(asset.digests):
            return found
    return None


def _store(asset: Asset, content: dict[str, Content]) -> Path:
    """Put verified ``content`` into our cache."""
    folder = cache_folder() / asset.name
    for file, value in content.items():
        save(value, folder / file)
        remember(asset, folder / file, {file: asset.digests[file]})
    return _place(asset, folder)


def _convert_local(asset: Asset, tried: list[str]) -> Path | None:
    """Bring what the user's folder holds in another form into ours."""
    root = data_folder()
    if root is None:
        return None
    content = _harvest(asset, root, tried)
    return _store(asset, content) if content else None


def _ask_sources(asset: Asset, offline: bool, progress: Progress | None, tried: list[str]) -> Path | None:
    """Try the sources in their order; ``tried`` is told how each fared."""
    from vqbench.assets.download import SourceError  # not at the top: assets in the cache need no source

    if offline:
        return None
    for source in asset.sources:
        folder = _made(cache_folder() / "incoming" / source.slug)
        try:
            source.bring(folder, progress)
        except SourceError as error:
            tried.append(f"{source.label}: {error}")
            continue  # what has come stays in the folder, for the next attempt to go on from
        wrong: list[str] = []
        content = _harvest(asset, folder, wrong)
        if content:
            place = _store(asset, content)
            _store_siblings(asset, source, folder)
            for used in asset.sources:
                shutil.rmtree(cache_folder() / "incoming" / used.slug, ignore_errors=True)
            return place
        shutil.rmtree(folder, ignore_errors=True)
        tried.append(f"{source.label}: {'; '.join(wrong) or 'it holds nothing of this'}")
    return None


def _store_siblings(asset: Asset, source: AssetSource, folder: Path) -> None:
    """What was brought for one asset may hold another, which then needs no second download."""
    for other in CATALOGUE.values():
        if other is not asset and source in other.sources and not _in_cache(other, []):
            content = _harvest(other, folder, [])
            if content:
                _store(other, content)


# ---- what to say -----------------------------------------------------------------------------------------------------


@contextmanager
def _writing(asset: Asset) -> Iterator[None]:
    """Turns the ways in which a cache refuses to be written into one sentence."""
    try:
        yield
    except OSError as error:
        cache = cache_folder()
        if error.errno in _DISK_FULL:
            what = f"the disk of the cache {cache} is full: free about {2 * asset.size // 1_000_000 + 1} MB there"
        else:
            what = f"the cache {cache} cannot be written ({_short(error)}): make it writable"
        raise AssetError(f"cannot store {asset.title}, {what} or set VQBENCH_CACHE to another folder") from error


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _mismatch(asset: Asset, file: str, path: Path, found: str) -> str:
    kind = f"{asset.algorithm} of its tensors" if asset.is_weights else asset.algorithm
    inside = "" if path.name == file else f" in {path}"
    return f"{path if not inside else file}{inside} has {kind} {found}, not {asset.digests[file]}"


def _lacks(folder: Path) -> str:
    return "does not have all of it" if folder.is_dir() else "is no folder"


def _short(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def _failure(asset: Asset, offline: bool, tried: list[str]) -> str:
    """One sentence: what is missing, all that was tried, what to do."""
    local = data_folder()
    where = [
        "VQBENCH_DATA is not set" if local is None else f"VQBENCH_DATA ({local}) {_lacks(local)}",
        f"the cache ({cache_folder() / asset.name}) {_lacks(cache_folder() / asset.name)}",
        *tried,
    ]
    if offline:
        where.append(f"offline, so not asked: {', '.join(source.label for source in asset.sources)}")
    remedy = "go online" if offline else "see to the connection"
    patterns = ", ".join(dict.fromkeys(form.pattern.replace("[-.]", "-") for form in asset.forms))
    return (
        f"cannot get {asset.title}: {'; '.join(where)}. To mend it, {remedy}, or set VQBENCH_DATA to a folder with its "
        f"files (any of: {patterns})"
    )
