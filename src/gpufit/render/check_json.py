"""One check as a JSON-ready dictionary. All sizes are ints and their keys end in ``_bytes``."""

from __future__ import annotations

from gpufit.devices.device import Device
from gpufit.memory.breakdown import Row
from gpufit.memory.split import CardShare
from gpufit.memory.workload import Workload
from gpufit.records import as_dict
from gpufit.verdict.advise import Option
from gpufit.verdict.check import Check, Subject

SCHEMA = 1


def check_to_dict(check: Check) -> dict[str, object]:
    """Everything ``gpufit check`` knows, in the shape of schema/gpufit.schema.json."""
    e = check.estimate
    return {
        "schema": SCHEMA,
        "ok": True,
        "model": model_to_dict(check.subject),
        "workload": workload_to_dict(check.workload),
        "device": device_to_dict(check.device),
        "verdict": check.verdict,
        "breakdown": [row_to_dict(row) for row in check.breakdown],
        "totals": {
            "allocated": check.share.allocated.to_dict(),
            "reserved": check.share.reserved.to_dict(),
            "process": check.asked.process.to_dict(),
        },
        "phase": e.phase.name,
        "load_peak_bytes": check.asked.load_peak.likely_bytes,
        "host_load_peak_bytes": e.host_load_peak.likely_bytes if e.host_load_peak else None,
        "host_load_peak": e.host_load_peak.to_dict() if e.host_load_peak else None,
        "elastic_slack_bytes": e.elastic_slack_bytes,
        "free_bytes": check.budget.free_bytes,
        "total_bytes": check.budget.total_bytes,
        "reserve_bytes": check.budget.reserve_bytes,
        "budget_bytes": check.budget.budget_bytes,
        "budget_source": check.budget.known_by,
        "headroom_bytes": check.asked.headroom_bytes,
        "longest_context_tokens": check.longest_context_tokens,
        "largest_batch": check.largest_batch,
        "recommendation": option_to_dict(check.recommendation) if check.recommendation else None,
        "alternatives": [option_to_dict(option) for option in check.alternatives],
        "weights_by_format": [{"format": name, "weights_bytes": size} for name, size in check.formats],
        "notes": list(check.notes),
        **({"cards": [card_to_dict(card) for card in check.share.cards]} if check.share.cards else {}),
        **({"runtime_plan": check.runtime_plan.to_dict()} if check.runtime_plan else {}),
        **({"recommended_plan": check.recommended_plan.to_dict()} if check.recommended_plan else {}),
    }


def model_to_dict(subject: Subject) -> dict[str, object]:
    """The model as it was asked for, and what it is."""
    architecture = subject.architecture
    return {
        "name": subject.name,
        "hub_id": subject.hub_id,
        "origin": subject.origin,
        "model_type": architecture.model_type,
        "task": architecture.task,
        "parameters": architecture.parameters,
        "max_context_tokens": architecture.max_context_tokens,
        "dtype": architecture.dtype,
    }


def row_to_dict(row: Row) -> dict[str, object]:
    """One line of the breakdown."""
    return {
        "name": row.name,
        "bytes": row.range.likely_bytes,
        "low_bytes": row.range.low_bytes,
        "high_bytes": row.range.high_bytes,
        "formula": row.formula,
        "source": row.source,
        **({} if row.known else {"known": False}),
    }


def card_to_dict(card: CardShare) -> dict[str, object]:
    """What one of several cards holds; ``breakdown`` and ``totals`` are those of the one that needs most."""
    return {
        "index": card.index,
        "blocks": card.blocks,
        "weights_bytes": card.weights_bytes,
        "kv_cache_bytes": card.kv_cache_bytes,
        "activations_bytes": card.activations.likely_bytes,
        "runtime_bytes": card.runtime.likely_bytes,
        "slack_bytes": card.slack.likely_bytes,
        "process": card.process.to_dict(),
        "load_peak_bytes": card.load_peak.likely_bytes,
    }


def workload_to_dict(workload: Workload) -> dict[str, object]:
    """The assumptions, all of them."""
    cache, attention = workload.kv_dtype or workload.dtype, str(workload.attention)
    if workload.runtime != "transformers":
        from gpufit.memory.serving import as_served

        served = as_served(workload)
        cache, attention = served.cache, served.attention
    return {
        "context_tokens": workload.context_tokens,
        "prompt_tokens": workload.prompt_tokens,
        "new_tokens": workload.new_tokens,
        "batch": workload.batch,
        "images": workload.images,
        "dtype": workload.dtype,
        "quant": workload.quant,
        "kv_dtype": cache,
        "attention": attention,
        "runtime": workload.runtime,
    }


def option_to_dict(option: Option) -> dict[str, object]:
    """A weighed change or recommendation."""
    return {
        "change": option.change,
        "verdict": option.verdict,
        "workload": workload_to_dict(option.workload),
        "device": option.device.name,
        "device_count": option.device.count,
        "process": option.process.to_dict(),
        "load_peak_bytes": option.load_peak.likely_bytes,
        "budget_bytes": option.budget_bytes,
        "headroom_bytes": option.headroom_bytes,
    }


def device_to_dict(device: Device) -> dict[str, object]:
    """What the verdict used of the device."""
    capability = device.compute_capability
    return {
        "name": device.name,
        "source": device.source,
        "count": device.count,
        "index": device.index,
        "uuid": device.uuid,
        "total_bytes": device.total_bytes,
        "free_bytes": device.free_bytes,
        "total_is_bound": device.total_is_bound,
        "vendor": device.vendor,
        "architecture": device.architecture,
        "compute_capability": f"{capability[0]}.{capability[1]}" if capability else None,
        "dtypes": list(device.dtypes) if device.dtypes is not None else None,
        "driver_context": as_dict(device.driver_context) if device.driver_context is not None else None,
        **({"others": [device_to_dict(other) for other in device.others]} if device.others else {}),
    }
