"""fits, tight, no or unknown."""

from __future__ import annotations

from typing import Literal

from gpufit.memory.ranges import Range

Verdict = Literal["fits", "tight", "no", "unknown"]


def judge(need: Range, budget_bytes: int) -> Verdict:
    """Fits when even the high end does, tight when the likely value does, else no.

    >>> [judge(Range(1, 2, 3), budget) for budget in (3, 2, 1)]
    ['fits', 'tight', 'no']
    """
    if need.high_bytes <= budget_bytes:
        return "fits"
    return "tight" if need.likely_bytes <= budget_bytes else "no"
