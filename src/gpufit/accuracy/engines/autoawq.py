"""AutoAWQ with fused layers: one projection for queries, keys and values, a cache made at once, eager attention.

Source: casper-hansen/AutoAWQ 0.1.6 and 0.1.8, awq/modules/fused/attn.py (QuantAttentionFused, RoPE), cache.py,
utils/fused_utils.py (fuse_qkv), awq_cuda/quantization/gemm_cuda_gen.cu (split_k_iters = 8 partial sums) and
examples/benchmark.py, whose figure is max_memory_allocated since the start, loading included.
Until 0.1.3 (40e6952, 2023-10-05) every layer's keys and values were kept beside the cache; the README's tables of
2023-10 are older than that (7cf3c79, 2023-09-13).
"""

from __future__ import annotations

import re
from typing import cast

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Part, Prediction, Refusal, sum_of
from gpufit.facts.architecture import Architecture
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.memory.ranges import Range
from gpufit.memory.runtime import CUBLAS_WORKSPACE, runtime_fact
from gpufit.memory.segments import weight_rests
from gpufit.memory.versions import parse_version
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import Quantization

SPLIT_K = 8
WARMUP_BYTES = 2 * 4096 * 4096 * 4  # benchmark.py warmup(): an fp32 matrix and its square
PRINTED_STEP_BYTES = (1 << 30) // 100  # figures are printed in 0.01 GiB
_PROJECTIONS_APART = frozenset({"llama", "mistral", "mixtral", "aquila", "yi"})  # fuse_qkv copies them
_FUSED_AT_SOURCE = frozenset({"mpt", "falcon"})
_HOLDS_TIED_WEIGHTS = frozenset({"falcon"})  # its checkpoints have lm_head.weight beside the embeddings
_DATE = re.compile(r"(20\d\d)-(\d\d)-(\d\d)")
_KEEPS_UNTIL = (0, 1, 3)
_README_OF_0_1_6 = (2023, 11, 2)


def predict_row(row: Measurement, architecture: Architecture, card: Card, cards: int) -> Prediction | Refusal:
    """max_memory_allocated: the larger of the end of fusing and the prefill."""
    if row.metric not in ("torch_max_allocated", "unknown"):
        return Refusal(reason=f"of AutoAWQ gpufit predicts torch_max_allocated, not {row.metric[:40]}")
    quant, model = row.quant_method, architecture.model_type
    if not quant.startswith("awq-") or quant not in MATRIX_PARTS:
        return Refusal(reason=f"AutoAWQ runs 4-bit AWQ, not {quant[:40] or 'plain weights'}")
    if model not in _PROJECTIONS_APART | _FUSED_AT_SOURCE:
        return Refusal(reason=f"AutoAWQ fuses no {model[:40]} models")
    stack = architecture.stacks[0]
    if stack.attention is None or row.prompt_tokens is None:
        return Refusal(reason="the row states no number of tokens")
    a, batch, prompt = stack.attention, row.batch or 1, row.prompt_tokens
    tokens, length = batch * prompt, row.new_tokens or 1  # max_new_tokens is the cache's length
    queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim

    weights = count_weights(architecture, "fp16", cast("Quantization", quant)).total_bytes
    fused = 0
    if model in _PROJECTIONS_APART:
        each = MATRIX_PARTS[quant](queries + 2 * keys, stack.hidden)
        fused = stack.layers * sum(each.values())
    cache = 2 * 2 * stack.layers * batch * length * keys
    tables = (
        0 if model == "mpt" else 8 * stack.layers * length * a.head_dim
    )  # complex64, twice the length, half the width
    kept = 2 * tokens * (queries + 3 * keys) if _keeps_keys(row) else 0
    kept *= stack.layers if model in _PROJECTIONS_APART else 1
    prefill = kept + _prefill(architecture, batch, prompt)
    workspace = runtime_fact(CUBLAS_WORKSPACE, card.capability).bytes
    # moments above the weights: loading, the end of fusing, the warm-up, the prefill
    tied = sum(2 * group.elements * group.copies for group in architecture.tensors.groups if group.tied_to)
    tied *= model in _HOLDS_TIED_WEIGHTS
    run = workspace.likely_bytes + max(WARMUP_BYTES, prefill)
    if cards > 1:  # each card's own peak
        run = cards * (workspace.likely_bytes + prefill)
    above = max(fused, run, tied - cache - tables)  # the cache is not there yet while loading
    moments = {fused: "old and fused projections side by side", run: "warm-up or prefill"}
    rests = weight_rests(architecture, "fp16", cast("Quantization", quant))
    # the high end: what loading leaves beside the weights, and more rests
    doubt = Range(
        -PRINTED_STEP_BYTES - above // 32, rests, PRINTED_STEP_BYTES + 2 * rests + weights // 20 + above // 16
    )
    return sum_of(
        Part("weights", Range.exact(weights), quant),
        Part("kv_cache", Range.exact(cache), f"allocated at once for {length:,} positions × batch {batch}"),
        Part("tables", Range.exact(tables), "rotary factors in every layer"),
        Part("above", Range.exact(above), moments.get(above, "tied weights loaded twice, before there is a cache")),
        Part("doubt", doubt, "rests of segments that are not split; printed in 0.01 GiB"),
    )


def _keeps_keys(row: Measurement) -> bool:
    """Whether the release still hands every layer's keys and values back."""
    if (date := _DATE.search(row.engine_version)) is not None:
        return tuple(map(int, date.groups())) < _README_OF_0_1_6
    release = parse_version(row.engine_version)
    return release is not None and release < _KEEPS_UNTIL


def _prefill(architecture: Architecture, batch: int, prompt: int) -> int:
    """The widest moment: softmax in fp32, the partial sums of a projection, or the logits with their fp32 copy."""
    stack = architecture.stacks[0]
    a = stack.attention
    assert a is not None  # predict_row asks first
    tokens, queries, keys = batch * prompt, a.heads * a.head_dim, a.kv_heads * a.head_dim
    repeated = 2 * queries if a.kv_heads not in (1, a.heads) else 0
    scores = batch * a.heads * prompt * prompt * (2 + 4 + 4) + 2 * prompt * prompt
    beside = 2 * stack.hidden + (queries + 2 * keys) + queries + 2 * keys + repeated
    attention = scores + 2 * tokens * beside
    width = stack.mlp_width or (stack.experts.width if stack.experts else 0)
    widest = max(width, queries + 2 * keys)
    split = 2 * tokens * (2 * stack.hidden + (width if stack.gated else 0) + (SPLIT_K + 1) * widest)
    logits = tokens * architecture.vocab_size * (2 + 4) + 2 * tokens * stack.hidden
    return max(attention, split, logits)
