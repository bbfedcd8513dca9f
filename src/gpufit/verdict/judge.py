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


def judge_floor(least_bytes: int, budget_bytes: int) -> Verdict:
    """A lower bound can prove that something does not fit, and nothing else.

    >>> judge_floor(5, 4), judge_floor(3, 4)
    ('no', 'unknown')
    """
    return "no" if least_bytes > budget_bytes else "unknown"
