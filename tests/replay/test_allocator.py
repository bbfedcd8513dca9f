"""The allocator simulation keeps CUDA's rules and its own books."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufit.errors import UsageError
from gpufit.replay.allocator import CachingAllocator
from gpufit.replay.allocator_options import AllocatorOptions, parse_allocator_options
from gpufit.replay.blocks import Block

MIB = 1 << 20
SIZES = st.one_of(st.integers(1, 4096), st.integers(1, 3 * MIB), st.integers(MIB, 64 * MIB))
STEPS = st.lists(st.one_of(SIZES, st.floats(0, 0.999)), max_size=120)  # a size is a request, a fraction frees one
OPTIONS = st.builds(
    AllocatorOptions,
    expandable_segments=st.booleans(),
    max_split_bytes=st.sampled_from([None, 21 * MIB, 32 * MIB]),
    garbage_collection_threshold=st.sampled_from([0.0, 0.5]),
    roundup_power2_divisions=st.sampled_from([0, 4]),
    limit_bytes=st.sampled_from([None, 100 * MIB, 300 * MIB]),
)


def walk(allocator: CachingAllocator, steps: list[int | float]) -> tuple[list[Block], list[tuple[int, int]]]:
    """Run the steps; return what still lives and the meters after each step."""
    live: list[Block] = []
    meters = []
    for step in steps:
        if isinstance(step, int):
            block = allocator.allocate(step)
            if block is not None:
                live.append(block)
        elif live:
            allocator.free(live.pop(int(step * len(live))))
        meters.append((allocator.allocated_bytes, allocator.reserved_bytes))
    return live, meters


@given(STEPS, OPTIONS)
@settings(max_examples=150, deadline=None)
def test_requested_never_exceeds_allocated_nor_that_reserved_nor_that_the_limit(
    steps: list[int | float], options: AllocatorOptions
) -> None:
    allocator = CachingAllocator(options)
    live, _ = walk(allocator, steps)
    assert allocator.requested_bytes <= allocator.allocated_bytes <= allocator.reserved_bytes
    assert allocator.allocated_bytes == sum(block.size for block in live)
    assert allocator.peak_reserved_bytes <= (options.limit_bytes or allocator.peak_reserved_bytes)
    spans = sorted((block.address, block.address + block.size) for block in live)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@given(STEPS, OPTIONS)
@settings(max_examples=150, deadline=None)
def test_freeing_everything_and_emptying_the_cache_leaves_nothing(
    steps: list[int | float], options: AllocatorOptions
) -> None:
    allocator = CachingAllocator(options)
    live, _ = walk(allocator, steps)
    for block in live:
        allocator.free(block)
    assert (allocator.allocated_bytes, allocator.requested_bytes) == (0, 0)
    allocator.empty_cache()
    assert allocator.reserved_bytes == 0


@given(STEPS, OPTIONS)
@settings(max_examples=50, deadline=None)
def test_a_recorded_list_replays_alike(steps: list[int | float], options: AllocatorOptions) -> None:
    assert walk(CachingAllocator(options), steps)[1] == walk(CachingAllocator(options), steps)[1]


@pytest.mark.parametrize(
    ("request_bytes", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (11 * MIB, 12 * MIB, 12 * MIB),  # a rest of 1 MiB or less is not split off and counts as allocated
        (10 * MIB + 512, 10 * MIB + 512, 12 * MIB),  # more than 1 MiB is
    ],
)
def test_one_request_takes_what_the_source_says(request_bytes: int, allocated: int, reserved: int) -> None:
    allocator = CachingAllocator()
    allocator.allocate(request_bytes)
    assert (allocator.allocated_bytes, allocator.reserved_bytes) == (allocated, reserved)


def test_the_best_fit_is_reused_before_a_new_segment_is_opened() -> None:
    allocator = CachingAllocator()
    wide, slim = allocator.allocate(40 * MIB), allocator.allocate(30 * MIB)
    assert wide is not None
    assert slim is not None
    allocator.free(wide)
    allocator.free(slim)
    again = allocator.allocate(28 * MIB)
    assert again is not None
    assert again.address == slim.address
    assert allocator.reserved_bytes == 70 * MIB


def test_neighbours_join_when_freed() -> None:
    allocator = CachingAllocator()
    blocks = [allocator.allocate(5 * MIB) for _ in range(4)]
    for block in blocks:
        assert block is not None
        allocator.free(block)
    assert allocator.allocate(20 * MIB - 512) is not None
    assert allocator.reserved_bytes == 20 * MIB


def test_when_the_device_is_full_cached_segments_are_given_back_and_tried_again() -> None:
    allocator = CachingAllocator(AllocatorOptions(limit_bytes=100 * MIB))
    block = allocator.allocate(60 * MIB)
    assert block is not None
    allocator.free(block)
    assert allocator.allocate(80 * MIB) is not None
    assert (allocator.retries, allocator.reserved_bytes) == (1, 80 * MIB)
    assert allocator.allocate(30 * MIB) is None


def test_fragments_can_fill_a_device_that_has_room_unless_segments_expand() -> None:
    """A survivor of 2 MiB pins a 40 MiB segment: 40 + 70 is more than 102, while pages give 42 MiB back."""

    def serve(expandable: bool) -> bool:
        allocator = CachingAllocator(AllocatorOptions(limit_bytes=102 * MIB, expandable_segments=expandable))
        first, second = allocator.allocate(40 * MIB), allocator.allocate(40 * MIB)
        assert first is not None
        assert second is not None
        allocator.free(first)
        allocator.free(second)
        allocator.allocate(2 * MIB)
        return allocator.allocate(70 * MIB) is not None

    assert serve(expandable=True)
    assert not serve(expandable=False)


def test_an_oversize_block_is_not_split_for_a_small_request() -> None:
    allocator = CachingAllocator(AllocatorOptions(max_split_bytes=32 * MIB))
    block = allocator.allocate(64 * MIB)
    assert block is not None
    allocator.free(block)
    allocator.allocate(16 * MIB)
    assert allocator.reserved_bytes == 80 * MIB


def test_garbage_collection_gives_old_segments_back_above_its_threshold() -> None:
    def reserved(threshold: float) -> int:
        options = AllocatorOptions(limit_bytes=200 * MIB, garbage_collection_threshold=threshold)
        allocator = CachingAllocator(options)
        block = allocator.allocate(110 * MIB)
        assert block is not None
        allocator.free(block)
        small = [allocator.allocate(1024) for _ in range(4)]
        assert all(small)
        allocator.allocate(120 * MIB) if threshold else allocator.allocate(40 * MIB)
        return allocator.reserved_bytes

    assert reserved(0.5) == 122 * MIB
    assert reserved(0.0) == 112 * MIB


def test_a_hundred_thousand_events_leave_nothing_behind() -> None:
    chance = random.Random(0)
    sizes = [chance.choice((512, 40_000, 3 * MIB, 33 * MIB)) * chance.randint(1, 9) for _ in range(50_000)]
    allocator = CachingAllocator()
    live: list[Block] = []
    for size in sizes:
        block = allocator.allocate(size)
        assert block is not None
        live.append(block)
        if len(live) > 200:
            allocator.free(live.pop(chance.randrange(200)))
    for block in live:
        allocator.free(block)
    assert allocator.allocated_bytes == 0


@pytest.mark.parametrize("text", ["backend:cudaMallocAsync", "max_split_size_mb:20", "expandable_segments:maybe"])
def test_an_option_that_is_not_simulated_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_allocator_options(text)
