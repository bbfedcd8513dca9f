"""Answers to whole questions kept for the next time: the same list for the same card costs nothing twice.

Like the compiled catalog this is a convenience, never a source: an answer is believed only while every input it was
made from is the same, the code included, and the oldest answers are dropped. Deleting the folder loses nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

from gpufit.__about__ import __version__
from gpufit.sources.compiled import write_cache

MOST_ANSWERS = 64
_LARGEST_ANSWER_BYTES = 4 << 20
_CODE = Path(__file__).resolve().parent.parent


def recall(question: list[Any], answer: Callable[[], Any], cache_dir: Path | None) -> Any:
    """What ``answer()`` gives, as JSON reads it back, from the cache where the very same question was asked before.

    ``question`` names every input, in values that JSON can write. Nothing is cached where ``cache_dir`` is None.
    """
    if cache_dir is None:
        return json.loads(json.dumps(answer()))
    key = json.dumps([__version__, _code_time_ns(), question], separators=(",", ":"))
    folder = cache_dir / "answers"
    place = folder / f"{crc32(key.encode()):08x}.json"
    kept = _read(place)
    if isinstance(kept, list) and len(kept) == 2 and kept[0] == key:
        return kept[1]
    text = json.dumps([key, answer()], separators=(",", ":"))
    if len(text) <= _LARGEST_ANSWER_BYTES:
        write_cache(place, text)
        _drop_oldest(folder)
    return json.loads(text)[1]


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


def _read(place: Path) -> Any:
    try:
        with open(place, "rb") as file:
            return json.loads(file.read(_LARGEST_ANSWER_BYTES + 4096))
    except (OSError, ValueError, RecursionError):
        return None


def _drop_oldest(folder: Path) -> None:
    try:
        kept = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for old in kept[:-MOST_ANSWERS]:
            old.unlink(missing_ok=True)
    except OSError:  # another process was first, or the place cannot be changed
        return
