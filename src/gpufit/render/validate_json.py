"""A Validation as the dictionary that ``--json`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpufit.accuracy.summary import Summary
    from gpufit.accuracy.validate import Comparison, Validation


def validation_to_dict(validation: Validation) -> dict[str, Any]:
    """``rows`` in the file's order, ``summary`` of all, and ``sources``; errors are fractions of the measured value."""
    return {
        "schema": 1,
        "ok": True,
        "rows": [_row(comparison) for comparison in validation.comparisons],
        "summary": _summary(validation.total),
        "sources": [_summary(source) for source in validation.sources],
    }


def _row(comparison: Comparison) -> dict[str, Any]:
    row, predicted = comparison.row, comparison.predicted
    return {
        "id": row.id,
        "source": row.source,
        "metric": row.metric,
        "measured_bytes": row.measured_bytes,
        "low_bytes": predicted.low_bytes if predicted else None,
        "likely_bytes": predicted.likely_bytes if predicted else None,
        "high_bytes": predicted.high_bytes if predicted else None,
        "status": "covered" if predicted else "refused",
        "reason": comparison.reason,
        "error": comparison.error,
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "rows": summary.rows,
        "covered": summary.covered,
        "refused": summary.refused,
        "refusals": [{"reason": reason, "rows": rows} for reason, rows in summary.refusals],
        "median_error": summary.median_error,
        "p95_error": summary.p95_error,
        "worst_over": _worst(summary.worst_over),
        "worst_under": _worst(summary.worst_under),
        "inside_share": summary.inside / summary.covered if summary.covered else None,
        "median_width": summary.median_width,
    }


def _worst(comparison: Comparison | None) -> dict[str, Any] | None:
    return {"id": comparison.row.id, "error": comparison.error} if comparison else None
