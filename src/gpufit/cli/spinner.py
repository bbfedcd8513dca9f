"""What is being waited for, on standard error and on a terminal alone: one line that turns and then is gone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import threading

_FRAMES, _PLAIN_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_FRAME_SECONDS = 0.08
_WIDEST = 100
_ERASE = "\r\x1b[2K"


class Spinner:
    """``with Spinner() as say:`` gives a function that takes a text, or None where nobody would see it.

    Nothing is drawn, and no thread started, before the first text: most answers come before there is one to wait for.
    """

    def __init__(self, stream: TextIO | None = None, *, terminal: str | None = None) -> None:
        """``terminal`` is the kind of terminal (``TERM``), which may be too dumb to erase a line."""
        self._stream = sys.stderr if stream is None else stream
        self._dumb = terminal == "dumb"
        self._text = ""
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Callable[[str], None] | None:
        seen = self._stream is not None and self._stream.isatty() and not self._dumb
        return self._say if seen else None

    def __exit__(self, *error: object) -> None:
        if self._thread is None or self._stop is None:
            return
        self._stop.set()
        self._thread.join()
        self._stream.write(_ERASE)
        self._stream.flush()

    def _say(self, text: str) -> None:
        self._text = text[:_WIDEST]
        if self._thread is not None:
            return
        import threading

        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turn, args=(self._stop,), name="spinner", daemon=True)
        self._thread.start()

    def _turn(self, stop: threading.Event) -> None:
        encoding = (self._stream.encoding or "ascii").lower()
        frames = _FRAMES if encoding.startswith("utf") else _PLAIN_FRAMES
        turn = 0
        while True:
            text = f"{frames[turn % len(frames)]} {self._text}"
            self._stream.write(_ERASE + text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
            turn += 1
            if stop.wait(_FRAME_SECONDS):
                return
