"""Requests to a Hub: token, redirects, retries, and one clear sentence for every way to fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from urllib.parse import urljoin, urlsplit

from gpufit.errors import AccessNeeded, SourceError, UnknownName, UsageError
from gpufit.records import record
from gpufit.sources.http import Answer, Transport, Unreachable

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 10.0
_MOST_REDIRECTS = 5


@record
class HubClient:
    """Where to ask, with which token, and how to wait. ``pause`` is ``time.sleep`` outside tests."""

    endpoint: str
    transport: Transport
    token: str | None = None
    pause: Callable[[float], None] = time.sleep
    timeout_seconds: float = 15.0

    def get(self, path: str, *, about: str, limit_bytes: int, headers: Mapping[str, str] | None = None) -> Answer:
        """GET ``endpoint + path``: 200 or 206, or an error that speaks ``about`` a repository ("owner/name").

        Tried four times where the server is busy, failing or cut off, waiting 0.5, 1 and 2 seconds or what
        ``Retry-After`` asks, if that is at most 10 seconds.
        """
        problem: Unreachable
        for attempt in range(_ATTEMPTS):
            wait = 0.5 * 2**attempt
            try:
                answer = self._follow(self.endpoint + path, dict(headers or {}), limit_bytes)
            except Unreachable as error:
                problem = error
            else:
                if answer.status in (200, 206):
                    return answer
                if answer.status != 429 and answer.status < 500:
                    raise self._refusal(answer, about)
                problem = Unreachable(
                    f"{self._host} answered {answer.status} for {about}",
                    hint="the server is busy or failing; try again later",
                )
                wait = _seconds(answer.headers.get("retry-after")) or wait
            if wait > _LONGEST_WAIT_SECONDS:
                asked = f"{self._host} asks to wait {wait:.0f} seconds"
                raise Unreachable(asked, hint="set HF_TOKEN for a larger allowance, or try again later")
            if attempt + 1 < _ATTEMPTS:
                self.pause(wait)
        problem.hint = problem.hint or "check the network, HTTPS_PROXY and HF_ENDPOINT; a local folder needs no network"
        raise problem

    @property
    def _host(self) -> str:
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]

    def _follow(self, url: str, headers: dict[str, str], limit_bytes: int) -> Answer:
        """Follow redirects. The token goes to the endpoint's own scheme, host and port, and nowhere else."""
        home = _origin(self.endpoint)
        for _ in range(_MOST_REDIRECTS):
            allowed = self.token is not None and _origin(url) == home
            sent = headers | {"User-Agent": "gpufit", "Accept-Encoding": "identity"}
            if allowed:
                sent["Authorization"] = f"Bearer {self.token}"
            answer = self.transport(url, sent, limit_bytes=limit_bytes, timeout_seconds=self.timeout_seconds)
            if answer.status not in _REDIRECTS:
                return answer
            target = _target(url, answer.headers.get("location", ""))
            if target is None:
                raise SourceError(f"{self._host} redirects to an address that gpufit does not follow")
            url = target
        raise SourceError(f"{self._host} redirects in circles")

    def _refusal(self, answer: Answer, about: str) -> Exception:
        """The error for a 4xx. ``X-Error-Code`` is the Hub's own word for the reason."""
        reason = answer.headers.get("x-error-code", "")
        page = f"{self.endpoint}/{about}"
        if answer.status == 403 or reason == "GatedRepo":
            return AccessNeeded(
                f"{about} is gated: its licence must be accepted first",
                hint=f"open {page}, accept the terms, then set HF_TOKEN to a token of that account",
            )
        if answer.status == 401 and self.token:
            return AccessNeeded(
                f"{self._host} does not accept the token for {about}",
                hint="check HF_TOKEN, or run hf auth login; a misspelled name is answered the same way",
            )
        if answer.status == 401:
            return AccessNeeded(
                f"{self._host} shows {about} only with a token: it is private, or there is no such model",
                hint="check the spelling, or set HF_TOKEN",
            )
        if answer.status == 404 and reason == "RevisionNotFound":
            return UsageError(f"{about} has no such revision", hint=f"see {page}/tree/main for its branches and tags")
        if answer.status == 404 and reason == "EntryNotFound":
            return SourceError(f"{about} does not hold the file", hint=f"see {page}/tree/main")
        if answer.status == 404:
            return UnknownName("model", about, hint=f"{self._host} has no such model; check the spelling")
        return SourceError(f"{self._host} answered {answer.status} for {about}")


def _target(url: str, location: str) -> str | None:
    """Where a redirect leads; None for anything but http and https, and for a step from https down to http."""
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        return None
    allowed = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
    return target if scheme in allowed else None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    port = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    host = parts.netloc.rpartition("@")[2].lower()
    return parts.scheme, host.removesuffix(port)


def _seconds(retry_after: str | None) -> float | None:
    """``Retry-After`` in seconds; None where absent or given as a date."""
    text = (retry_after or "").strip()
    return float(text) if text.isdecimal() and len(text) < 9 else None
