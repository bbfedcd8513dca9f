"""A quantity with doubt: low, likely and high bytes."""

from __future__ import annotations

from gpufit.records import record


@record(kw_only=False)
class Range:
    """Three byte counts with ``low <= likely <= high``. Exact quantities have all three equal.

    >>> Range.exact(5) + Range(1, 2, 3)
    Range(low_bytes=6, likely_bytes=7, high_bytes=8)
    """

    low_bytes: int
    likely_bytes: int
    high_bytes: int

    @classmethod
    def exact(cls, size_bytes: int) -> Range:
        """A quantity without doubt."""
        return cls(size_bytes, size_bytes, size_bytes)

    def __add__(self, other: Range) -> Range:
        return Range(
            self.low_bytes + other.low_bytes,
            self.likely_bytes + other.likely_bytes,
            self.high_bytes + other.high_bytes,
        )

    def to_dict(self) -> dict[str, int]:
        """The JSON form."""
        return {"low_bytes": self.low_bytes, "likely_bytes": self.likely_bytes, "high_bytes": self.high_bytes}


ZERO = Range(0, 0, 0)
