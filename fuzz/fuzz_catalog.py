"""YAML of a catalog -> entries."""

from __future__ import annotations

import atheris
from harness import fuzz

with atheris.instrument_imports(include=["gpufit"]):
    from gpufit.sources.catalog_file import compile_models

ENTRY = """models:
  tiny:
    hub: ada/tiny
    aliases: [t, u]
    task: causal-lm
    family: Llama
    parameters: 100
    dtype: bf16
    context: 128
    notes: none
    config: {model_type: llama, hidden_size: 64, list: [1, 2]}
"""
PIECES = [
    "", " ", "  ", "\n", "\n  ", "\n    ", ": ", "- ", ", ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "!!set {a}",
    "!!python/name:os ", "!!binary x", "!x ", "~", "true", "1e9", ".nan", "-.inf", "0x1f", "0o7", "1_0", "'", '"',
    "|\n", ">\n", "---\n", "...\n", "%YAML 1.1\n", "? ", "\t", "#", "tiny", "models", "config", "2024-01-01",
    "12:30:45", "\x00", "\ufeff", "\U0001f600", "\x85", "\u2028", "9" * 30, "-1", "x" * 300, "parameters",
    "aliases: [tiny]", "[" * 40, "{a: " * 40,
]  # fmt: skip


def built(data: bytes) -> str:
    """A valid entry with a few stretches replaced by pieces of YAML, or nothing but such pieces."""
    choose = atheris.FuzzedDataProvider(data)
    text = ENTRY if choose.ConsumeIntInRange(0, 3) else ""
    for _ in range(choose.ConsumeIntInRange(1, 12)):
        at = choose.ConsumeIntInRange(0, len(text))
        piece = PIECES[choose.ConsumeIntInRange(0, len(PIECES) - 1)]
        text = text[:at] + piece + text[at + choose.ConsumeIntInRange(0, 8) :]
    return text


def parse(data: bytes) -> None:
    compile_models(data[1:] if data[:1] < b"\x40" else built(data[1:]).encode())


if __name__ == "__main__":
    fuzz(parse)
