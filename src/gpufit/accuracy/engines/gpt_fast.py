"""torchao's gpt-fast: a cache and a mask of the whole length, plain weights, a compiled decode step.

Source: pytorch/ao at 2025-01, torchao/_models/llama/model.py (Transformer.setup_caches, Attention.forward) and
generate.py, whose figure is max_memory_reserved after the run; 200 new tokens and a prompt of 5 by default.
"""

from __future__ import annotations

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Part, Prediction, Refusal, sum_of
from gpufit.facts.architecture import Architecture
from gpufit.memory.ranges import Range
from gpufit.memory.runtime import CUBLAS_WORKSPACE, runtime_fact
from gpufit.memory.slack import LARGE_SEGMENT_BYTES, SMALL_SEGMENT_BYTES
from gpufit.memory.weights import count_weights

_HALVES = ("fp16", "bf16")
DEFAULT_TOKENS = 208  # 5 of "Hello, my name is" and 200 new ones, rounded up to a multiple of 8


def predict_row(row: Measurement, architecture: Architecture, card: Card, cards: int) -> Prediction | Refusal:
    """max_memory_reserved of a Llama with plain weights."""
    if row.metric != "torch_max_reserved":
        return Refusal(reason=f"of gpt-fast gpufit predicts torch_max_reserved, not {row.metric[:40]}")
    if row.quant_method not in ("", "none"):
        return Refusal(
            reason="what gpt-fast still reserves after torchao quantized and tuned its kernels is not estimated"
        )
    stack = architecture.stacks[0]
    if stack.attention is None or cards > 1:
        return Refusal(reason="gpt-fast runs Llama-like models on one card")
    a, batch = stack.attention, row.batch or 1
    stated = row.kv_tokens or (row.prompt_tokens or 0) + (row.new_tokens or 0)
    length = -(-(stated or DEFAULT_TOKENS) // 8) * 8
    dtype = row.weight_dtype if row.weight_dtype in _HALVES else "bf16"
    weights = count_weights(architecture, dtype, "none").total_bytes
    elements = 2 * stack.layers * batch * a.kv_heads * length
    int8 = row.kv_dtype == "int8"
    cache = elements * (a.head_dim + 2) if int8 else elements * a.head_dim * 2
    linear = "linear causal mask" in row.notes
    mask = length if linear else length * length
    # torch.tril copies its argument; the freed one is filled by the caches
    masks = mask + max(0, mask - cache)
    heads = batch * a.heads * length * a.head_dim * 2
    plain = 2 * batch * a.kv_heads * length * a.head_dim * 2 if int8 else 0
    # the prefill's pool and that of the captured decode step do not share; the math kernel may copy both once more
    once, hole = 2 * heads + plain, max(0, mask - cache)
    repeated = Range(once, once + max(0, once - hole), 4 * once + plain)
    workspace = runtime_fact(CUBLAS_WORKSPACE, card.capability).bytes
    open_segments = SMALL_SEGMENT_BYTES + LARGE_SEGMENT_BYTES
    return sum_of(
        Part("weights", Range.exact(weights), f"plain, {dtype}"),
        Part("kv_cache", Range.exact(cache), f"{length:,} positions, {'int8 with scales' if int8 else dtype}"),
        Part("mask", Range.exact(masks), "linear" if linear else "one byte for each pair of positions, made twice"),
        Part("repeated heads", repeated, "keys and values for every query head, in prefill and decode graph"),
        Part("workspace", workspace + workspace, "cuBLAS, one for each pool"),
        Part("slack", Range(open_segments, 4 * open_segments, 4 * open_segments + weights // 50),
             "open segments of both pools"),
    )  # fmt: skip
