"""A parsed file kept as JSON beside the user's other caches, since parsing YAML costs more than a whole check.

The cache is a convenience and never a source: it is believed only while it names this very file (path, size, time of
change), this version of gpufit and this compiler, and it is ignored when it is stale, corrupt, too large or cannot be
written. Deleting it loses nothing.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from gpufit.__about__ import __version__
from gpufit.errors import BadFile, unreadable

LARGEST_FILE_BYTES = 16 << 20
_SETTLED_NS = 2 * 10**9  # a file changed again within its clock's tick would look unchanged; wait until it is older


def user_cache_dir(environ: Mapping[str, str]) -> Path | None:
    """Where this user's caches lie ($XDG_CACHE_HOME, %LOCALAPPDATA% or ~/.cache); None when there is no such place.

    >>> user_cache_dir({"XDG_CACHE_HOME": "/home/ada/.cache"}).as_posix()
    '/home/ada/.cache/gpufit'
    """
    places = (
        environ.get("XDG_CACHE_HOME", ""),
        environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else "",
        os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache"),
    )
    return next((Path(place) / "gpufit" for place in places if os.path.isabs(place)), None)


def load_compiled(
    path: Path,
    compile: Callable[[bytes], Any],
    *,
    cache_dir: Path | None,
    limit_bytes: int = LARGEST_FILE_BYTES,
) -> Any:
    """What ``compile`` makes of the file's bytes, from the cache when it still holds.

    ``compile`` is a module-level function whose result json can write; the answer is always what json reads back
    (lists, never tuples; str keys), so that the first call and later ones give equal objects. With ``cache_dir`` None
    nothing is cached. Raises BadFile for a file that is missing, unreadable, no regular file, or larger than
    ``limit_bytes``, and whatever ``compile`` raises.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise BadFile(f"{path} is not a regular file", hint="name a file")
        key = _key(path, found, compile)
        cached = None if cache_dir is None else cache_dir / f"{path.stem}-{crc32(repr(key[:3]).encode()):08x}.json"
        kept = None if cached is None else _read_cache(cached, key)
        if kept is not None:
            return kept["data"]
        with open(path, "rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) > limit_bytes:
        raise BadFile(f"{path} is larger than {limit_bytes >> 20} MiB", hint="split it, or remove what is not needed")
    text = json.dumps({"key": key, "data": compile(content)}, separators=(",", ":"))
    if cached is not None and time.time_ns() - found.st_mtime_ns > _SETTLED_NS and len(content) == found.st_size:
        write_cache(cached, text)
    return json.loads(text)["data"]


def _key(path: Path, found: os.stat_result, compile: Callable[[bytes], Any]) -> list[str | int]:
    return [
        os.path.abspath(path),
        compile.__module__,
        compile.__qualname__,
        __version__,
        _source_time_ns(compile),
        found.st_size,
        found.st_mtime_ns,
    ]


def _source_time_ns(compile: Callable[[bytes], Any]) -> int:
    """When the code in the compiler's folder last changed: in a source checkout the version stands still meanwhile."""
    code = getattr(compile, "__code__", None)
    try:
        with os.scandir(os.path.dirname(code.co_filename) if code else "") as folder:
            return max((file.stat().st_mtime_ns for file in folder if file.name.endswith(".py")), default=0)
    except OSError:  # zipped or frozen: the version alone decides
        return 0


def _read_cache(cached: Path, key: list[str | int]) -> dict[str, Any] | None:
    try:
        with open(cached, "rb") as file:
            kept = json.loads(file.read(4 * LARGEST_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return kept if isinstance(kept, dict) and kept.get("key") == key and "data" in kept else None


def write_cache(cached: Path, text: str) -> None:
    """Write beside the target, then rename over it: a reader sees the old file or the new one, never half of one."""
    part = cached.with_name(f"{cached.name}.{os.getpid()}-{time.monotonic_ns()}.part")
    try:
        cached.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="ascii")
            os.replace(part, cached)
        finally:
            part.unlink(missing_ok=True)
    except OSError:
        return  # a read-only home only costs time
