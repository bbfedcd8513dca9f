"""fits, tight, no or unknown."""

from __future__ import annotations

from typing import Literal

from gpufit.memory.estimate import Estimate
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


def judge_estimate(estimate: Estimate, budget_bytes: int) -> Verdict:
    """Running and loading must both fit; the worse verdict holds."""
    verdicts = (judge(estimate.process, budget_bytes), judge(estimate.load_peak, budget_bytes))
    return "no" if "no" in verdicts else "tight" if "tight" in verdicts else "fits"


def safe_need(estimate: Estimate) -> int:
    """The bytes that must be within the budget for ``fits``: what the solver searches with."""
    return max(estimate.process.high_bytes, estimate.load_peak.high_bytes)


def likely_need(estimate: Estimate) -> int:
    """The bytes that must be within the budget for at least ``tight``."""
    return max(estimate.process.likely_bytes, estimate.load_peak.likely_bytes)
