"""What the caching allocator reserves beyond what is allocated."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.ranges import Range
from gpufit.memory.workload import Workload
from gpufit.units import MIB

SMALL_SEGMENT_BYTES = 2 * MIB  # kSmallBuffer, c10/cuda/CUDACachingAllocator
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
