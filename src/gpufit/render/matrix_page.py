"""The section of docs/accuracy.md that holds closed forms beside replays, and what no GPU has confirmed."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.accuracy.matrix import MatrixRow, MatrixSummary, summarize

BOUNDS = ("deepseek_v4",)
"""Forms that are upper bounds (``Phase.exact`` is False)."""

_PHASES = ("encode", "prefill", "decode", "forward", "backward", "step")

_UNVERIFIED = """
### What no GPU of ours has confirmed

No GPU was at hand: nowhere here is a `max_memory_allocated` or `max_memory_reserved` that this project measured on
CUDA, and every figure of a replay is unverified there. The replay runs on tensors without data and takes CUDA's
decisions from the source of PyTorch 2.13: which attention kernel runs (`sdp_utils.cpp`, `attention.cpp`), the fused
softmax and dropout, what grouped products allocate, the allocator's rounding, pools and splits
(`CUDACachingAllocator.cpp`), cuBLAS' workspace by generation (`CUDABlas.cpp`). bitsandbytes' temporaries are those of
its Python source at 0.50.2. Not simulated at all: scratch inside kernels (sorting, top-k, flash attention's backward),
per-group pointers of the fused bf16 grouped product, the row count at which bitsandbytes' 4-bit product stops being
fused on small matrices, NCCL, and CUDA graphs.

What was checked against an independent meter: with real tensors on the CPU the tracker agrees with torch.profiler, to
the byte in inference and within 0.1 % in training, for two models at least of every kind and for bitsandbytes' int8 and
nf4 layers (`tests/replay/test_against_cpu.py`, `test_kinds_against_cpu.py`). Two causes of a difference are known. A
Python number in a product is wrapped in 20 bytes that no operator returns; on CUDA it is a kernel's argument. And under
any dispatch mode autograd sums gradients out of place: a replayed step of Mamba or Jamba shows 2.8 % more than the same
step unwatched, one with tied embeddings up to 4 %; without the tracker the difference is gone.
"""


def render_matrix(rows: Sequence[MatrixRow], missing: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Lines of Markdown: sums by size and phase, a row for every form, and what does not replay.

    ``missing`` holds size, model, dtype and reason.
    """
    if not rows:
        return []
    exact = [row for row in rows if row.form not in BOUNDS]
    versions = sorted({(row.transformers, row.torch) for row in rows})
    lines = [
        "## Closed forms against the replay",
        "",
        "`python benchmarks/replay_matrix.py` runs transformers' own code on tensors without data and holds the closed",
        "forms against it, on the bytes above the weights; `docs/replay_matrix.csv` has every cell. Run with "
        + ", ".join(f"transformers {library} and torch {torch}" for library, torch in versions)
        + ".",
        "",
        *_table("part", _parts(exact)),
        "",
        *_table("form", [s for form in sorted({r.form for r in rows}) if (s := _of(form, rows))]),
    ]
    if any(row.form in BOUNDS for row in rows):
        lines += ["", f"Upper bounds, left out of the sums: {', '.join(BOUNDS)}. Its layers differ and the widest kind",
                  "is taken for all; in decode its cache is counted with the most tokens that can wait."]  # fmt: skip
    if missing:
        lines += ["", "### What does not replay", "", "| model | dtype | reason |", "|---|---|---|"]
        lines += [f"| {model} | {dtype} | {reason} |" for _, model, dtype, reason in missing]
    return [*lines, _UNVERIFIED]


def render_training_matrix(rows: Sequence[MatrixRow]) -> list[str]:
    """Lines of Markdown: training's closed forms beside replays of a whole step."""
    if not rows:
        return []
    return [
        "### Training steps",
        "",
        "`python benchmarks/training_matrix.py` does the same with a training step, forward and backward, on the bytes",
        "above weights and adapters; `docs/training_matrix.csv` has every cell. Shrunken models train with SGD, which",
        "keeps no states that would dilute a difference, full-size ones with AdamW, whose states and step count. A",
        "replay runs under a dispatch mode, where autograd writes sums of gradients anew; so do the forms here.",
        "Autocast has no replay: tensors without data have no such mode. Real steps on a CPU are held against the",
        "forms in `tests/memory/training/test_real_steps.py`.",
        "",
        *_table("part", _parts(rows)),
        "",
        *_table("form", [s for form in sorted({r.form for r in rows}) if (s := _of(form, rows))]),
    ]


def _parts(rows: Sequence[MatrixRow]) -> list[MatrixSummary]:
    groups = [("all", rows)]
    groups += [(size, [r for r in rows if r.case.size == size]) for size in sorted({r.case.size for r in rows})]
    groups += [(phase, [r for r in rows if r.phase == phase]) for phase in _PHASES]
    works = sorted({r.case.work for r in rows} - {"inference"})
    groups += [(work, [r for r in rows if r.case.work == work]) for work in works]
    groups += [(dtype, [r for r in rows if r.case.dtype == dtype]) for dtype in ("bf16", "fp16", "fp32")]
    groups += [(name, [r for r in rows if r.case.attention == name]) for name in ("sdpa", "eager")]
    return [summary for name, group in groups if (summary := summarize(name, group))]


def _of(form: str, rows: Sequence[MatrixRow]) -> MatrixSummary | None:
    return summarize(form, [row for row in rows if row.form == form])


def _table(heading: str, summaries: Sequence[MatrixSummary]) -> list[str]:
    return [
        f"| {heading} | models | cells | median | worst | where |",
        "|---|---:|---:|---:|---:|---|",
        *(
            f"| {s.name} | {s.models} | {s.rows} | {s.median:.3%} | {s.worst:.2%} | {_where(s.worst_row)} |"
            for s in summaries
        ),
    ]


def _where(row: MatrixRow) -> str:
    c = row.case
    if c.work == "inference":
        return f"{c.model}, {c.dtype}, {c.attention}, batch {c.batch}, {c.prompt} + {c.new}, {row.phase}"
    return f"{c.model}, {c.work}, {c.dtype}, {c.attention}, batch {c.batch} of {c.prompt}, {row.phase}"
