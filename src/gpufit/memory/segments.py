"""What the caching allocator counts as allocated though nobody asked for it: rests of segments that are not split.

A request of 10 MiB or more gets a segment rounded up to 2 MiB. If at most 1 MiB is left the block is not split, and
``max_memory_allocated`` counts all of it; more than that becomes a free piece that a smaller tensor may fill.
Source: PyTorch 2.1 to 2.13, c10/cuda/CUDACachingAllocator.cpp, get_allocation_size and should_split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.memory.weights import round_allocation, weigh_groups
from gpufit.memory.workload import Quantization
from gpufit.units import MIB

OWN_SEGMENT_BYTES = 10 * MIB  # kMinLargeAlloc
SEGMENT_STEP_BYTES = 2 * MIB  # kRoundLarge
SHARED_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer
SMALL_BYTES = MIB  # kSmallSize: requests up to it live in the small pool; a rest above it is split off


def unsplit_rests(tensors: Iterable[tuple[int, int]]) -> int:
    """Bytes counted beyond the tensors' own, given (bytes, how many) in the order of loading.

    The free pieces are kept by size with their number, so that the cost is that of the distinct sizes.

    >>> unsplit_rests([(21 * MIB, 3)]), unsplit_rests([(20 * MIB, 3)])
    (3145728, 0)
    """
    free: Counter[int] = Counter()
    counted = 0
    for size_bytes, count in tensors:
        size = round_allocation(size_bytes)
        if size <= SMALL_BYTES:
            continue
        left = count
        while left:
            piece = min((s for s, n in free.items() if n and s >= size), default=0)
            if piece:
                used = min(left, free[piece])
                free[piece] -= used
            else:
                piece = -(-size // SEGMENT_STEP_BYTES) * SEGMENT_STEP_BYTES if size >= OWN_SEGMENT_BYTES else 0
                if not piece:  # several share a segment
                    piece = SHARED_SEGMENT_BYTES
                    used = min(left, max(1, -(-left * size // SHARED_SEGMENT_BYTES)))
                else:
                    used = left
            left -= used
            rest = piece - size
            if rest > SMALL_BYTES:
                free[rest] += used
            else:
                counted += used * rest
    return counted


@lru_cache(maxsize=1024)
def weight_rests(architecture: Architecture, dtype: str, quant: Quantization) -> int:
    """Rests beside the weights when each tensor is moved to the device by itself."""
    return unsplit_rests(_tensors(architecture, dtype, quant))


def _tensors(architecture: Architecture, dtype: str, quant: Quantization) -> Iterable[tuple[int, int]]:
    for found in weigh_groups(architecture, dtype, quant):
        if found.quantized_copies:
            parts = MATRIX_PARTS[quant](*found.matrix)
            matrices = found.quantized_bytes // sum(parts.values())
            yield from ((part, matrices) for part in parts.values())
        kept = found.group.copies - found.quantized_copies
        if kept:
            yield found.kept_bytes // kept, kept
