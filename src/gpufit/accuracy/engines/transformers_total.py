"""A row's prediction: which of the estimate's totals its metric is."""

from __future__ import annotations

from gpufit.accuracy.cards import Card
from gpufit.accuracy.growth import filled_in_few_steps, play, play_of
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Refusal
from gpufit.memory.estimate import Estimate
from gpufit.memory.legacy import PRINTED_STEP_BYTES
from gpufit.memory.ranges import ZERO, Range
from gpufit.memory.runtime import driver_part
from gpufit.memory.slack import LARGE_SEGMENT_BYTES, SMALL_SEGMENT_BYTES
from gpufit.memory.versions import holds, parse_version

# "unknown" stands for tables that do not name their meter; their scripts print torch's peak of allocated memory.
PRINTED = Range(-PRINTED_STEP_BYTES, 0, PRINTED_STEP_BYTES)
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
    if row.metric == "cpu_tensors_peak":  # gpufit measure --device cpu
        return e.tensors
    if row.metric == "torch_max_reserved":
        return allocated + played_slack(row, e, card)
    if row.metric in ("nvml_process", "nvidia-smi"):
        return _plus(allocated + played_slack(row, e, card) + context, context, more)
    if row.metric == "nvml_device_used":
        return _plus(allocated + played_slack(row, e, card) + context + device, context + device, more)
    if row.metric == "torch_alloc_plus_external":  # allocated + (nvidia-smi of the device - reserved)
        whole = _plus(allocated + context + device, context + device, more)
        # nvidia-smi is sampled while torch's peak is not: the difference may come out as little as nothing
        return Range(allocated.low_bytes, whole.likely_bytes, whole.high_bytes)
    if row.metric == "weights_only":
        return Range.exact(e.weights.total_bytes)
    if row.metric == "resident_after_load":
        return e.resident + PRINTED
    if row.metric == "kv_cache":
        return Range.exact(e.kv_cache_bytes)
    if row.metric == "cuda_context":
        return context
    if row.metric == "activation_peak":
        return e.activations
    if row.metric == "torch_allocated_sampled_max":  # sampled between steps: what is resident then
        return e.resident + Range.exact(e.kv_cache_bytes) + e.workspace.bytes + PRINTED
    return Refusal(reason=f"the metric {row.metric[:40]!r} is not one that gpufit predicts")


def played_slack(row: Measurement, e: Estimate, card: Card) -> Range:
    """Reserved minus allocated, by playing the requests through the allocator; the closed range where that is too long.

    A row that says that the allocator's cache is in its figure was read after several runs, with the last result still
    held while the next one ran. What is not played (small temporaries, other kernels) may move it by an eighth.
    """
    often = "allocator cache" in row.notes
    work = play_of(e, often=often)
    if work is None:
        return e.slack
    filled_at_once = row.prompt_tokens is None
    if filled_at_once:  # the row states the full cache and not how it was filled: in few steps, most likely
        work = filled_in_few_steps(work)
    peaks = play(work)
    played = max(0, peaks.reserved_bytes - peaks.allocated_bytes)
    if card.total_bytes is not None:  # a full card makes the allocator give its cached segments back
        taken = driver_part(card.total_bytes, card.usable_bytes).likely_bytes + e.context.bytes.likely_bytes
        played = min(played, max(0, card.total_bytes - taken - e.allocated.likely_bytes))
    open_segments = SMALL_SEGMENT_BYTES + LARGE_SEGMENT_BYTES
    unknown = e.activations.high_bytes + e.kv_cache_bytes if filled_at_once else 0
    return Range(min(SMALL_SEGMENT_BYTES, played), played, played + played // 8 + 3 * open_segments + unknown)


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
