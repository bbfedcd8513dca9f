"""Which card holds which module when transformers loads a model with ``device_map="auto"``.

Mirrors transformers 5.23.0, integrations/accelerate.py, get_balanced_memory and infer_auto_device_map: modules in their
order, no block ever split, every card but the last filled up to an even share and a quarter more than the largest
module; the first card keeps room for the largest module that is still to come. A tied head goes with its embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from operator import add
from typing import NamedTuple

from gpufit.facts.architecture import Architecture
from gpufit.facts.tensors import TensorGroup
from gpufit.memory.weights import GroupBytes, round_allocation, weigh_groups
from gpufit.memory.workload import Quantization

# quantizers/base.py, quantized_element_size: what the placement takes a quantized parameter for, its scales left out
_PLACED_BITS = {"bnb-int8": 8, "bnb-nf4": 4, "bnb-nf4-dq": 4, "bnb-fp4": 4}
_TOWER = frozenset({"vision_tower", "vision_model", "visual", "audio_tower", "v", "encoder"})


class Placed(NamedTuple):
    """What one card holds of a model's modules. ``caching_blocks`` are those of its blocks that keep a cache."""

    weights_bytes: int
    buffer_bytes: int
    padding_bytes: int
    blocks: int
    caching_blocks: int


class _Bytes(NamedTuple):
    """``placed`` is what the placement takes a module to weigh: buffers included, a quantization's scales left out."""

    placed: float
    weights: float
    buffers: float
    padding: float


class _Module(NamedTuple):
    """A module that is placed in whole: a block of a stack, or a layer outside the blocks."""

    bytes: _Bytes
    is_block: bool
    caches: bool


@lru_cache(maxsize=1024)
def place_modules(architecture: Architecture, dtype: str, quant: Quantization, cards: int) -> tuple[Placed, ...]:
    """What each of ``cards`` alike holds; the last takes what is left, however much that is.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> [placed.blocks for placed in place_modules(llama, "fp16", "none", 2)]
    [16, 16]
    """
    modules = _modules(architecture, dtype, quant)
    sizes = [module.bytes.placed for module in modules]
    share = sum(sizes) // cards + int(1.25 * max(sizes))
    if quant in _PLACED_BITS:
        share *= 0.9  # quantizer_bnb_{4,8}bit.py, adjust_max_memory
    held: list[list[_Module]] = [[] for _ in range(cards)]
    card, used = 0, 0.0
    for index, module in enumerate(modules):
        kept_free = max(sizes[index + 1 :], default=0) if card == 0 else 0
        if card < cards - 1 and used + module.bytes.placed > share - kept_free:
            card, used = card + 1, 0.0
        while card < cards - 1 and module.bytes.placed > share:  # larger than a card's share: the last one takes it
            card += 1
        held[card].append(module)
        used += module.bytes.placed
    return tuple(_sum_up(own) for own in held)


def _sum_up(modules: list[_Module]) -> Placed:
    return Placed(
        weights_bytes=round(sum(module.bytes.weights for module in modules)),
        buffer_bytes=round(sum(module.bytes.buffers for module in modules)),
        padding_bytes=round(sum(module.bytes.padding for module in modules)),
        blocks=sum(module.is_block for module in modules),
        caching_blocks=sum(module.caches for module in modules),
    )


def _modules(architecture: Architecture, dtype: str, quant: Quantization) -> list[_Module]:
    """Every module that is placed in whole, in order; a group's bytes are shared evenly by its copies."""
    pieces = _stored_pieces if quant == "stored" else _group_pieces
    found: dict[tuple[str, int | None], _Bytes] = {}
    for prefix, block, parts in pieces(architecture, dtype, quant):
        sums = found.get((prefix, block), _Bytes(0, 0, 0, 0))
        found[prefix, block] = _Bytes(*map(add, sums, parts))
    decoder = _stored_prefix(found) if quant == "stored" else _caching_prefix(architecture)
    if quant == "stored":  # files are sorted by name, lm_head first and block 10 before block 2
        order = {place: index for index, place in enumerate(dict.fromkeys(_places(architecture)))}
        found = dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))
    return [
        _Module(sums, block is not None, block is not None and prefix == decoder)
        for (prefix, block), sums in found.items()
    ]


Piece = tuple[str, int | None, _Bytes]  # the path of its blocks or module, the block, its bytes


def _group_pieces(architecture: Architecture, dtype: str, quant: Quantization) -> Iterator[Piece]:
    for weighed in weigh_groups(architecture, dtype, quant):
        group = weighed.group
        blocks: tuple[int | None, ...] = group.indices[0] if group.indices else (None,)
        each = _Bytes(*(part / len(blocks) for part in _parts(weighed, quant)))
        for block in blocks:
            yield _block_prefix(group), block, each


def _places(architecture: Architecture) -> Iterator[tuple[str, int | None]]:
    for group in architecture.tensors.groups:
        for block in group.indices[0] if group.indices else (None,):
            yield _block_prefix(group), block


def _stored_pieces(architecture: Architecture, dtype: str, quant: Quantization) -> Iterator[Piece]:
    """A checkpoint's own tensors: the first number in a name is its block; then the buffers, which no file holds."""
    for tensor in architecture.stored.tensors if architecture.stored else ():
        path, size = tensor.name.split("."), tensor.size_bytes
        place = next((index for index, part in enumerate(path) if part.isdigit()), None)
        prefix = ".".join(path[:-1] if place is None else path[:place])
        padding = round_allocation(size) - size
        yield prefix, None if place is None else int(path[place]), _Bytes(size, size, 0, padding)
    yield from (piece for piece in _group_pieces(architecture, dtype, "none") if piece[2].buffers)


def _stored_prefix(found: Iterable[tuple[str, int | None]]) -> str:
    """The longest run of blocks that is no tower: files name them their own way."""
    blocks = [prefix for prefix, block in found if block is not None and not _TOWER.intersection(prefix.split("."))]
    return max(blocks, key=blocks.count, default="")


def _parts(weighed: GroupBytes, quant: Quantization) -> _Bytes:
    if weighed.group.module == "buffer":
        return _Bytes(weighed.kept_bytes, 0, weighed.kept_bytes, weighed.padding_bytes)
    weights = weighed.quantized_bytes + weighed.kept_bytes
    placed: float = weights
    if quant in _PLACED_BITS:
        packed = weighed.quantized_copies * weighed.group.elements * _PLACED_BITS[quant] / 8
        placed += packed - weighed.quantized_bytes
    return _Bytes(placed, weights, 0, weighed.padding_bytes)


def _block_prefix(group: TensorGroup) -> str:
    """``model.layers`` for a tensor inside its blocks; the module's own path for one outside."""
    return group.name.partition(".{}")[0] if group.indices else group.module_name


def _caching_prefix(architecture: Architecture) -> str:
    """The blocks that generate text: a tower caches nothing, and an encoder comes before its decoder."""
    prefix = ""
    for group in architecture.tensors.groups:
        if group.indices and group.role not in ("vision", "audio"):
            prefix = _block_prefix(group)
    return prefix
