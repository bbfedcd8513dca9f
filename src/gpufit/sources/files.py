"""A set of named files that can be read in pieces: a folder here, a repository on the Hub elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from gpufit.errors import BadFile, unreadable

T = TypeVar("T")
_MOST_FILES = 20_000


class Files(Protocol):
    """Where a checkpoint lies. Names are relative, with ``/`` as separator."""

    label: str  # how messages call the place
    choose: str  # how a user names one file of it, with {} for the file

    def sizes(self) -> Mapping[str, int]:
        """Every file's size in bytes."""
        ...

    def size(self, name: str) -> int | None:
        """One file's size in bytes, None where there is no such file."""
        ...

    def read(self, name: str, start: int, count: int) -> bytes:
        """``count`` bytes from ``start``; fewer only at the end of the file."""
        ...

    def each(self, work: Callable[[str], T], names: Iterable[str]) -> list[T]:
        """``work`` done for every name, in order; side by side where that is faster."""
        ...


class Folder:
    """A local folder and its direct subfolders. Only regular files are seen; links to them are followed.

    Raises BadFile for what the system refuses: loops of links, missing rights, devices, pipes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.label = str(root)
        self.choose = str(root / "{}")
        self._sizes: dict[str, int] | None = None

    def sizes(self) -> Mapping[str, int]:
        if self._sizes is None:
            self._sizes = dict(_walk(self.root, "", deeper=True))
        return self._sizes

    def size(self, name: str) -> int | None:
        try:
            status = os.stat(self.root / name)
        except (OSError, ValueError):  # ValueError: a null byte in the name
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str, start: int, count: int) -> bytes:
        return read_range(self.root / name, start, count)

    def each(self, work: Callable[[str], T], names: Iterable[str]) -> list[T]:
        return [work(name) for name in names]


def _walk(folder: Path, prefix: str, *, deeper: bool) -> Iterable[tuple[str, int]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise BadFile(f"cannot list {folder}: {error.strerror}") from None
    if len(entries) > _MOST_FILES:
        raise BadFile(f"{folder} holds more than {_MOST_FILES} files")
    for entry in entries:
        try:
            status = entry.stat()
        except OSError:  # a broken link or a loop of links: no file to read
            continue
        if stat.S_ISREG(status.st_mode):
            yield prefix + entry.name, status.st_size
        elif deeper and entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", deeper=False)


def read_range(path: Path, start: int, count: int) -> bytes:
    """A piece of a regular file; pipes and devices, which might never end, are refused."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadFile(f"{path} is not a regular file", hint="name a file")
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            pieces, missing = [], count
            while missing and (piece := file.read(missing)):
                pieces.append(piece)
                missing -= len(piece)
            return b"".join(pieces)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise unreadable(path, error) from None


def file_size(files: Files, name: str) -> int:
    """The size of a file that must be there. Raises BadFile where it is not."""
    size = files.size(name)
    if size is None:
        raise BadFile(f"{files.label} has no file {name}")
    return size


def read_whole(files: Files, name: str, largest_bytes: int) -> bytes:
    """A whole small file. Raises BadFile where it is missing or larger than ``largest_bytes``."""
    size = file_size(files, name)
    if size > largest_bytes:
        raise BadFile(f"{name} has {size} bytes; gpufit reads at most {largest_bytes}")
    return files.read(name, 0, largest_bytes + 1)
