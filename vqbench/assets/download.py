"""Download one file over HTTP: resumed, renamed once complete."""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and those expected, None if unknown."""

CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 30.0  # at most between two pieces of an answer
ATTEMPTS: Final = 3
_PIECE: Final = 1 << 18


class SourceError(Exception):
    """Why a source could not be used; a clause for the list of attempts."""


def download(url: str, path: Path, progress: Progress | None = None) -> None:
    """Download ``url`` to ``path``, resuming an earlier attempt.

    What an attempt received is in ``path.part``. Raises SourceError if the address does not answer, or not completely
    within a few attempts, and OSError if the file cannot be written.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _require_answer(url)
    part = path.with_name(f"{path.name}.part")
    for attempt in range(1, ATTEMPTS + 1):
        before = _size(part)
        try:
            _attempt(url, part, progress)
            break
        except SourceError:
            if (
                attempt == ATTEMPTS or _size(part) == before
            ):  # no byte was received, so the next attempt would fail as well
                raise
    os.replace(part, path)
    _validator_file(part).unlink(missing_ok=True)


def _require_answer(url: str) -> None:
    """Connect once, in at most ``CONNECT_SECONDS``, else raise SourceError.

    In a thread, since the look-up of a name can take longer and has no time limit.
    """
    host, port = _first_hop(url)
    if host is None:
        return
    answer: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
            answer.append(None)
        except OSError as error:
            answer.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not answer:
        raise SourceError(f"{host} does not answer within {CONNECT_SECONDS:g} s")
    if answer[0] is not None:
        raise SourceError(f"{host} cannot be reached ({answer[0].strerror or answer[0]})")


def _first_hop(url: str) -> tuple[str | None, int]:
    """Return host and port that a request for ``url`` connects to.

    They are its own, or those of the proxy that is set.
    """
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and parts.hostname and not urllib.request.proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _attempt(url: str, part: Path, progress: Progress | None) -> None:
    """Fetch what ``part`` lacks; keep what is received for the next attempt."""
    have = _size(part)
    validator = _validator_file(part)
    headers = {"User-Agent": "vqbench", "Accept-Encoding": "identity"}
    if have and validator.exists():  # without one, the rest might be of another file
        headers |= {"Range": f"bytes={have}-", "If-Range": validator.read_text()}
    try:
        with _opener().open(urllib.request.Request(url, headers=headers), timeout=SILENCE_SECONDS) as answer:
            _receive(cast(HTTPResponse, answer), part, have, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file, so it is part of another one
            part.unlink(missing_ok=True)
        raise SourceError(f"it answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise SourceError(f"no connection ({error.reason})") from error
    except (HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise SourceError(f"the connection broke ({error or type(error).__name__})") from error


def _receive(answer: HTTPResponse, part: Path, have: int, progress: Progress | None) -> None:
    resumed = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    done = have if getattr(answer, "status", None) == 206 and resumed and int(resumed[1]) == have else 0
    length = answer.headers.get("Content-Length")
    total = done + int(length) if length else None
    if not done:
        _remember_validator(answer, part)
    with part.open("ab" if done else "wb") as file:
        while piece := answer.read(_PIECE):
            file.write(piece)
            done += len(piece)
            if progress:
                progress(done, total)
    if total is not None and done < total:
        raise SourceError(f"it broke off after {done:,} of {total:,} bytes; the next attempt resumes there")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.validator")


def _remember_validator(answer: HTTPResponse, part: Path) -> None:
    """Keep what identifies this version: a strong entity tag, else its date."""
    tag = answer.headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
    if validator:
        _validator_file(part).write_text(validator)
    else:
        _validator_file(part).unlink(missing_ok=True)


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener with the environment's proxies and certificates.

    Certificates are those that pip and requests are configured to trust.
    """
    context = ssl.create_default_context()
    for variable in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"):
        bundle = os.environ.get(variable)
        if bundle and os.path.isfile(bundle):
            try:
                context.load_verify_locations(cafile=bundle)
            except ssl.SSLError as error:
                raise SourceError(f"{variable} ({bundle}) is no bundle of certificates") from error
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _CheckedRedirects)


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, after checking that their target answers."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> urllib.request.Request | None:
        request = super().redirect_request(*args, **kwargs)
        if request is not None:
            _require_answer(request.full_url)
        return request
