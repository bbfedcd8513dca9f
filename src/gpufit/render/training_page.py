"""The section of docs/accuracy.md on training: the published figures, by source and by what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from gpufit.accuracy.summary import summarize
from gpufit.accuracy.training.explained import explain
from gpufit.render.validate_text import percent, worst_rows
from gpufit.units import format_gib

if TYPE_CHECKING:
    from gpufit.accuracy.summary import Summary
    from gpufit.accuracy.validate import Comparison, Validation

FAR = 0.10
KINDS: dict[str, tuple[str, ...]] = {
    "allocated": ("torch_max_allocated",),
    "after loading": ("resident_after_load", "weights_only"),
    "gradients": ("gradients",),
    "optimizer states": ("optimizer_states",),
    "peaks of phases": ("peak_forward", "peak_backward", "peak_optimizer"),
    "reserved": ("torch_max_reserved",),
    "process or device": ("nvml_process", "nvidia-smi", "nvml_device_used"),
    "driver's context": ("cuda_context",),
    "meter not named": ("unknown",),
}
_CACHES = KINDS["reserved"] + KINDS["process or device"]

_INTRODUCTION = """## Training

The same from `src/gpufit/accuracy/published_training.csv`: of the figures found, every row that is refused, every
allocated peak, every figure of what is resident, of gradients and of optimizer states, and a sample of the others for
each source. [training.md](training.md) says how training is counted and what was looked at while it was written.
"""
_HEAD = (
    "rows | covered | median | 95 % | worst over | worst under | in range | width |",
    "---:|---:|---:|---:|---:|---:|---:|---:|",
)


def render_training(validation: Validation, citations: Mapping[str, str]) -> list[str]:
    """Lines of Markdown: errors by what was measured and by source, the refusals, and every row that is far off."""
    kinds = [
        summarize(name, [c for c in validation.comparisons if c.row.metric in metrics])
        for name, metrics in KINDS.items()
    ]
    total = validation.total
    return [
        _INTRODUCTION,
        f"| measured | {_HEAD[0]}", f"|---|{_HEAD[1]}",
        *(_line(kind) for kind in kinds if kind.rows), "",
        f"| source | {_HEAD[0]}", f"|---|{_HEAD[1]}",
        *(_line(summary) for summary in (*validation.sources, total)), "",
        *(f"- **{name}**: {citations[name]}" for name in (s.name for s in validation.sources)), "",
        f"Refused are {total.refused} rows:", "",
        *(f"- {count}: {reason}" for reason, count in total.refusals), "",
        *_far_rows(validation),
    ]  # fmt: skip


def _far_rows(validation: Validation) -> list[str]:
    """Every row that is more than 10 % off, grouped by its cause."""
    far = [c for c in worst_rows(validation, len(validation.comparisons)) if abs(c.error or 0) > FAR]
    by_cause = sorted(((_cause(c), c) for c in far), key=lambda pair: pair[0])
    lines = [f"### The {len(far)} rows of training that are more than 10 % off", ""]
    for cause, group in groupby(by_cause, key=lambda pair: pair[0]):
        members = [c for _, c in group]
        lines += [f"**{cause[:1].upper()}{cause[1:]}** ({len(members)})", "",
                  "| row | model | work | metric | measured | estimated | error | in range |",
                  "|---|---|---|---|---:|---:|---:|---|", *(_row(c) for c in members), ""]  # fmt: skip
    return lines


def _cause(c: Comparison) -> str:
    return explain(c.row.id, inside=c.inside, caches=c.row.metric in _CACHES)


def _line(s: Summary) -> str:
    over = percent(s.worst_over.error, 1) if s.worst_over else "-"
    under = percent(s.worst_under.error, 1) if s.worst_under else "-"
    inside = percent(s.inside / s.covered, 0) if s.covered else "-"
    return (
        f"| {s.name} | {s.rows} | {s.covered} | {percent(s.median_error)} | {percent(s.p95_error)} "
        f"| {over} | {under} | {inside} | {percent(s.median_width, 1)} |"
    )


def _row(c: Comparison) -> str:
    row, work = c.row, c.row.training_row
    assert c.predicted is not None  # only covered rows have an error
    assert work is not None  # every row of this table is of training
    cards = f", {work.gpus} GPUs" if (work.gpus or 1) > 1 else ""
    return (
        f"| {row.id} | {row.architecture.rpartition('/')[2]} | {work.method}, {work.micro_batch} × "
        f"{work.sequence_length}{cards} | {row.metric} | {format_gib(row.measured_bytes or 0)} "
        f"| {format_gib(c.predicted.likely_bytes)} | {percent(c.error, 1)} | {'yes' if c.inside else 'no'} |"
    )
