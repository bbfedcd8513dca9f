"""Small text files that the kernel shows: /sys, /proc. The root is an argument, so that tests bring their own."""

from __future__ import annotations

import os
import re

from gpufit.records import record

_DIGITS = re.compile(r"([0-9]+)")
_LONGEST_BYTES = 1 << 16


@record
class SystemFiles:
    """Reads below ``root``. What was read is kept in ``seen``, where a report wants to show it."""

    root: str = "/"
    seen: dict[str, str] | None = None

    def text(self, path: str) -> str | None:
        """The stripped contents of a file of at most 64 KiB; None where it is missing or refuses."""
        try:
            with open(os.path.join(self.root, path.lstrip("/")), "rb") as file:
                text = file.read(_LONGEST_BYTES).decode("utf-8", "replace").strip()
        except OSError:
            return None
        if self.seen is not None:
            self.seen[path] = text
        return text

    def number(self, path: str) -> int | None:
        """A file that holds one decimal number; None for anything else."""
        text = self.text(path)
        return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 20 else None

    def fields(self, path: str, separator: str | None = None) -> dict[str, str]:
        """A file of lines ``key value``, ``key: value`` or ``KEY=value``; empty where there is none."""
        pairs = ((key.strip(), value.strip()) for key, value in _split(self.text(path) or "", separator))
        return {key: value for key, value in pairs if key}

    def names(self, folder: str) -> tuple[str, ...]:
        """What lies in a folder, numbers in their order (card2 before card10); empty where there is none."""
        try:
            return tuple(sorted(os.listdir(os.path.join(self.root, folder.lstrip("/"))), key=_natural))
        except OSError:
            return ()

    def whole(self, path: str) -> bytes:
        """A file of any size; empty where there is none."""
        try:
            with open(os.path.join(self.root, path.lstrip("/")), "rb") as file:
                return file.read()
        except OSError:
            return b""


def _split(text: str, separator: str | None) -> list[tuple[str, str]]:
    parts = (line.partition(separator or " ") for line in text.splitlines())
    return [(key, value) for key, _, value in parts]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name) if part]
