"""docs/accuracy.md: what the published figures say of the estimates, written by the program itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gpufit.render.validate_text import percent, worst_rows
from gpufit.units import format_gib

if TYPE_CHECKING:
    from gpufit.accuracy.summary import Summary
    from gpufit.accuracy.validate import Comparison, Validation

_INTRODUCTION = """# How right the estimates are

Everything on this page is written by `python docs/accuracy_page.py` from the tables of published figures that
ship with gpufit (`src/gpufit/accuracy/published.csv`, and for [training](#training) `published_training.csv`).
`gpufit validate FILE.csv` makes the same comparison with your own rows.

Errors are (estimated − measured) / measured. *In range* is the share of rows whose measured value lies between
the low and the high end that gpufit states; *width* is the median distance of these ends, as a share of the
measured value.
"""

_TERMS = """
## Where the numbers come from

Weights, caches, tables, logits and kernels' buffers are counted from the source of the libraries at the version
that a row names (`gpufit/memory/versions.py` lists the changes and their
files). A row that names its torch alone is taken to have run the last transformers release before the next
torch. Slack is played through a simulation of PyTorch's allocator: the weights as they are loaded, the prompt layer by
layer, the growth of the cache; and again and again where a row says that the allocator's cache is in its figure, each
time with the last result still held, as benchmark loops do. Two things are measured and not derived,
each with its range: the driver's context by GPU generation and torch release (`gpufit/memory/runtime.py`; the
A100's were read from optimum-benchmark and optimum-gptq, so these sources' device-wide figures are not blind), and
the driver's own part of a card. Ranges were widened where rows fell outside, so *in range* is not blind either. No
constant was read from the Qwen tables, but which logits old libraries keep between steps was checked on some of
their rows. **Held out** was fitcheck (another card, library and author than the rest): nothing was read from it while
slack was derived from optimum-benchmark, and its reserved figures came nearer. For AutoAWQ, exllama, GPTQ-for-LLaMa and
gpt-fast the sources of their time were read (`gpufit/accuracy/engines/`). No figure here was measured on a GPU of
ours, and nothing is verified on CUDA beyond these rows.
"""

_KNOWN = """
## What we get wrong, and why

Every row that is estimated more than 5 % too low belongs to one of these.

- **Layers spread over several cards** (Qwen tables, 57B and 72B): the published figure is the sum of each
  card's own peak. Where the copies of long prompts' logits lie is not derived; only the range covers them, and
  some rows lie below the weights alone, so that their meter is in doubt.
- **GPTQ tables that name no kernel** (Qwen1.5 4B, 7B, 14B at one token): exllama v2's scratch takes up to 1 GB, v1's a
  tenth of it, and the difference is just that. Both occur among the checkpoints of one table; v1 is the likely value,
  v2 the high end.
- **Quantized models on torch 2.1.0+cu118** hold 0.9 GB more outside torch's pool than plain ones, to within some
  MB for bitsandbytes, GPTQ and AWQ, two models, all batches. The table of driver contexts has this figure. Most
  likely all kernels are loaded at once: these loaders ask `torch.cuda.is_available()`, which initializes the driver
  before torch asks it for lazy loading. torch 2.1.1 on another machine does not show it, so it is not proved.
- **Mixtral under AutoAWQ on two cards**: 2.1 GB low at every length. Unexplained; the other models that AutoAWQ fuses
  are met.
- **gpt-fast at 32,768 positions and more**: keys and values repeated for every query head lie in two pools; the
  figures look as if each were held twice again. The high end counts that, the likely value does not.
- **vLLM, memory outside torch**: two logs print 2 and 4 GB, and say themselves that another process or rank is in it.
  CUDA graphs take what the model and the batch sizes make of them: a wide range. Which rank prints an activation peak
  is not in the log: one row (+641 %) is from a rank without logits, the low end.
- **vLLM, weights**: Llama-3.1-405B-Instruct-FP8 leaves its attention in 16 bits, which the name of the format does
  not say (its own config.json does); Qwen3-32B-AWQ ran on a fork for gfx906 that keeps more; both are low.
- **bert-base on a TITAN RTX, torch 1.4**: all kernels at once, before lazy loading; a context that nobody measured,
  hence a wide range.
- **fitcheck on a T4**: how the cache was filled is not in the row, and with it neither the slack nor the prompt's
  temporaries.
- **Checkpoints whose longest context differs from the catalog's entry**: old libraries kept rotary tables of
  that length in every layer. Give the exact configurations with `--configs`.
- **bitsandbytes FP4, version 0.41**: 1 to 3 % low; the rests of its segments are counted in part.

## If your machine says something else

1. Compare like with like: `allocated`, `reserved` and `process` are three figures (torch's
   `max_memory_allocated`, `max_memory_reserved`, and nvidia-smi). The estimate has all three.
2. Put your figure into a CSV file with the columns `architecture, metric, measured_bytes, batch, prompt_tokens,
   new_tokens, engine_version, attention, gpu` and run `gpufit validate yours.csv --worst 1`: the breakdown
   shows the term to doubt.
3. `gpufit replay` runs the real modelling code without weights and shows which tensors live at the peak.
"""


def render_page(
    validation: Validation,
    citations: Mapping[str, str],
    *,
    plot: str,
    training: Sequence[str] = (),
    matrix: Sequence[str] = (),
) -> str:
    """The page as Markdown; ``plot`` is the picture's path beside it.

    ``training`` is the section on training, ``matrix`` the one on the replay.
    """
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
        *matrix,
        "## The fifteen worst rows",
        "",
        "| row | model | format | work | metric | measured | estimated | error |",
        "|---|---|---|---|---|---:|---:|---:|",
        *(_row(comparison) for comparison in worst_rows(validation, 15)),
        _KNOWN.rstrip() + "\n",
        *training,
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
