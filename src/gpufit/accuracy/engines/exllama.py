"""ExLlama v1: preallocated cache, fixed scratch, embeddings on the host.

Source: turboderp/exllama at 2023-09-12, model.py (ExLlama.__init__, ExLlamaCache, ExLlamaMLP.forward) and
test_benchmark_inference.py, whose figure is max_memory_allocated. ExLlamaAttention says of its call of scaled dot
product attention: "in practice Torch seems to use the same amount of memory at peak anyway"; so the scores count.
"""

from __future__ import annotations

from typing import cast

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Part, Prediction, Refusal, sum_of
from gpufit.facts.architecture import Architecture
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.memory.ranges import Range
from gpufit.memory.runtime import CUBLAS_WORKSPACE, runtime_fact
from gpufit.memory.segments import weight_rests
from gpufit.memory.weights import weigh_groups
from gpufit.memory.workload import Quantization
from gpufit.units import MIB

MAX_INPUT_TOKENS = 2048  # config.max_input_len: rows of temp_state
FUSED_MLP_ROWS = 4  # config.fused_mlp_thd * 2: rows of temp_mlp
STEP_BYTES = 4 * MIB  # figures are printed in whole MiB; small tensors beside these
ZEROS_FLOATS = 65_536  # temp_zeros_float


def predict_row(row: Measurement, architecture: Architecture, card: Card, cards: int) -> Prediction | Refusal:
    """max_memory_allocated of a Llama-like GPTQ model, 4 bits."""
    if row.metric not in ("torch_max_allocated", "unknown"):
        return Refusal(reason=f"of exllama gpufit predicts torch_max_allocated, not {row.metric[:40]}")
    quant = row.quant_method
    if not quant.startswith("gptq-int4") or quant not in MATRIX_PARTS:
        return Refusal(reason=f"exllama reads 4-bit GPTQ alone, not {quant[:40] or 'plain weights'}")
    stack = architecture.stacks[0]
    if stack.attention is None or not stack.gated or row.prompt_tokens is None:
        return Refusal(reason="exllama runs Llama-like models, and the row must state its tokens")
    batch, tokens = row.batch or 1, row.prompt_tokens * (row.batch or 1)
    length = row.prompt_tokens + (row.new_tokens or 0)
    weights = largest = 0
    for found in weigh_groups(architecture, "fp16", cast("Quantization", quant)):
        if found.group.role == "embedding" or found.group.module in ("embedding", "buffer"):
            continue  # device_map: embed_tokens = "cpu"
        weights += found.quantized_bytes + found.kept_bytes
        if found.quantized_copies:
            weights -= found.quantized_copies * MATRIX_PARTS[quant](*found.matrix)["g_idx"]  # kept on the host
            largest = max(largest, found.matrix[0] * found.matrix[1])
    a = stack.attention
    cache = 2 * stack.layers * batch * length * a.kv_heads * a.head_dim * 2
    tables = 2 * length * a.head_dim * 2
    scratch = 2 * (MAX_INPUT_TOKENS + FUSED_MLP_ROWS) * stack.mlp_width + 4 * ZEROS_FLOATS + 2 * largest
    mask = 2 * batch * row.prompt_tokens**2
    scores = 2 * 2 * batch * a.heads * row.prompt_tokens**2  # fp16, and their softmax
    wide = max(2 * tokens * (3 * stack.hidden + 2 * stack.mlp_width),
               2 * tokens * (2 * stack.hidden + 4 * a.heads * a.head_dim) + scores)  # fmt: skip
    workspace = runtime_fact(CUBLAS_WORKSPACE, card.capability).bytes
    own = scratch + tables + mask + wide + workspace.likely_bytes  # what every further card has of its own
    rests = weight_rests(architecture, "fp16", cast("Quantization", quant))
    return sum_of(
        Part("weights", Range.exact(weights), f"{quant} without embeddings and g_idx, which stay on the host"),
        Part("kv_cache", Range.exact(cache), f"allocated at once for {length:,} tokens"),
        Part("scratch", Range.exact(scratch + tables), "temp_state, temp_mlp, temp_zeros_float, temp_dq; sin and cos"),
        Part("activations", Range.exact(wide + mask), f"the prompt of {tokens:,} tokens and its mask"),
        Part("workspace", workspace, "cuBLAS"),
        Part(
            "rests", Range(-STEP_BYTES, rests, 2 * rests + weights // 80 + STEP_BYTES), "of segments that are not split"
        ),
        Part("other cards", Range(0, (cards - 1) * own, (cards - 1) * own), "scratch and temporaries on each card"),
    )
