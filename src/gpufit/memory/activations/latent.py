"""Multi-head latent attention (transformers 5.23.0, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3Attention).

The cache holds the compressed keys and values; every step expands those of all C tokens again: ``kv_b_proj`` gives
(nope + v) per head, and the keys are assembled from it and the shared rotary part in a tensor of their own. The
queries exist twice, as projected and as assembled from their two parts. q = heads·(nope + rope), o = heads·v, so that
all heads' nope + v are q − r + o.

DeepSeek sparse attention (models/deepseek_v32) adds an indexer: X heads of fp32 scores over every key, and once more
scaled, before attention runs on all keys with a mask.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.setting import Moment, Setting
from gpufit.memory.activations.symbols import A, D, K, M, P, R, T, X, as_expr, b, h, i, o, q, r, s


def indexer_sizes(architecture: Architecture) -> dict[str, int]:
    """X, the indexer's heads, i, their width together, and s, the width of one."""
    shapes = {group.name.rpartition("indexer.")[2]: group.shape for group in architecture.tensors.groups}
    heads, width = shapes["weights_proj.weight"][0], shapes["wq_b.weight"][0]
    return {"X": heads, "i": width, "s": width // heads}


def latent_attention(c: Setting, *, indexed: bool = False) -> tuple[Moment, ...]:
    """Above the residual stream: expanded keys and values, queries, scores."""
    expanded = P * b * (2 * q + o - r)
    locals_ = expanded + T * b * (2 * q + r + K + D)
    index: tuple[Moment, ...] = ()
    if indexed:
        locals_ = locals_ + T * b * R + 2 * (M * b)
        index = (
            Moment("index scores", 8 * (X * M) + T * b * (2 * i) + T * b * (X * D) + locals_,
                   "the indexer's fp32 scores before and after scaling, its queries, expanded keys and values"),
            # torch.matmul lays the keys, shared by all queries, out once per query as soon as there are two sequences
            Moment("index product", 4 * (X * M) + (4 * (M * s) if c.batched else as_expr(0)) + T * (4 * i)
                   + T * b * (2 * i) + T * b * (X * D) + locals_,
                   "the indexer's fp32 queries, its keys laid out per query, their product, expanded keys and values"),
        )  # fmt: skip
    if c.kernel == "eager":
        upcast = as_expr(10 if c.dtype == "bf16" else 8)
        return (
            Moment(
                "attention scores", A * upcast + locals_, "scores, softmax, its copy, expanded keys and values, queries"
            ),
            # torch.matmul lays the values, a view of the expanded projection, out whole where there are two sequences
            Moment(
                "attention product",
                A * b + (P * b * o if c.batched else as_expr(0)) + T * b * o + locals_,
                "probabilities and the values laid out",
            ),
        )
    masked = M * b if c.masked else as_expr(0)
    return (
        *index,
        Moment("attention", T * b * o + masked + locals_, "expanded keys and values, queries, outputs"),
        Moment("attention output", T * b * (o + h) + locals_, "expanded keys and values, queries, outputs, projection"),
    )
