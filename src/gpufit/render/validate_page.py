"""docs/accuracy.md: what the published figures say of the estimates, written by the program itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpufit.render.validate_text import percent, worst_rows
from gpufit.units import format_gib

if TYPE_CHECKING:
    from gpufit.accuracy.summary import Summary
    from gpufit.accuracy.validate import Comparison, Validation

_INTRODUCTION = """# How right the estimates are

Everything on this page is written by `python docs/accuracy_page.py` from the table of published figures that
ships with gpufit (`src/gpufit/accuracy/published.csv`). `gpufit validate FILE.csv` makes the same comparison
with your own rows.

Errors are (estimated − measured) / measured. *In range* is the share of rows whose measured value lies between
the low and the high end that gpufit states; *width* is the median distance of these ends, as a share of the
measured value.
"""

_TERMS = """
## Where the numbers come from

Weights, caches, tables, logits and kernels' buffers are counted from the source of the libraries at the version
that a row names (`gpufit/memory/versions.py` lists the changes and their
files). A row that names its torch alone is taken to have run the last transformers release before the next
torch. Slack is played through a simulation of PyTorch's allocator. Two things are measured and not derived,
each with its range: the driver's context by GPU generation and torch release (`gpufit/memory/runtime.py`; the
A100's were read from optimum-benchmark and optimum-gptq, so these sources' device-wide figures are not blind), and
the driver's own part of a card. Ranges were widened where rows fell outside, so *in range* is not blind either. No
constant was read from the Qwen tables, but which logits old libraries keep between steps was checked on some of
their rows. No figure here was measured on a GPU of ours, and nothing is verified on CUDA beyond these rows.

The closed forms were held against the real modelling code, replayed on tensors without data
(`gpufit replay`; tests in `tests/memory/`): over the dense, mixture, encoder, encoder-decoder, state-space, hybrid and
picture forms the difference above the weights is 0.04 % in the median and 1.4 % at worst, but for DeepSeek-V4, LED
and DeBERTa v1, whose forms are bounds.
"""

_KNOWN = """
## What we get wrong, and why

- **Device-wide NVML figures of quantized 7B models, transformers 4.35.0.dev0** (optimum-benchmark, vicuna and
  Mistral) lie 1.0 to 1.3 GB above the estimate at every batch. The amount is about what the layers kept in 16 bits
  would take once more in fp32, with the scales of GPTQ and AWQ; yet 4.35.2's loaders choose fp16 by themselves, and the
  same formats under 4.35.2 are met. This is unexplained; only the high end counts it.
- **Layers spread over several cards** (Qwen tables, 57B and 72B): the published figure is the sum of each
  card's own peak. Where the copies of long prompts' logits lie is not derived; only the range covers them, and
  some rows lie below the weights alone, so that their meter is in doubt.
- **GPTQ tables that name no kernel**: exllama v2's scratch takes up to 1 GB, v1's a tenth of it. Both occur
  among the checkpoints of one table; v1 is the likely value, v2 the high end.
- **Checkpoints whose longest context differs from the catalog's entry**: old libraries kept rotary tables of
  that length in every layer. Give the exact configurations with `--configs`.
- **fitcheck on a T4**: how the cache was filled is not in the row, and with it neither the slack nor the prompt's
  temporaries.
- **bitsandbytes FP4, version 0.41**: 1 to 3 % low; the rests of its segments are counted in part.

## If your machine says something else

1. Compare like with like: `allocated`, `reserved` and `process` are three figures (torch's
   `max_memory_allocated`, `max_memory_reserved`, and nvidia-smi). The estimate has all three.
2. Put your figure into a CSV file with the columns `architecture, metric, measured_bytes, batch, prompt_tokens,
   new_tokens, engine_version, attention, gpu` and run `gpufit validate yours.csv --worst 1`: the breakdown
   shows the term to doubt.
3. `gpufit replay` runs the real modelling code without weights and shows which tensors live at the peak.
"""


def render_page(validation: Validation, citations: Mapping[str, str], *, plot: str) -> str:
    """The page as Markdown; ``plot`` is the picture's path beside it."""
    lines = [
        _INTRODUCTION,
        "| source | rows | covered | median | 95 % | worst over | worst under | in range | width |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(_line(summary) for summary in (*validation.sources, validation.total)),
        "",
        f"![estimated against measured]({plot})",
        "",
        *(f"- **{name}**: {citations[name]}" for name in (s.name for s in validation.sources) if name in citations),
        _TERMS,
        "## The fifteen worst rows",
        "",
        "| row | model | format | work | metric | measured | estimated | error |",
        "|---|---|---|---|---|---:|---:|---:|",
        *(_row(comparison) for comparison in worst_rows(validation, 15)),
        _KNOWN,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _line(s: Summary) -> str:
    over = percent(s.worst_over.error, 1) if s.worst_over else "-"
    under = percent(s.worst_under.error, 1) if s.worst_under else "-"
    inside = percent(s.inside / s.covered, 0) if s.covered else "-"
    return (
        f"| {s.name} | {s.rows} | {s.covered} | {percent(s.median_error)} | {percent(s.p95_error)} "
        f"| {over} | {under} | {inside} | {percent(s.median_width, 1)} |"
    )


def _row(c: Comparison) -> str:
    assert c.predicted is not None  # only covered rows have an error
    row = c.row
    work = f"batch {row.batch or 1}, {row.prompt_tokens or row.kv_tokens or 1} + {row.new_tokens or 0}"
    return (
        f"| {row.id} | {row.architecture} | {row.quant_method or 'none'} | {work} | {row.metric} "
        f"| {format_gib(row.measured_bytes or 0)} | {format_gib(c.predicted.likely_bytes)} | {percent(c.error, 1)} |"
    )
