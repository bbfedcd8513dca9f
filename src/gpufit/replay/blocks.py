"""Blocks and the ordered pools they lie in while free (Block, BlockPool in c10/cuda/CUDACachingAllocator.cpp)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from gpufit.replay.allocator_options import LARGE_SEGMENT_BYTES, SMALL_SEGMENT_BYTES


class Block:
    """A span of a segment: taken, free, or (in an expandable segment) not mapped yet."""

    __slots__ = ("address", "born", "following", "free", "mapped", "pool", "previous", "requested", "size")

    def __init__(self, pool: Pool, address: int, size: int, *, mapped: bool = True) -> None:
        self.pool, self.address, self.size, self.mapped = pool, address, size, mapped
        self.previous: Block | None = None
        self.following: Block | None = None
        self.free = True
        self.requested = 0
        self.born = 0  # the pool's age when it last became free (gc_count_base)

    @property
    def growable_bytes(self) -> int:
        """What a block of an expandable segment can grow to (expandable_size in get_free_block)."""
        after = self.following
        return self.size + (after.size if after is not None and not after.mapped else 0)

    @property
    def whole(self) -> bool:
        """Whether the block is its entire segment (not ``is_split``)."""
        return self.previous is None and self.following is None

    def split(self, size: int, *, mapped: bool) -> Block:
        """Keep the first ``size`` bytes; return the rest, linked in behind."""
        rest = Block(self.pool, self.address + size, self.size - size, mapped=mapped)
        rest.previous, rest.following = self, self.following
        if self.following is not None:
            self.following.previous = rest
        self.following, self.size = rest, size
        return rest


class Pool:
    """Free blocks ordered by size, then address (BlockPool, BlockComparatorSize)."""

    __slots__ = ("_order", "age", "page_bytes", "small", "unmapped")

    def __init__(self, *, small: bool) -> None:
        self.small = small
        self.page_bytes = SMALL_SEGMENT_BYTES if small else LARGE_SEGMENT_BYTES
        self.age = 0  # get_free_blocks_call_count
        self.unmapped: list[Block] = []  # by address
        self._order: list[tuple[int, int, Block]] = []  # no two lie at one address: blocks are never compared

    def add(self, block: Block) -> None:
        """Put a free block in order."""
        block.born = self.age
        insort(self._order, (block.size, block.address, block))

    def remove(self, block: Block) -> None:
        """Take a block out of the order."""
        del self._order[bisect_left(self._order, (block.size, block.address))]

    def best_fit(self, size_bytes: int) -> Block | None:
        """The smallest free block of at least that size, the lowest address of equals."""
        index = bisect_left(self._order, (size_bytes,))
        return self._order[index][2] if index < len(self._order) else None

    def take_best_fit(self, size_bytes: int) -> Block | None:
        """``best_fit``, taken out of the order (get_free_block without options)."""
        self.age += 1
        index = bisect_left(self._order, (size_bytes,))
        return self._order.pop(index)[2] if index < len(self._order) else None

    def from_size(self, size_bytes: int) -> Iterator[Block]:
        """Free blocks of at least that size, the best fit first."""
        for index in range(bisect_left(self._order, (size_bytes,)), len(self._order)):
            yield self._order[index][2]

    def blocks(self) -> list[Block]:
        """All free blocks, smallest first."""
        return [block for _, _, block in self._order]


def by_address(block: Block) -> int:
    """The order of unmapped spans (BlockComparatorAddress)."""
    return block.address
