"""Multi-head latent attention (transformers 5.23.0, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3Attention).

The cache holds the compressed keys and values; every step expands those of all C tokens again: ``kv_b_proj`` gives (nope + v)
per head, and the keys are assembled from it and the shared rotary part in a tensor of their own. The queries exist
twice, as projected and as assembled from their two parts. q = heads·(nope + rope), o = heads·v, so nope + v per head is q − r + o.
"""

from __future__ import annotations

from gpufit.memory.activations.setting import Moment, Setting
from gpufit.memory.activations.symbols import A, D, K, M, P, T, as_expr, b, h, o, q, r


def latent_attention(c: Setting) -> tuple[Moment, ...]:
    """Above the residual stream: expanded keys and values, queries, scores."""
    expanded = P * b * (2 * q + o - r)
    locals_ = expanded + T * b * (2 * q + r + K + D)
    if c.kernel == "eager":
        upcast = as_expr(10 if c.dtype == "bf16" else 8)
        return (
            Moment(
                "attention scores", A * upcast + locals_, "scores, softmax, its copy, expanded keys and values, queries"
            ),
            # torch.matmul lays the values, a view of the expanded projection, out whole
            Moment(
                "attention product", A * b + P * b * o + T * b * o + locals_, "probabilities and the values laid out"
            ),
        )
    masked = M * b if c.masked else as_expr(0)
    return (
        Moment("attention", T * b * o + masked + locals_, "expanded keys and values, queries, outputs"),
        Moment("attention output", T * b * (o + h) + locals_, "expanded keys and values, queries, outputs, projection"),
    )
