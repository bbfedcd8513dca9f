"""A Validation as text: one line a source, the refusals, and the worst rows with what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpufit.memory.breakdown import break_down
from gpufit.render.text import table
from gpufit.units import format_gib

if TYPE_CHECKING:
    from gpufit.accuracy.summary import Summary
    from gpufit.accuracy.validate import Comparison, Validation
    from gpufit.render.text import Screen

_HEAD = ("source", "rows", "covered", "refused", "median", "95 %", "worst over", "worst under", "in range", "width")
_MOST_REASONS = 12


def render_validation(validation: Validation, screen: Screen, *, worst: int = 0) -> list[str]:
    """Lines for people. ``worst`` rows are shown with their breakdown, the largest error first."""
    rows = [_HEAD, *(_line(summary) for summary in (*validation.sources, validation.total))]
    lines = table(rows, right=range(1, len(_HEAD)))
    lines[0] = screen.paint(lines[0], "bold")
    lines[-1] = screen.paint(lines[-1], "bold")
    if validation.total.refusals:
        lines += ["", screen.paint("refused, and why", "bold")]
        reasons = validation.total.refusals
        lines += [f"  {count:>5}  {reason}" for reason, count in reasons[:_MOST_REASONS]]
        if len(reasons) > _MOST_REASONS:
            left = sum(count for _, count in reasons[_MOST_REASONS:])
            lines.append(f"  {left:>5}  for {len(reasons) - _MOST_REASONS} other reasons")
    for comparison in worst_rows(validation, worst):
        lines += ["", *_explain(comparison, screen)]
    return lines


def worst_rows(validation: Validation, count: int) -> list[Comparison]:
    """The covered rows with the largest errors."""
    covered = [c for c in validation.comparisons if c.error is not None]
    return sorted(covered, key=lambda c: -abs(c.error or 0))[: max(0, count)]


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction as a percentage; a dash for none.

    >>> percent(0.0123), percent(None)
    ('1.23 %', '-')
    """
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def _line(s: Summary) -> tuple[str, ...]:
    over, under = s.worst_over, s.worst_under
    return (
        s.name[:40], str(s.rows), str(s.covered), str(s.refused), percent(s.median_error), percent(s.p95_error),
        f"+{percent(over.error, 1)}" if over else "-", percent(under.error, 1) if under else "-",
        percent(s.inside / s.covered, 0) if s.covered else "-", percent(s.median_width, 1),
    )  # fmt: skip


def _explain(comparison: Comparison, screen: Screen) -> list[str]:
    row, predicted = comparison.row, comparison.predicted
    assert predicted is not None  # only covered rows come here
    lines = [
        screen.paint(f"{row.id}: {row.architecture} {row.quant_method or 'none'}", "bold")
        + f", {_work(comparison)}, {row.engine_version or row.engine}",
        f"  {row.metric}: measured {format_gib(row.measured_bytes or 0)}, "
        f"estimated {format_gib(predicted.likely_bytes)} ({format_gib(predicted.low_bytes)} to "
        f"{format_gib(predicted.high_bytes)}), {percent(comparison.error)} off",
    ]
    if comparison.estimate is not None:
        parts = [(str(part.name), part.range, part.formula) for part in break_down(comparison.estimate)]
    else:
        parts = [(part.name, part.bytes, part.formula) for part in comparison.parts]
    width = max((len(name) for name, _, _ in parts), default=0)
    for name, size, formula in parts:
        first = formula.splitlines()[0] if formula else ""
        lines.append(f"  {name:<{width}}{format_gib(size.likely_bytes):>13}  {first}")
    return lines


def _work(comparison: Comparison) -> str:
    if comparison.estimate is not None:
        work = comparison.estimate.workload
        return f"batch {work.batch}, {work.prompt_tokens:,} + {work.new_tokens:,} tokens"
    row = comparison.row
    return f"batch {row.batch or 1}, {row.prompt_tokens or row.max_model_len or 0:,} + {row.new_tokens or 0:,} tokens"
