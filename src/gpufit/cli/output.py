"""Writing an answer: lines for people, one JSON object for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from gpufit.render.text import Screen, make_screen


def screen() -> Screen:
    """How standard output wants to be drawn on."""
    return make_screen(sys.stdout, os.environ, encoding=sys.stdout.encoding)


def write_lines(lines: Iterable[str]) -> None:
    """Print lines to standard output in one write; what the encoding cannot show becomes a question mark."""
    text = "\n".join(lines) + "\n"
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))


def write_json(record: object) -> None:
    """Print one JSON object to standard output."""
    import json

    sys.stdout.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
