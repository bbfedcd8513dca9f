"""The sizes and settings of CUDA's caching allocator.

Constants from PyTorch 2.13, c10/core/AllocatorConfig.h; functions from c10/cuda/CUDACachingAllocator.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpufit.errors import UsageError

MIN_BLOCK_BYTES = 512  # kMinBlockSize
SMALL_BYTES = 1 << 20  # kSmallSize: the largest request of the small pool
SMALL_SEGMENT_BYTES = 2 << 20  # kSmallBuffer
LARGE_SEGMENT_BYTES = 20 << 20  # large_segment_size
MIN_LARGE_BYTES = 10 << 20  # kMinLargeAlloc: from here a request gets a segment of its own
ROUND_LARGE_BYTES = 2 << 20  # kRoundLarge


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorOptions:
    """``PYTORCH_ALLOC_CONF`` and ``set_per_process_memory_fraction``.

    ``limit_bytes`` is what the device, or the fraction set on it, can give: without it nothing ever runs out and, as
    in torch, garbage is never collected.
    """

    expandable_segments: bool = False
    max_split_bytes: int | None = None
    max_non_split_rounding_bytes: int = LARGE_SEGMENT_BYTES
    garbage_collection_threshold: float = 0.0
    roundup_power2_divisions: int = 0
    limit_bytes: int | None = None


def parse_allocator_options(text: str, *, limit_bytes: int | None = None) -> AllocatorOptions:
    """Read the text of ``PYTORCH_ALLOC_CONF``; options that do not change sizes are passed over.

    >>> parse_allocator_options("expandable_segments:True,max_split_size_mb:128").max_split_bytes
    134217728

    Raises UsageError for an option that gpufit does not simulate, and for a value torch would refuse.
    """
    options: dict[str, bool | int | float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition(":")
        try:
            match name:
                case "expandable_segments":
                    options[name] = {"true": True, "false": False}[value.strip().lower()]
                case "max_split_size_mb":
                    if int(value) <= LARGE_SEGMENT_BYTES >> 20:  # parseMaxSplitSize: "too small"
                        raise ValueError
                    options["max_split_bytes"] = int(value) << 20
                case "max_non_split_rounding_mb":
                    options["max_non_split_rounding_bytes"] = int(value) << 20
                case "garbage_collection_threshold":
                    if not 0 < float(value) < 1:
                        raise ValueError
                    options[name] = float(value)
                case "roundup_power2_divisions":
                    if int(value) & (int(value) - 1) or int(value) < 0:
                        raise ValueError
                    options[name] = int(value)
                case "pinned_use_background_threads" | "pinned_use_cuda_host_register" | "release_lock_on_cudamalloc":
                    pass  # host memory and locking
                case _:
                    raise UsageError(f"allocator option {name[:40]!r} is not simulated")
        except (ValueError, KeyError) as problem:
            raise UsageError(f"allocator option {item[:60]!r} has a wrong value") from problem
    return AllocatorOptions(limit_bytes=limit_bytes, **options)  # type: ignore[arg-type]


def round_request(size_bytes: int, divisions: int = 0) -> int:
    """What a request becomes: the next multiple of 512, or the next division between two powers of two.

    >>> round_request(0), round_request(513), round_request(1200 << 10, divisions=4) >> 10
    (512, 1024, 1280)
    """
    if size_bytes < MIN_BLOCK_BYTES:  # round_size
        return MIN_BLOCK_BYTES
    if divisions > 1 and size_bytes > MIN_BLOCK_BYTES * divisions and size_bytes & (size_bytes - 1):
        step = (1 << (size_bytes.bit_length() - 1)) // divisions  # roundup_power2_next_division
        return -(-size_bytes // step) * step
    return -(-size_bytes // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES


def segment_bytes(rounded_bytes: int) -> int:
    """The size of the new segment that a rounded request opens (get_allocation_size).

    >>> [segment_bytes(size << 20) >> 20 for size in (1, 2, 9, 10, 33)]
    [2, 20, 20, 10, 34]
    """
    if rounded_bytes <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if rounded_bytes < MIN_LARGE_BYTES:
        return LARGE_SEGMENT_BYTES
    return -(-rounded_bytes // ROUND_LARGE_BYTES) * ROUND_LARGE_BYTES
