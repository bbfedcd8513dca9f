"""An Explanation as a JSON-ready dictionary: the same facts as the text."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.memory.explanation import Explanation
from gpufit.render.check_json import SCHEMA, workload_to_dict


def explanation_to_dict(found: Explanation, commands: Sequence[str]) -> dict[str, object]:
    """Everything ``gpufit explain`` knows, in the shape of schema/gpufit.schema.json."""
    e = found.estimate
    architecture = e.architecture
    return {
        "schema": SCHEMA,
        "ok": True,
        "model": {
            "name": found.name,
            "hub_id": found.hub_id,
            "origin": found.origin,
            "model_type": architecture.model_type,
            "task": architecture.task,
            "parameters": architecture.parameters,
            "max_context_tokens": architecture.max_context_tokens,
            "dtype": architecture.dtype,
        },
        "workload": workload_to_dict(e.workload),
        "breakdown": [
            {
                "name": row.name,
                "bytes": row.range.likely_bytes,
                "low_bytes": row.range.low_bytes,
                "high_bytes": row.range.high_bytes,
                "formula": row.formula,
                "source": row.source,
                "keys": list(found.keys_of(row.name)),
            }
            for row in found.rows
        ],
        "process": e.process.to_dict(),
        "facts": [
            {"file": found.source, "key": fact.key, "value": fact.value, "rows": list(fact.rows)}
            for fact in found.facts
        ],
        "tensors": [
            {
                "role": part.role,
                "stored": part.stored,
                "why": part.why,
                "tensors": part.tensors,
                "parameters": part.parameters,
                "size_bytes": part.bytes,
            }
            for part in found.roles
        ],
        "cache_layers": [
            {
                "kind": part.kind,
                "layers": part.layers,
                "token_bytes": part.token_bytes,
                "window_tokens": part.window_tokens,
                "state_bytes": part.state_bytes,
                "size_bytes": part.bytes,
            }
            for part in found.cache
        ],
        "phases": [
            {
                "name": phase.name,
                "moment": phase.moment,
                "size_bytes": phase.bytes,
                "decisive": phase.decisive,
                "formula": phase.formula,
            }
            for phase in found.phases
        ],
        "commands": list(commands),
        "notes": list(found.notes),
    }
