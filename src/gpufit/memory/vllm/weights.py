"""The weights that one tensor-parallel rank holds, as vLLM merges, shards and pads them."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.tensors import TensorGroup
from gpufit.memory.ranges import Range
from gpufit.memory.weights import GroupBytes, weigh_groups
from gpufit.memory.workload import Quantization
from gpufit.records import record
from gpufit.units import MIB

VOCABULARY_PADDING = 64  # DEFAULT_VOCAB_PADDING_SIZE, model_executor/layers/vocab_parallel_embedding.py

# Layers that vLLM merges into one: QKVParallelLinear and MergedColumnParallelLinear, model_executor/layers/linear.py
_MERGED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("query", "key", "value"))
# Low-rank parts and routers stand whole on every rank: ReplicatedLinear in models/deepseek_v2.py
_REPLICATED = ("q_a_proj", "kv_a_proj_with_mqa", "indexer", "router", "mlp.gate.", "shared_expert_gate", "wpe")

# Padding of MXFP4 experts, model_executor/layers/quantization/mxfp4.py (0.11.0): Marlin rounds the width up to 128
# and the hidden size up to 256; the Triton kernels of Hopper take them as they are
_MARLIN_WIDTH, _MARLIN_HIDDEN = 128, 256

_SMALL_BYTES, _SHARED_SEGMENT_LIMIT = MIB, 10 * MIB  # kSmallSize, kMinLargeAlloc, c10/cuda/CUDACachingAllocator
_SEGMENT_STEP = 2 * MIB  # kRoundLarge
_BLOCK_STEP = 512  # kMinBlockSize


@record
class RankWeights:
    """One rank's weights. ``stored`` is tensor data; ``held`` what the allocator hands out for it and the rotary table.

    ``held`` is what vLLM prints as "Model loading took".
    """

    stored: Range
    rotary_bytes: int
    held: Range
    load_peak_bytes: int  # one more copy of the largest tensor, while an online quantization converts it


def allocated_block(size_bytes: int) -> int:
    """What the caching allocator counts for one tensor.

    A tensor from 10 MiB on gets a segment of its own, a multiple of 2 MiB; a rest of at most 1 MiB cannot be split off
    and counts with it. Source: torch 2.8, c10/cuda/CUDACachingAllocator.cpp, get_allocation_size and should_split.

    >>> [allocated_block(mib << 20) / (1 << 20) for mib in (35, 36, 64)], allocated_block(100)
    ([36.0, 36.0, 64.0], 512)
    """
    rounded = -(-size_bytes // _BLOCK_STEP) * _BLOCK_STEP
    if rounded < _SHARED_SEGMENT_LIMIT:
        return rounded
    segment = -(-rounded // _SEGMENT_STEP) * _SEGMENT_STEP
    return segment if segment - rounded <= _SMALL_BYTES else rounded


@lru_cache(maxsize=1024)
def count_rank_weights(
    architecture: Architecture, dtype: str, quant: Quantization, tensor_parallel: int = 1
) -> RankWeights:
    """Weights of the fullest rank.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> whole, half = (count_rank_weights(llama, "fp16", "none", ranks).stored.likely_bytes for ranks in (1, 2))
    >>> whole, half
    (13476831232, 6738681856)

    Raises Unsupported where no checkpoint of this family exists in the format.
    """
    stored = held = padding = largest = 0
    merged: dict[tuple[str, int], tuple[int, int]] = {}  # (merged layer, copies) -> (bytes of one, copies)
    for weighed in weigh_groups(architecture, dtype, quant):
        group = weighed.group
        if group.module == "buffer" and not group.saved:
            continue
        size = _rank_bytes(architecture, weighed, tensor_parallel)
        stored += size * group.copies
        largest = max(largest, size)
        if quant == "mxfp4" and weighed.quantized_copies:
            padding += group.copies * (_marlin_bytes(group, tensor_parallel) - size)
        key = (_merged_name(group), group.copies)
        merged[key] = (merged.get(key, (0, 0))[0] + size, group.copies)
    held = sum(copies * allocated_block(size) for size, copies in merged.values())
    rotary = _rotary_bytes(architecture, dtype)
    held += allocated_block(rotary) if rotary else 0
    return RankWeights(
        stored=Range(stored, stored + padding, stored + padding),
        rotary_bytes=rotary,
        held=Range(held, held + padding, held + padding),
        load_peak_bytes=largest if quant in ("fp8", "bnb-int8", "bnb-nf4") else 0,
    )


def _rank_bytes(architecture: Architecture, weighed: GroupBytes, ranks: int) -> int:
    """One copy of a tensor on one rank."""
    group = weighed.group
    whole = (weighed.quantized_bytes + weighed.kept_bytes) // group.copies
    if ranks == 1 and group.role not in ("embedding", "output"):
        return whole
    if group.role in ("embedding", "output") and group.shape[0] == architecture.vocab_size:
        rows = -(-group.shape[0] // VOCABULARY_PADDING) * VOCABULARY_PADDING
        return whole * rows // group.shape[0] // ranks if len(group.shape) > 1 else whole
    if len(group.shape) < 2 or group.module in ("norm", "buffer") or any(p in group.name for p in _REPLICATED):
        return whole
    attention = architecture.stacks[0].attention
    if attention is not None and group.name.rsplit(".", 2)[-2:-1] in (["k_proj"], ["v_proj"]):
        return whole // min(ranks, attention.kv_heads)  # a key head is copied where there are more ranks than heads
    return whole // ranks


def _merged_name(group: TensorGroup) -> str:
    """The name of the layer that vLLM keeps this tensor in."""
    parent, _, kind = group.name.rpartition(".")
    outer, _, own = parent.rpartition(".")
    for number, names in enumerate(_MERGED):
        if own in names:
            return f"{outer}.merged{number}.{kind}"
    return group.name


def _marlin_bytes(group: TensorGroup, ranks: int) -> int:
    """A fused MXFP4 expert matrix in Marlin's padding: 4 bits a weight and 8 for each 32."""
    experts, inputs, outputs = group.shape if len(group.shape) == 3 else (1, *group.shape[-2:])
    if "gate_up" in group.name:
        width = _round_up(outputs // 2 // ranks, _MARLIN_WIDTH)
        elements = experts * 2 * width * _round_up(inputs, _MARLIN_HIDDEN)
    else:
        elements = experts * _round_up(inputs // ranks, _MARLIN_WIDTH) * _round_up(outputs, _MARLIN_HIDDEN)
    return elements // 2 + elements // 32


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _rotary_bytes(architecture: Architecture, dtype: str) -> int:
    """The table of cosines and sines: maximum positions × rotary width, one for all layers.

    Source: model_executor/layers/rotary_embedding/base.py, _compute_cos_sin_cache and the _ROPE_DICT of its package.
    """
    attention = architecture.stacks[0].attention
    positions = architecture.max_context_tokens
    if attention is None or not attention.rope_dim or not positions:
        return 0
    return prod((positions, attention.rope_dim, DTYPE_BYTES[dtype]))
