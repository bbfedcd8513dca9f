"""Results kept for the next time, beside the user's other caches.

Like the compiled catalog this is a convenience, never a source: what is kept is believed only while everything that it
was made from is the same, the code included, and the oldest is dropped. Deleting the folder loses nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from zlib import crc32

from gpufit.__about__ import __version__
from gpufit.sources.compiled import write_cache

MOST_KEPT = 16
_LARGEST_BYTES = 16 << 20
_CODE = Path(__file__).resolve().parent.parent


class Kept:
    """A place for one result. ``made_from`` names every input of it, in values that JSON can write.

    Nothing is read or written where ``cache_dir`` is None.
    """

    def __init__(self, made_from: list[Any], cache_dir: Path | None) -> None:
        self._key = json.dumps([__version__, _code_time_ns(), made_from], separators=(",", ":"))
        self._folder = None if cache_dir is None else cache_dir / "kept"

    def read(self) -> Any:
        """What was written for the very same inputs, as JSON reads it back; None where there is nothing to believe."""
        if self._folder is None:
            return None
        try:
            with open(self._place(self._folder), "rb") as file:
                found = json.loads(file.read(_LARGEST_BYTES + 4096))
        except (OSError, ValueError, RecursionError):
            return None
        return found[1] if isinstance(found, list) and len(found) == 2 and found[0] == self._key else None

    def write(self, result: Any) -> None:
        """Keep a result that JSON can write, unless it is very large or there is no place."""
        text = json.dumps([self._key, result], separators=(",", ":"))
        if self._folder is not None and len(text) <= _LARGEST_BYTES:
            write_cache(self._place(self._folder), text)
            _drop_oldest(self._folder)

    def _place(self, folder: Path) -> Path:
        return folder / f"{crc32(self._key.encode()):08x}.json"


def file_stamp(path: Path) -> list[str | int]:
    """What identifies a file's content without reading it; missing files have a stamp too."""
    try:
        found = os.stat(path)
    except OSError:
        return [str(path), -1, -1]
    return [str(path), found.st_size, found.st_mtime_ns]


def _code_time_ns() -> int:
    """When gpufit's own code last changed: in a source checkout the version stands still meanwhile."""
    newest = 0
    for room in ("", "facts", "facts/families", "memory", "memory/activations", "verdict", "devices"):
        try:
            with os.scandir(_CODE / room) as folder:
                newest = max(newest, *(file.stat().st_mtime_ns for file in folder if file.name.endswith(".py")))
        except (OSError, TypeError):  # zipped or frozen: the version alone decides
            continue
    return newest


def _drop_oldest(folder: Path) -> None:
    try:
        kept = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for old in kept[:-MOST_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:  # another process was first, or the place cannot be changed
        return
