"""The list as a JSON-ready dictionary."""

from __future__ import annotations

from collections.abc import Iterable

from gpufit.records import as_dict
from gpufit.render.check_json import SCHEMA
from gpufit.verdict.listing import Listed


def list_to_dict(listed: Iterable[Listed]) -> dict[str, object]:
    """Everything ``gpufit list`` knows; the fit's fields are null where no device was asked about."""
    rows = tuple(listed)
    context = next((row.option.device.driver_context for row in rows if row.option), None)
    return {
        "schema": SCHEMA,
        "ok": True,
        "models": [_row(row) for row in rows],
        "driver_context": as_dict(context) if context is not None else None,
    }


def _row(row: Listed) -> dict[str, object]:
    option = row.option
    return {
        "name": row.entry.name,
        "hub_id": row.entry.hub_id,
        "family": row.entry.family,
        "task": row.entry.task,
        "parameters": row.entry.parameters,
        "verdict": option.verdict if option else None,
        "dtype": option.workload.dtype if option else None,
        "quant": option.workload.quant if option else None,
        "context_tokens": option.workload.context_tokens if option else None,
        "process_bytes": option.process.likely_bytes if option else None,
        "process_low_bytes": option.process.low_bytes if option else None,
        "process_high_bytes": option.process.high_bytes if option else None,
        "budget_bytes": option.budget_bytes if option else None,
        "headroom_bytes": option.headroom_bytes if option else None,
        "longest_context_tokens": row.longest_context_tokens,
        "weights_bytes": row.weights_bytes,
    }
