"""CUDA's caching allocator as plain arithmetic: requests in, ``memory_allocated`` and ``memory_reserved`` out.

Mirrors PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp (the function is named at each step) on one stream, with the
constants of c10/core/AllocatorConfig.h. Addresses are made up: segments lie in the order they were created.
"""

from __future__ import annotations

from bisect import insort

from gpufit.replay.allocator_options import (
    LARGE_SEGMENT_BYTES,
    MIN_BLOCK_BYTES,
    SMALL_BYTES,
    AllocatorOptions,
    round_request,
    segment_bytes,
)
from gpufit.replay.blocks import Block, Pool, by_address

_ADDRESS_SPACE_BYTES = LARGE_SEGMENT_BYTES << 22  # an expandable segment reserves addresses without end, page-aligned


class CachingAllocator:
    """The allocator of one device and one stream; ``allocate`` returns None where CUDA would be out of memory.

    >>> allocator = CachingAllocator()
    >>> block = allocator.allocate(3 << 20)
    >>> allocator.allocated_bytes >> 20, allocator.reserved_bytes >> 20
    (3, 20)
    >>> allocator.free(block)
    >>> allocator.allocated_bytes, allocator.reserved_bytes >> 20
    (0, 20)
    """

    def __init__(self, options: AllocatorOptions | None = None) -> None:
        self.options = options or AllocatorOptions()
        self.allocated_bytes = self.reserved_bytes = self.requested_bytes = 0
        self.peak_allocated_bytes = self.peak_reserved_bytes = self.peak_requested_bytes = 0
        self.retries = 0  # num_alloc_retries
        self._small, self._large = Pool(small=True), Pool(small=False)
        self._next_address = 0
        self._max_split = self.options.max_split_bytes or 1 << 62
        self._expandable = self.options.expandable_segments
        self._plain = not self._expandable and self.options.max_split_bytes is None  # nothing but the best fit counts

    def allocate(self, size_bytes: int) -> Block | None:
        """Serve one request (malloc); None when even giving back every cached segment does not make room."""
        size = round_request(size_bytes, self.options.roundup_power2_divisions)
        pool = self._small if size <= SMALL_BYTES else self._large
        block = pool.take_best_fit(size) if self._plain else self._reuse(pool, size)
        if block is None:
            self._collect_garbage()
            block = self._open(pool, size)
            if block is None and self._release_oversize(pool, size):
                block = self._open(pool, size)
            if block is None:
                self.retries += 1
                self._release_all()
                block = self._open(pool, size)
            if block is None:
                return None
        if self._should_split(block, size):  # alloc_found_block: the front is taken, the rest stays free
            pool.add(block.split(size, mapped=True))
        block.free, block.requested = False, size_bytes
        self.allocated_bytes += block.size
        self.requested_bytes += size_bytes
        if self.allocated_bytes > self.peak_allocated_bytes:
            self.peak_allocated_bytes = self.allocated_bytes
        if self.requested_bytes > self.peak_requested_bytes:
            self.peak_requested_bytes = self.requested_bytes
        return block

    def free(self, block: Block) -> None:
        """Give a block back to its pool, joined with its free neighbours (free_block, try_merge_blocks)."""
        if block.free:
            raise ValueError("this block is free already")
        self.allocated_bytes -= block.size
        self.requested_bytes -= block.requested
        block.free = True
        block.pool.add(self._merge(block))

    def empty_cache(self) -> None:
        """torch.cuda.empty_cache()."""
        self._release_all()

    def reset_peaks(self) -> None:
        """torch.cuda.reset_peak_memory_stats()."""
        self.peak_allocated_bytes = self.allocated_bytes
        self.peak_reserved_bytes = self.reserved_bytes
        self.peak_requested_bytes = self.requested_bytes

    def _reuse(self, pool: Pool, size: int) -> Block | None:
        """get_free_block, where options decide beyond the best fit."""
        pool.age += 1
        block = pool.best_fit(size)
        if block is None:
            return None
        if self._expandable:  # best fit by the size it can grow to
            candidates = pool.from_size(size)
            next(candidates)  # the block itself
            for other in candidates:
                if other.growable_bytes >= block.growable_bytes:
                    break
                block = other
        if size < self._max_split <= block.size:
            return None
        if size >= self._max_split and block.size >= size + self.options.max_non_split_rounding_bytes:
            return None
        pool.remove(block)
        return block

    def _should_split(self, block: Block, size: int) -> bool:
        rest = block.size - size
        if block.pool.small or self._expandable:
            return rest >= MIN_BLOCK_BYTES
        return size < self._max_split and rest > SMALL_BYTES

    def _grow(self, size: int) -> bool:
        """Take bytes from the device, if it has them."""
        limit = self.options.limit_bytes
        if limit is not None and self.reserved_bytes + size > limit:
            return False
        self.reserved_bytes += size
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)
        return True

    def _addresses(self, size: int) -> int:
        address = self._next_address
        self._next_address += size
        return address

    def _open(self, pool: Pool, size: int) -> Block | None:
        """alloc_block: a new segment, or more pages of an expandable one."""
        if self.options.expandable_segments:
            return self._expand(pool, size)
        new_bytes = segment_bytes(size)
        return Block(pool, self._addresses(new_bytes), new_bytes) if self._grow(new_bytes) else None

    def _expand(self, pool: Pool, size: int) -> Block | None:
        """try_allocate_expandable_block."""
        block = self._find_expandable(pool, size)
        if not block.mapped and not self._map(block, min(block.size, size)):
            return None
        while block.size < size:
            unmapped = block.following
            assert unmapped is not None  # _find_expandable saw the room
            block_bytes = block.size
            if not self._map(unmapped, min(size - block_bytes, unmapped.size)):
                return None
            block = unmapped  # merging keeps the mapped newcomer, as torch does
        pool.remove(block)
        return block

    def _find_expandable(self, pool: Pool, size: int) -> Block:
        """find_expandable_block: the first unmapped span with room, and the free block just before it."""
        for unmapped in pool.unmapped:
            before = unmapped.previous
            start = before if before is not None and before.free else unmapped
            room, block = 0, start
            while block is not None and block.free and room < size:
                room, block = room + block.size, block.following  # type: ignore[assignment]
            if room >= size:
                return start
        fresh = Block(pool, self._addresses(_ADDRESS_SPACE_BYTES), _ADDRESS_SPACE_BYTES, mapped=False)
        insort(pool.unmapped, fresh, key=by_address)
        return fresh

    def _map(self, block: Block, size: int) -> bool:
        """map_block: whole pages from the block's start."""
        pool = block.pool
        mapped = min(-(-size // pool.page_bytes) * pool.page_bytes, block.size)
        if not self._grow(mapped):
            return False
        pool.unmapped.remove(block)
        block.mapped = True
        if mapped < block.size:
            insort(pool.unmapped, block.split(mapped, mapped=False), key=by_address)
        pool.add(self._merge(block))
        return True

    def _unmap(self, block: Block) -> None:
        """unmap_block: the whole pages inside a free block go back to the device."""
        pool = block.pool
        first = -(-block.address // pool.page_bytes) * pool.page_bytes
        last = (block.address + block.size) // pool.page_bytes * pool.page_bytes
        if first >= last:
            return
        pool.remove(block)
        if first > block.address:
            head, block = block, block.split(first - block.address, mapped=True)
            pool.add(head)
        if block.address + block.size > last:
            pool.add(block.split(last - first, mapped=True))
        block.mapped = False
        self.reserved_bytes -= block.size
        insort(pool.unmapped, self._merge(block), key=by_address)

    def _merge(self, block: Block) -> Block:
        """Join a free block with its free neighbours of the same kind; the block itself survives, as in torch."""
        for other in (block.previous, block.following):
            if other is None or not other.free or other.mapped != block.mapped:
                continue
            if other.mapped:
                other.pool.remove(other)
            else:
                other.pool.unmapped.remove(other)
            if other is block.previous:
                block.address, block.previous = other.address, other.previous
                if block.previous is not None:
                    block.previous.following = block
            else:
                block.following = other.following
                if block.following is not None:
                    block.following.previous = block
            block.size += other.size
        return block

    def _release(self, block: Block) -> int:
        """release_block: a whole segment goes back to the device."""
        block.pool.remove(block)
        self.reserved_bytes -= block.size
        return block.size

    def _release_all(self) -> None:
        """release_cached_blocks: every unsplit free segment, every whole free page."""
        for pool in (self._large, self._small):
            for block in pool.blocks():
                if self.options.expandable_segments:
                    self._unmap(block)
                elif block.whole:
                    self._release(block)

    def _release_oversize(self, pool: Pool, size: int) -> bool:
        """release_available_cached_blocks: with max_split_size set, give back just enough oversize segments."""
        if self.options.max_split_bytes is None or self.options.expandable_segments:
            return False
        wanted = max(size, self._max_split)
        single = next(pool.from_size(wanted), None)
        if single is not None:
            self._release(single)
            return True
        released = 0
        for block in reversed(pool.blocks()):
            if released >= wanted or block.size < self._max_split:
                break
            released += self._release(block)
        return released >= wanted

    def _collect_garbage(self) -> None:
        """garbage_collect_cached_blocks: past the threshold, unsplit large segments of more than average age go."""
        limit, threshold = self.options.limit_bytes, self.options.garbage_collection_threshold
        if limit is None or threshold <= 0 or self.reserved_bytes <= int(threshold * limit):
            return
        target, reclaimed = self.reserved_bytes - int(threshold * limit), 0
        ages = {b: self._large.age - b.born for b in self._large.blocks() if b.whole}
        while ages and reclaimed < target:
            mean_age = sum(ages.values()) / len(ages)
            for block in [b for b, age in ages.items() if age >= mean_age]:
                reclaimed += self._release(block)
                del ages[block]
