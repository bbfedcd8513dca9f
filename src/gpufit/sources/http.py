"""One GET at a time over the standard library: bounded in bytes and in time, never following a redirect by itself.

The seam that tests replace is ``Transport``; nothing here is imported unless a Hub id is asked for.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from gpufit.errors import SourceError
from gpufit.records import record

_PIECE_BYTES = 64 << 10


class Unreachable(SourceError):
    """No use of the server now: no route, a time limit, a body cut short, too busy. Later it may answer."""


@record
class Answer:
    """A status, headers with lower-case names, and at most ``limit_bytes`` of body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Performs one GET."""

    def __call__(self, url: str, headers: Mapping[str, str], *, limit_bytes: int, timeout_seconds: float) -> Answer:
        """Raises Unreachable where no complete answer came within the limits."""
        ...


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None  # the caller decides which headers may go to another host


def get(url: str, headers: Mapping[str, str], *, limit_bytes: int, timeout_seconds: float) -> Answer:
    """Fetch ``url``, reading at most ``limit_bytes`` of its body. Proxies are those of the environment.

    ``timeout_seconds`` bounds the whole exchange, so that a body that trickles in cannot hold the command.
    """
    deadline = time.monotonic() + timeout_seconds
    request = urllib.request.Request(url, headers=dict(headers))
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        try:
            response: Any = opener.open(request, timeout=timeout_seconds)
        except urllib.error.HTTPError as error:
            response = error  # 3xx, 4xx and 5xx are answers too
        with response:
            body = _read(response, limit_bytes, deadline)
            found = {name.lower(): value for name, value in response.headers.items()}
            status = int(response.status)
    except urllib.error.URLError as error:
        raise Unreachable(f"cannot reach {_host(url)}: {_reason(error.reason)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"no complete answer from {_host(url)}: {_reason(error)}") from None
    stated = found.get("content-length", "")
    if stated.isdecimal() and len(body) < min(int(stated), limit_bytes):
        raise Unreachable(f"the answer from {_host(url)} was cut short: {len(body)} of {stated} bytes")
    return Answer(status=status, headers=found, body=body)


def _read(response: IO[bytes], limit_bytes: int, deadline: float) -> bytes:
    pieces = []
    missing = limit_bytes
    read = getattr(response, "read1", response.read)  # what has come, without waiting for a full piece
    while missing and (piece := read(min(missing, _PIECE_BYTES))):
        pieces.append(piece)
        missing -= len(piece)
        if time.monotonic() > deadline:
            raise TimeoutError("the answer took too long")
    return b"".join(pieces)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "the time limit passed"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:120]
