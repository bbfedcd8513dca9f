"""What the caching allocator reserves beyond what is allocated."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.ranges import Range
from gpufit.memory.workload import Workload
from gpufit.units import MIB

SMALL_SEGMENT_BYTES = 2 * MIB  # kSmallBuffer, c10/cuda/CUDACachingAllocator
OWN_SEGMENT_BYTES = 10 * MIB  # kMinLargeAlloc: from here on a request has a segment of its own, in steps of 2 MiB
SEGMENT_STEP_BYTES = 2 * MIB  # kRoundLarge
LARGE_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer: requests from 1 to 10 MiB share such segments


def estimate_slack(architecture: Architecture, workload: Workload, cache_bytes: int, activation_bytes: int) -> Range:
    """Reserved minus allocated, as a range.

    Low: one open segment of the small pool. A dynamic cache adds to that: each step writes every layer's keys and
    values anew, one token longer, and the block it leaves is too small for the next step, so what the cache grew by
    stays reserved once (likely) and up to three times (high) as blocks of unlike sizes pile up. The high end also
    allows the prefill's temporaries not to be reused by the decode steps.
    All of it is elastic: before CUDA runs out the allocator gives its cached segments back (release_cached_blocks),
    so a card that is full runs with less. Playing the requests one by one (``gpufit.accuracy.growth``) shows far more
    than three times the growth where a layer's block passes 10 MiB, on a card with room for it.
    Source: published pairs of max_memory_allocated and max_memory_reserved on an A100 and a T4 (torch 2.1 to 2.10)
    show 0.6 to 3 times the growth; a simulation of the allocator replaces this range where it was run.
    """
    return slack_of(cache_growth(architecture, workload, cache_bytes), activation_bytes)


def cache_growth(architecture: Architecture, workload: Workload, cache_bytes: int) -> int:
    """Bytes that decoding adds to the cache that the prefill leaves."""
    if not architecture.cache or workload.new_tokens <= 1:
        return 0
    return max(0, cache_bytes - count_cache(architecture, workload, after_prefill=True))


def slack_of(grown: int, activation_bytes: int) -> Range:
    """The range of ``estimate_slack`` for a cache that grows by so many bytes.

    >>> slack_of(0, 0).likely_bytes // MIB
    22
    """
    likely = SMALL_SEGMENT_BYTES + LARGE_SEGMENT_BYTES + grown
    return Range(SMALL_SEGMENT_BYTES, likely, likely + 2 * grown + LARGE_SEGMENT_BYTES + activation_bytes // 2)


def outgrown_segments(architecture: Architecture, workload: Workload) -> int:
    """What a growing cache leaves reserved, at most, on a card with room for it, beyond ``estimate_slack``.

    A layer's keys above 10 MiB have a segment of their own, in steps of 2 MiB. Each time they outgrow a step, the
    segments of that step are too small for any layer's keys or values and stay cached. They are given back before CUDA
    runs out (release_cached_blocks), so they decide no verdict; nvidia-smi shows them nevertheless.

    Llama-2-7B, 3,840 tokens and 256 more: a layer's keys grow from 30 to 32 MiB, so 64 segments of 30 MiB are left.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> outgrown_segments(llama, Workload(prompt_tokens=3840, new_tokens=256)) // MIB
    1920
    """
    if workload.new_tokens < 2:
        return 0
    element = DTYPE_BYTES.get(workload.kv_dtype or workload.dtype, 2)
    left = 0
    for layers in architecture.cache:
        if layers.kind not in ("full", "sliding"):
            continue
        last = workload.context_tokens - 1
        if layers.window_tokens:
            last = min(last, layers.window_tokens)
        for width in (layers.key_dim, layers.value_dim):
            token = workload.batch * layers.kv_heads * width * element
            first = -(-max(OWN_SEGMENT_BYTES, workload.prompt_tokens * token) // SEGMENT_STEP_BYTES)
            end = max(first, -(-last * token // SEGMENT_STEP_BYTES))
            left += layers.layers * SEGMENT_STEP_BYTES * (first + end - 1) * (end - first) // 2
    return left
