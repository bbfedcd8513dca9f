"""What a row gets: a prediction with its parts, or a refusal with its reason."""

from __future__ import annotations

from gpufit.memory.estimate import Estimate
from gpufit.memory.ranges import Range
from gpufit.records import record


@record
class Refusal:
    """A row that is not predicted, and why."""

    reason: str


@record(kw_only=False)
class Part:
    """A term of a prediction, with its formula in words."""

    name: str
    bytes: Range
    formula: str


@record
class Prediction:
    """The metric's range, and what stands behind it: an Estimate where the engine has one, else the terms by name."""

    range: Range
    estimate: Estimate | None = None
    parts: tuple[Part, ...] = ()


def sum_of(*parts: Part) -> Prediction:
    """A prediction that is the sum of its parts.

    >>> sum_of(Part("weights", Range.exact(5), "5"), Part("cache", Range(0, 1, 2), "1")).range.likely_bytes
    6
    """
    return Prediction(range=sum((part.bytes for part in parts), Range.exact(0)), parts=parts)
