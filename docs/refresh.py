"""Rewrites the generated parts of the documentation: tables and terminal sessions. ``python docs/refresh.py``.

In README.md everything between ``<!-- table: NAME -->`` and ``<!-- end -->`` is a table made here, and every console
block that begins with ``$ gpufit`` holds what the command really prints at 80 columns. A test fails where they differ.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from pathlib import Path

import gpufit
from gpufit.errors import GpufitError
from gpufit.units import GIB, format_count

ROOT = Path(__file__).resolve().parents[1]
FIRST_CATALOG = (
    "bart-base", "bart-large", "distilbart-cnn-12-6", "t5-small", "t5-large", "t5-3b", "flan-t5-xl", "roberta-large",
    "gpt2", "gpt2-large", "deberta-v3-large", "opt-6.7b", "bloomz-7b1", "llama-2-7b",
)  # fmt: skip
FORMATS = (("fp32", "none"), ("fp16", "none"), ("fp16", "bnb-int8"), ("fp16", "bnb-nf4"))
CONTEXT = 1024
_SIGN = {"fits": "✓", "tight": "≈", "no": "✗"}


def first_catalog_table() -> str:
    """Weights and run peak of the first fourteen models in four formats, judged on 16 GB."""
    lines = ["| model | parameters | fp32 | fp16 | int8 | nf4 |", "|---|---:|---:|---:|---:|---:|"]
    for name in FIRST_CATALOG:
        cells = []
        longest = gpufit.architecture_of(name).max_context_tokens
        context = min(CONTEXT, longest or CONTEXT)
        for dtype, quant in FORMATS:
            found = gpufit.check(name, vram="16GB", context=context, dtype=dtype, quant=quant)
            weights, peak = found.estimate.weights.total_bytes, found.estimate.process.likely_bytes
            cells.append(f"{weights / GIB:.2f} → {peak / GIB:.2f} {_SIGN[found.verdict]}")
        count = format_count(gpufit.architecture_of(name).parameters)
        lines.append(f"| {name} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {"first catalog": first_catalog_table}


def run_command(command: str) -> str:
    """What ``gpufit ...`` prints at 80 columns without colour, standard error included.

    ``| head -n N`` is the one pipe that is understood.
    """
    from gpufit.cli.main import main

    command, _, lines = command.partition(" | head -n ")
    kept = dict(os.environ)
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        os.environ[name] = value
    os.environ.update({"COLUMNS": "80", "NO_COLOR": "1"})
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main(words[1:])
    except GpufitError as error:
        out.write(f"{error.message}\n")
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return "".join(out.getvalue().splitlines(keepends=True)[: int(lines) if lines else None])


def refresh(text: str) -> str:
    """The document with its tables and sessions made anew."""
    for name, make in TABLES.items():
        start, end = f"<!-- table: {name} -->", "<!-- end -->"
        if start in text:
            before, _, rest = text.partition(start)
            text = f"{before}{start}\n{make()}\n{end}{rest.partition(end)[2]}"
    return re.sub(r"```console\n\$ ([^\n]*gpufit [^\n]*)\n.*?```", _session, text, flags=re.DOTALL)


def _session(found: re.Match[str]) -> str:
    command = found[1]
    return f"```console\n$ {command}\n{run_command(command)}```"


def documents() -> list[Path]:
    """The files with generated parts."""
    return [ROOT / "README.md"]


if __name__ == "__main__":
    for path in documents():
        old = path.read_text(encoding="utf-8")
        new = refresh(old)
        path.write_text(new, encoding="utf-8")
        sys.stdout.write(f"{path.name}: {'refreshed' if new != old else 'up to date'}\n")
