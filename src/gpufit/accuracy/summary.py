"""What a set of comparisons amounts to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpufit.records import record

if TYPE_CHECKING:
    from gpufit.accuracy.validate import Comparison


@record
class Summary:
    """Errors are fractions of the measured value; None where no row was covered. ``refusals`` are (reason, rows)."""

    name: str
    rows: int
    covered: int
    refusals: tuple[tuple[str, int], ...]
    median_error: float | None
    p95_error: float | None
    worst_over: Comparison | None
    worst_under: Comparison | None
    inside: int
    median_width: float | None

    @property
    def refused(self) -> int:
        """Rows without a prediction."""
        return self.rows - self.covered


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of the values do not exceed; the median takes the middle of two.

    >>> quantile([1, 2, 3, 4], 0.5), quantile([3, 1, 2], 0.95), quantile([], 0.5)
    (2.5, 3, None)
    """
    if not values:
        return None
    ordered = sorted(values)
    count = len(ordered)
    if share == 0.5:
        return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return ordered[min(count - 1, max(0, -int(-share * count // 1) - 1))]


def summarize(name: str, comparisons: Sequence[Comparison]) -> Summary:
    """The figures for one source, or for all."""
    covered = [c for c in comparisons if c.predicted is not None]
    errors = [(c.error, c) for c in covered if c.error is not None]
    over = max(errors, key=lambda pair: pair[0], default=None)
    under = min(errors, key=lambda pair: pair[0], default=None)
    widths = [
        (c.predicted.high_bytes - c.predicted.low_bytes) / c.row.measured_bytes
        for c in covered if c.predicted and c.row.measured_bytes
    ]  # fmt: skip
    sizes = [abs(error) for error, _ in errors]
    return Summary(
        name=name, rows=len(comparisons), covered=len(covered),
        refusals=tuple(Counter(c.reason for c in comparisons if c.predicted is None).most_common()),
        median_error=quantile(sizes, 0.5), p95_error=quantile(sizes, 0.95),
        worst_over=over[1] if over and over[0] > 0 else None,
        worst_under=under[1] if under and under[0] < 0 else None,
        inside=sum(c.inside for c in covered), median_width=quantile(widths, 0.5),
    )  # fmt: skip
