"""What a plain decoder asks of the allocator, request by request: loading, prompts, and the growth of the cache.

The order and the sizes are those of transformers' Llama (4.31 to 4.45: modeling_llama.py, LlamaModel.forward and
LlamaDecoderLayer), which its kin follow. Blocks that live at once and the order in which they die decide what the
allocator must reserve; what is shorter than a request's rounding is left out.
"""

from __future__ import annotations

from gpufit.records import record
from gpufit.replay.allocator import CachingAllocator
from gpufit.replay.blocks import Block


@record
class Sizes:
    """A decoder in numbers; ``element`` bytes each, ``wide`` the MLP's width, ``scores`` whether attention is eager.

    ``dequantized`` says that a product unpacks its whole weight first, ``partial_sums`` how many of a product's output
    are held and added up (AWQ's split of the inner dimension). ``upcast`` adds an fp32 copy of the logits.
    """

    layers: int
    hidden: int
    queries: int
    keys: int
    heads: int
    wide: int
    gated: bool
    vocabulary: int
    batch: int
    prompt: int
    logit_rows: int
    element: int = 2
    scores: bool = False
    dequantized: bool = False
    partial_sums: int = 0
    upcast: bool = False
    two_caches: bool = False
    kept_logits: bool = False
    steps: int = 0


@record(kw_only=False)
class Load:
    """One tensor that stays: its bytes, and those of the copy that stood beside it while it was packed."""

    bytes: int
    beside_bytes: int = 0


class Device:
    """The allocator with names for taking and giving back."""

    def __init__(self) -> None:
        self.pool = CachingAllocator()

    def take(self, size: int) -> Block:
        """One block; no limit is set, so there always is one."""
        block = self.pool.allocate(max(1, size))
        assert block is not None
        return block

    def drop(self, *blocks: Block) -> None:
        """Give blocks back, in order."""
        for block in blocks:
            self.pool.free(block)


def load(device: Device, tensors: tuple[Load, ...], *, at_once: bool) -> None:
    """Bring the weights in. ``at_once``: one block for all of them first, which they then carve up.

    Source: transformers 4.50 modeling_utils.py, caching_allocator_warmup; before it accelerate gives cached segments
    back after every tensor (utils/modeling.py, set_module_tensor_to_device, 0.23 to 0.25).
    """
    if at_once:
        device.drop(device.take(sum(tensor.bytes for tensor in tensors)))
    for tensor in tensors:
        if tensor.beside_bytes:
            beside = device.take(tensor.beside_bytes)
            device.take(tensor.bytes)
            device.drop(beside)
        else:
            device.take(tensor.bytes)
    if not at_once:
        device.pool.empty_cache()


def prompt(device: Device, s: Sizes) -> tuple[list[Block], list[Block]]:
    """One forward pass over the prompt; the caches and the logits it leaves."""
    take, drop, e = device.take, device.drop, s.element
    rows = s.batch * s.prompt
    square = s.batch * s.heads * s.prompt * s.prompt
    mask = take(s.batch * s.prompt * s.prompt * e)
    stream, cache = take(rows * s.hidden * e), []
    for _ in range(s.layers):
        normed = _norm(device, s, rows)
        query, key, value = (_product(device, s, rows, out, s.hidden) for out in (s.queries, s.keys, s.keys))
        turned, kept = _rotate(device, rows * s.queries * e), _rotate(device, rows * s.keys * e)
        drop(query, key)
        cache += [kept, value]
        repeated = [take(rows * s.queries * e) for _ in range(2)] if s.keys != s.queries else []
        weights = _softmax(device, square, e) if s.scores else []
        mixed = take(rows * s.queries * e)
        joined = take(rows * s.queries * e)
        drop(mixed)
        out = _product(device, s, rows, s.hidden, s.queries)
        drop(joined, *weights, turned, normed, *repeated)
        stream = _add(device, stream, out, rows * s.hidden * e)
        normed = _norm(device, s, rows)
        out = _mlp(device, s, rows)
        drop(normed)
        stream = _add(device, stream, out, rows * s.hidden * e)
    normed = _norm(device, s, rows)
    drop(stream)
    logits = take(s.logit_rows * s.vocabulary * e)
    if s.upcast:
        wider = take(s.logit_rows * s.vocabulary * 4)
        drop(logits)
        logits = wider
    drop(normed, mask)
    return cache, [logits]


def decode(device: Device, s: Sizes, cache: list[Block], logits: list[Block]) -> None:
    """Every further token: each layer's keys and values anew, or a whole second cache before the first dies."""
    each = s.batch * s.keys * s.element
    for step in range(1, s.steps + 1):
        size = (s.prompt + step) * each
        if not s.kept_logits:
            _clear(device, logits)
        if s.two_caches:
            grown = [device.take(size) for _ in cache]
            _clear(device, cache)
            cache += grown
        else:
            for index, old in enumerate(cache):
                cache[index] = device.take(size)
                device.drop(old)
        _clear(device, logits)
    _clear(device, cache)
    _clear(device, logits)


def _clear(device: Device, blocks: list[Block]) -> None:
    device.drop(*blocks)
    blocks.clear()


def _norm(device: Device, s: Sizes, rows: int) -> Block:
    """RMS norm: the stream in fp32, its square, the product, then 16 bits twice (as is, and weighted)."""
    wide = rows * s.hidden * 4
    first, square = device.take(wide), device.take(wide)
    device.drop(square)
    scaled = device.take(wide)
    device.drop(first)
    narrow = device.take(rows * s.hidden * s.element)
    device.drop(scaled)
    out = device.take(rows * s.hidden * s.element)
    device.drop(narrow)
    return out


def _product(device: Device, s: Sizes, rows: int, outputs: int, inputs: int) -> Block:
    beside = 0
    if s.dequantized:
        beside = outputs * inputs * s.element
    elif s.partial_sums:
        beside = s.partial_sums * rows * outputs * s.element
    if not beside:
        return device.take(rows * outputs * s.element)
    other = device.take(beside)
    out = device.take(rows * outputs * s.element)
    device.drop(other)
    return out


def _rotate(device: Device, size: int) -> Block:
    """q·cos + rotate_half(q)·sin."""
    first, negative = device.take(size), device.take(size // 2)
    turned = device.take(size)
    device.drop(negative)
    second = device.take(size)
    device.drop(turned)
    out = device.take(size)
    device.drop(first, second)
    return out


def _softmax(device: Device, square: int, element: int) -> list[Block]:
    """Scores, their scaled and masked copies, the fp32 softmax, and its 16-bit form, which stays."""
    scores = device.take(square * element)
    for _ in range(2):
        copy = device.take(square * element)
        device.drop(scores)
        scores = copy
    wide, out = device.take(square * 4), device.take(square * element)
    device.drop(wide, scores)
    return [out]


def _mlp(device: Device, s: Sizes, rows: int) -> Block:
    first = _product(device, s, rows, s.wide, s.hidden)
    acted = device.take(rows * s.wide * s.element)
    device.drop(first)
    if s.gated:
        up = _product(device, s, rows, s.wide, s.hidden)
        joined = device.take(rows * s.wide * s.element)
        device.drop(acted, up)
        acted = joined
    out = _product(device, s, rows, s.hidden, s.wide)
    device.drop(acted)
    return out


def _add(device: Device, stream: Block, out: Block, size: int) -> Block:
    summed = device.take(size)
    device.drop(stream, out)
    return summed
