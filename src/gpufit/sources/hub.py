"""A repository on the Hub as a set of files: its listing, and pieces of its files by byte range. No weights move.

Routes: ``/api/models/{id}/revision/{revision}?blobs=true`` and ``/{id}/resolve/{commit}/{file}``, as documented for
the Hub API. A commit never changes, so whatever was read of one is kept and not asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from gpufit.errors import BadFile, SourceError
from gpufit.facts.json_text import MIB, parse_json
from gpufit.sources.files import read_range
from gpufit.sources.hub_cache import is_commit
from gpufit.sources.hub_client import HubClient

T = TypeVar("T")
Progress = Callable[[str], None]

_LISTING_BYTES = 8 * MIB
_SIDE_BY_SIDE = 8
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")


class PieceCache:
    """Bytes kept by commit. A convenience: where it cannot be written, nothing is lost but time."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def read(self, *key: str) -> bytes | None:
        if self._root is None or not (path := _piece_path(self._root, key)).is_file():
            return None
        try:
            return read_range(path, 0, path.stat().st_size)
        except (BadFile, OSError):
            return None

    def write(self, data: bytes, *key: str) -> None:
        if self._root is None:
            return
        path = _piece_path(self._root, key)
        part = path.with_name(f"{path.name}.{os.getpid()}-{time.monotonic_ns()}.part")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_bytes(data)
            os.replace(part, path)  # whole or not at all, also with two commands at once
        except OSError:
            with suppress(OSError):
                part.unlink()


def _piece_path(root: Path, key: tuple[str, ...]) -> Path:
    return root / "hub" / hashlib.sha256("\0".join(key).encode()).hexdigest()


class HubFiles:
    """The files of one repository at one revision, resolved to a commit by the first question."""

    def __init__(
        self, client: HubClient, repository: str, revision: str, cache: PieceCache, progress: Progress | None = None
    ) -> None:
        self._client = client
        self._cache = cache
        self._progress = progress
        self._revision = revision
        self._listing: tuple[str, dict[str, int]] | None = None
        self.repository = repository
        self.label = repository
        self.choose = repository + ":{}"

    @property
    def commit(self) -> str:
        """The commit that the revision stands for."""
        return self._list()[0]

    def sizes(self) -> Mapping[str, int]:
        return self._list()[1]

    def size(self, name: str) -> int | None:
        return self.sizes().get(name)

    def read(self, name: str, start: int, count: int) -> bytes:
        commit, sizes = self._list()
        end = min(start + count, sizes[name])
        if end <= start:
            return b""
        key = (self._client.endpoint, self.repository, commit, name, f"{start}-{end}")
        data = self._cache.read(*key)
        if data is None or len(data) != end - start:
            data = self._fetch(f"/{self.repository}/resolve/{commit}/{quote(name)}", name, start, end)
            self._cache.write(data, *key)
        return data

    def each(self, work: Callable[[str], T], names: Iterable[str]) -> list[T]:
        from concurrent.futures import ThreadPoolExecutor

        wanted = list(names)

        def one(numbered: tuple[int, str]) -> T:
            number, name = numbered
            if self._progress is not None:
                self._progress(f"reading header {number} of {len(wanted)} of {self.repository}")
            return work(name)

        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as pool:
            return list(pool.map(one, enumerate(wanted, 1)))

    def _fetch(self, path: str, name: str, start: int, end: int) -> bytes:
        answer = self._client.get(
            path, about=self.repository, limit_bytes=end, headers={"Range": f"bytes={start}-{end - 1}"}
        )
        body = answer.body
        if answer.status == 206:
            stated = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
            if stated is None or int(stated[1]) != start or int(stated[3]) != self.sizes()[name]:
                raise SourceError(f"{name} of {self.repository}: the server sent another part than the one asked for")
        else:
            body = body[start:]  # the server knows no ranges and sent the file from its beginning
        if len(body) != end - start:
            raise SourceError(f"{name} of {self.repository}: {len(body)} bytes came where {end - start} were asked for")
        return body

    def _list(self) -> tuple[str, dict[str, int]]:
        if self._listing is None:
            if self._progress is not None:
                self._progress(f"asking for {self.repository}")
            self._listing = self._known() or self._ask()
        return self._listing

    def _known(self) -> tuple[str, dict[str, int]] | None:
        """The kept listing, where the revision is a commit and so cannot have moved."""
        if not is_commit(self._revision):
            return None
        data = self._cache.read(self._client.endpoint, self.repository, self._revision)
        return None if data is None else parse_listing(data, self.repository)

    def _ask(self) -> tuple[str, dict[str, int]]:
        path = f"/api/models/{self.repository}/revision/{quote(self._revision, safe='')}?blobs=true"
        answer = self._client.get(path, about=self.repository, limit_bytes=_LISTING_BYTES + 1)
        commit, sizes = parse_listing(answer.body, self.repository)
        kept = json.dumps({"sha": commit, "siblings": [{"rfilename": n, "size": s} for n, s in sizes.items()]}).encode()
        self._cache.write(kept, self._client.endpoint, self.repository, commit)
        self._cache.write(commit.encode(), self._client.endpoint, self.repository, "ref", self._revision)
        return commit, sizes


def kept_commit(cache: PieceCache, endpoint: str, repository: str, revision: str) -> str | None:
    """The commit a revision stood for when it was last asked for; None if it never was."""
    data = cache.read(endpoint, repository, "ref", revision)
    text = data.decode("ascii", "replace") if data is not None else ""
    return text if is_commit(text) else None


def parse_listing(data: bytes, repository: str) -> tuple[str, dict[str, int]]:
    """(commit, file sizes) out of the Hub's model information.

    >>> sha = "0123456789abcdef0123456789abcdef01234567"
    >>> listing = {"sha": sha, "siblings": [{"rfilename": "config.json", "size": 614}]}
    >>> parse_listing(json.dumps(listing).encode(), "a/b") == (sha, {"config.json": 614})
    True
    """
    what = f"the Hub's listing of {repository}"
    info = parse_json(data, what, largest_bytes=_LISTING_BYTES)
    commit, siblings = info.get("sha"), info.get("siblings")
    if type(commit) is not str or not is_commit(commit) or type(siblings) is not list:
        raise SourceError(f"{what} has no commit or no files")
    return commit, dict(_parse_sibling(entry, what) for entry in siblings)


def _parse_sibling(entry: Any, what: str) -> tuple[str, int]:
    name = entry.get("rfilename") if type(entry) is dict else None
    size = entry.get("size") if type(entry) is dict else None
    if type(name) is not str or type(size) is not int or not 0 <= size < 1 << 63:
        raise SourceError(f"{what} does not give every file a name and a size")
    return name, size
