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

_TRAINED_HEAD = """
With `--train` steps of the Trainer run, in fp32 with eager attention and dropout as on a card (a mask of one byte): the
second step's phases, when there are optimizer states. Under a tracker autograd adds up a tied weight's gradients in a
new tensor, and the estimate here counts that one too."""
_INFERENCE = ("load", "encode", "prefill", "decode")
_TRAINING = ("load", "forward", "backward", "step")


def render_processor(rows: Sequence[ProcessorRow]) -> list[str]:
    """Lines of Markdown, one row a model and format."""
    models = dict.fromkeys((row.kind, row.model, row.format, row.work) for row in rows)
    run: list[str] = []
    trained: list[str] = []
    for key in models:
        stages = {row.stage: row for row in rows if (row.kind, row.model, row.format, row.work) == key}
        peak = max(row.measured_bytes for row in stages.values())
        into, names = (trained, _TRAINING) if "step" in stages else (run, _INFERENCE)
        named = (stages.get(name) for name in names)
        cells = ("" if row is None else f"{row.error:+.2%}" for row in named)
        into.append(f"| {' | '.join(key)} | {peak / 2**20:,.1f} MiB | {' | '.join(cells)} |")
    worst = max(rows, key=lambda row: abs(row.error))
    return [
        *_HEAD.format(versions="; ".join(dict.fromkeys(row.versions for row in rows))).splitlines(),
        "",
        "| kind | model | format | work | largest peak | after loading | encode | prefill | decode |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
        *run,
        *_TRAINED_HEAD.splitlines(),
        "",
        "| kind | model | training | work | largest peak | after loading | forward | backward | step |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
        *trained,
        "",
        f"The largest difference is {worst.error:+.2%} ({worst.model}, {worst.format}, {worst.stage}).",
        "",
    ]
