"""The section of docs/accuracy.md on real runs on a processor."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.accuracy.processor import ProcessorRow

_HEAD = """
## Real models on a processor

`gpufit measure MODEL --device cpu --random-weights` loads the real model with transformers' own loader (bitsandbytes'
own quantization included) and runs it; a tracker sums the tensors that live. No weights were downloaded for these
figures. Each is the peak of a stage, weights included, beside the estimate of the same tensors: no driver, no
allocator and no workspaces, which the processor does not have. Written by `python benchmarks/measure_cpu.py`
({versions}).
"""


def render_processor(rows: Sequence[ProcessorRow]) -> list[str]:
    """Lines of Markdown, one row a model and format."""
    models = dict.fromkeys((row.kind, row.model, row.format, row.work) for row in rows)
    lines = [
        *_HEAD.format(versions="; ".join(dict.fromkeys(row.versions for row in rows))).splitlines(),
        "",
        "| kind | model | format | work | largest peak | after loading | encode | prefill | decode |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for key in models:
        stages = {row.stage: row for row in rows if (row.kind, row.model, row.format, row.work) == key}
        peak = max(row.measured_bytes for row in stages.values())
        named = (stages.get(name) for name in ("load", "encode", "prefill", "decode"))
        cells = ("" if row is None else f"{row.error:+.2%}" for row in named)
        lines.append(f"| {' | '.join(key)} | {peak / 2**20:,.1f} MiB | {' | '.join(cells)} |")
    worst = max(rows, key=lambda row: abs(row.error))
    return [
        *lines,
        "",
        f"The largest difference is {worst.error:+.2%} ({worst.model}, {worst.format}, {worst.stage}).",
        "",
    ]
