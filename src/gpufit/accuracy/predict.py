"""A row's prediction: which of the estimate's totals its metric is."""

from __future__ import annotations

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.work import Refusal
from gpufit.memory.estimate import Estimate
from gpufit.memory.ranges import ZERO, Range
from gpufit.memory.runtime import driver_part
from gpufit.memory.versions import holds, parse_version

# "unknown" stands for tables that do not name their meter; their scripts print torch's peak of allocated memory.
_ALLOCATED = ("torch_max_allocated", "unknown")


def predict(row: Measurement, estimate: Estimate, card: Card, cards: int) -> Range | Refusal:
    """Low, likely and high bytes of the row's metric, summed over ``cards`` where the layers are spread."""
    e = estimate
    more = cards - 1
    allocated = _plus(e.allocated, e.workspace.bytes, more) + _brought_back(e, more)
    context = e.context.bytes
    device = driver_part(card.total_bytes, card.usable_bytes) if _counts_driver_part(e) else ZERO
    if row.metric in _ALLOCATED:
        return allocated
    if row.metric == "torch_max_reserved":
        return allocated + e.slack
    if row.metric in ("nvml_process", "nvidia-smi"):
        return _plus(allocated + e.slack + context, context, more)
    if row.metric == "nvml_device_used":
        return _plus(allocated + e.slack + context + device, context + device, more)
    if row.metric == "torch_alloc_plus_external":  # allocated + (nvidia-smi of the device - reserved)
        return _plus(allocated + context + device, context + device, more)
    if row.metric == "weights_only":
        return Range.exact(e.weights.total_bytes)
    if row.metric == "resident_after_load":
        return e.resident
    if row.metric == "kv_cache":
        return Range.exact(e.kv_cache_bytes)
    if row.metric == "cuda_context":
        return context
    if row.metric == "activation_peak":
        return e.activations
    if row.metric == "torch_allocated_sampled_max":  # sampled between steps: what is resident then
        return e.resident + Range.exact(e.kv_cache_bytes) + e.workspace.bytes
    return Refusal(reason=f"the metric {row.metric[:40]!r} is not one that gpufit predicts")


def _brought_back(e: Estimate, more: int) -> Range:
    """Layers spread over cards: accelerate's hook copies the logits back to the first card, and each card has a peak of
    its own, at its own time. Their sum lies above one card's peak by at most the logits three times and the cache.

    Source: accelerate 0.24, hooks.py, AlignDevicesHook(io_same_device=True).
    """
    if not more or not e.architecture.generates:
        return ZERO
    w = e.workload
    whole = w.library_version is not None and holds("all logits", w.library_version, e.architecture.model_type)
    logits = 4 * w.batch * e.architecture.vocab_size * (w.prompt_tokens if whole else 1)
    return Range(-e.kv_cache_bytes, logits, 3 * logits + e.kv_cache_bytes + e.weights.total_bytes // 40)


def _counts_driver_part(e: Estimate) -> bool:
    """Drivers before 510 left their own part out of "used"; torch 1.x stands for them."""
    release = parse_version(e.workload.torch_version or "")
    return release is None or release >= (2,)


def _plus(base: Range, each: Range, times: int) -> Range:
    for _ in range(min(times, 1024)):
        base = base + each
    return base
