"""YAML of a catalog -> entries."""

from __future__ import annotations

import atheris
from harness import fuzz

with atheris.instrument_imports(include=["gpufit"]):
    from gpufit.sources.catalog_file import compile_models

ENTRY = b"""models:
  tiny:
    hub: ada/tiny
    aliases: [t]
    task: causal-lm
    family: Llama
    parameters: 100
    dtype: bf16
    context: 128
    config: {model_type: llama, hidden_size: 64}
"""


def parse(data: bytes) -> None:
    if data[:1] < b"\x80":
        compile_models(data[1:])
        return
    choose = atheris.FuzzedDataProvider(data[1:])
    lines = bytearray(ENTRY)
    for _ in range(choose.ConsumeIntInRange(1, 8)):  # an entry with a few pieces replaced
        at = choose.ConsumeIntInRange(0, len(lines))
        lines[at : at + choose.ConsumeIntInRange(0, 12)] = choose.ConsumeBytes(choose.ConsumeIntInRange(0, 24))
    compile_models(bytes(lines))


if __name__ == "__main__":
    fuzz(parse)
