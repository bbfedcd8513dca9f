"""The allocator's slack, by playing the workload's large allocations through a simulation of the allocator.

``check`` states slack as a range by closed form; here there is time to do better. What is played: the prefill's wide
temporaries layer by layer, the keys and values that it leaves, the logits, then every decode step with the cache
that it writes anew, one layer at a time (or, in older libraries, a whole second cache before the first dies).
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.versions import holds
from gpufit.memory.workload import Workload
from gpufit.records import record
from gpufit.replay.allocator import CachingAllocator
from gpufit.replay.blocks import Block

MOST_REQUESTS = 400_000  # a second or two; beyond it the closed range stands


@record(kw_only=False)
class Play:
    """Sizes in bytes: one layer's keys (and as much for the values) per token of the whole batch, and temporaries."""

    layers: int
    token_bytes: int
    prompt: int
    steps: int
    wide: tuple[int, ...]  # the prefill's temporaries in one layer
    logits: tuple[int, ...]  # after the last layer: as computed, and the fp32 copy
    two_caches: bool
    kept_logits: bool


@record(kw_only=False)
class Peaks:
    """What torch would report at the end."""

    allocated_bytes: int
    reserved_bytes: int


def play_of(architecture: Architecture, workload: Workload) -> Play | None:
    """What to play; None where the cache is not plain keys and values, or the run is too long."""
    kinds = {layers.kind for layers in architecture.cache}
    stack = architecture.stacks[0]
    if kinds - {"full", "sliding"} or not kinds or architecture.is_encoder_decoder or workload.kv_dtype == "int8":
        return None
    layers = sum(each.layers for each in architecture.cache)
    steps = max(0, workload.new_tokens - 1)
    if 4 * layers * (steps + 1) > MOST_REQUESTS:
        return None
    version, model = workload.library_version, architecture.model_type
    element, tokens = DTYPE_BYTES[workload.dtype], workload.batch * workload.prompt_tokens
    first = architecture.cache[0]
    whole = workload.all_logits or holds("all logits", version, model)
    kept = (tokens if whole else workload.batch) * architecture.vocab_size
    upcast = 4 if holds("fp32 logits", version, model) else 0
    hidden, width = tokens * stack.hidden * element, tokens * stack.mlp_width * element
    scores: tuple[int, ...] = ()
    if workload.attention == "eager" and stack.attention:
        square = workload.batch * stack.attention.heads * workload.prompt_tokens**2
        scores = (square * element, square * 4, square * element)
    return Play(
        layers, workload.batch * first.kv_heads * first.key_dim * element, workload.prompt_tokens, steps,
        (hidden, hidden, hidden, *scores, width, width, width),
        (kept * element, *((kept * upcast,) if upcast else ())),
        holds("two caches", version, model), holds("kept outputs", version, model),
    )  # fmt: skip


@lru_cache(maxsize=256)
def play(work: Play) -> Peaks:
    """Run the requests.

    >>> play(Play(2, 1 << 20, 4, 2, (), (), False, False))
    Peaks(allocated_bytes=30408704, reserved_bytes=62914560)
    """
    pool = CachingAllocator()

    def take(size: int) -> Block:
        block = pool.allocate(max(1, size))
        assert block is not None  # no limit is set
        return block

    cache: list[Block] = []
    stream = take(work.wide[0]) if work.wide else None
    for _ in range(work.layers):
        temporaries = [take(size) for size in work.wide[:3]]
        cache += [take(work.prompt * work.token_bytes), take(work.prompt * work.token_bytes)]
        temporaries += [take(size) for size in work.wide[3:]]
        for block in temporaries:
            pool.free(block)
    logits = [take(size) for size in work.logits]
    for block in logits[:-1]:
        pool.free(block)
    if stream is not None:
        pool.free(stream)
    left = logits[-1:]
    for step in range(1, work.steps + 1):
        size = (work.prompt + step) * work.token_bytes
        if not work.kept_logits:
            _release(pool, left)
        if work.two_caches:
            grown = [take(size) for _ in cache]
            _release(pool, cache)
            cache = grown
        else:
            for index, old in enumerate(cache):
                cache[index] = take(size)
                pool.free(old)
        _release(pool, left)
    return Peaks(pool.peak_allocated_bytes, pool.peak_reserved_bytes)


def _release(pool: CachingAllocator, blocks: list[Block]) -> None:
    for block in blocks:
        pool.free(block)
    blocks.clear()
