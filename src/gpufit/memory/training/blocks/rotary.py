"""Rotary position embeddings: the tables, and what rotating queries and keys leaves behind."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.memory.training.tape.graph import Tape
from gpufit.memory.training.tape.ops import add, cast, mul, scale
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import cat, narrow, unsqueeze

Tables = tuple[Tensor, Tensor]
Rotary = Callable[[Tensor, Tensor, Tables], tuple[Tensor, Tensor]]


def rotary_tables(tape: Tape, tokens: int, dim: int, dtype: str) -> Tables:
    """LlamaRotaryEmbedding.forward under no_grad: (1, tokens, dim) of cos and sin."""
    freqs = tape.empty((1, tokens, dim // 2), "fp32")
    emb = tape.empty((1, tokens, dim), "fp32")
    del freqs
    cos = tape.empty((1, tokens, dim), "fp32")
    cos = tape.empty((1, tokens, dim), "fp32")  # times attention_scaling
    sin = tape.empty((1, tokens, dim), "fp32")
    sin = tape.empty((1, tokens, dim), "fp32")
    del emb
    return cast(cos, dtype), cast(sin, dtype)


def rotate_half(x: Tensor) -> Tensor:
    """The two halves of each head, swapped, one negated."""
    half = x.shape[-1] // 2
    x1 = narrow(x, -1, half)
    x2 = narrow(x, -1, x.shape[-1] - half)
    return cat((scale(x2, "neg"), x1), -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x·cos + rotate_half(x)·sin."""
    return add(mul(x, cos), mul(rotate_half(x), sin))


def apply_rotary(q: Tensor, k: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
    """apply_rotary_pos_emb of (batch, heads, tokens, dim)."""
    cos, sin = unsqueeze(tables[0], 1), unsqueeze(tables[1], 1)
    q_embed = rotate(q, cos, sin)
    k_embed = rotate(k, cos, sin)
    return q_embed, k_embed


def partial_rotary(query: Tensor, key: Tensor, tables: Tables) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """The first part of each head is rotated, the rest passes; both are joined again.

    The parts come third, for code that goes on naming them.
    """
    turned = tables[0].shape[-1]
    rest = query.shape[-1] - turned
    query_rot, query_pass = narrow(query, -1, turned), narrow(query, -1, rest) if rest else None
    key_rot, key_pass = narrow(key, -1, turned), narrow(key, -1, rest) if rest else None
    query_rot, key_rot = apply_rotary(query_rot, key_rot, tables)
    query = cat((query_rot, query_pass) if query_pass is not None else (query_rot,), -1)
    key = cat((key_rot, key_pass) if key_pass is not None else (key_rot,), -1)
    return query, key, (query_rot, query_pass, key_rot, key_pass)


def joined_rotary(query: Tensor, key: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
    """modeling_phi3.py and modeling_nemotron.py: part of each head is rotated and joined with the rest."""
    return partial_rotary(query, key, tables)[:2]


def typed_rotary(query: Tensor, key: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
    """modeling_olmo.py and modeling_olmo2.py: back to the queries' own format."""
    dtype = query.dtype
    q_embed, k_embed = apply_rotary(query, key, tables)
    return cast(q_embed, dtype), cast(k_embed, dtype)


def fp32_rotary(query: Tensor, key: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
    """modeling_cohere.py: queries and keys are rotated in fp32."""
    dtype = query.dtype
    query, key = cast(query, "fp32"), cast(key, "fp32")
    q_embed, k_embed = apply_rotary(query, key, tables)
    return cast(q_embed, dtype), cast(k_embed, dtype)


def half_interleaved(query: Tensor, key: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
    """modeling_glm.py and modeling_glm4.py: each layer spreads half a table anew (repeat_interleave)."""
    cos, sin = (t.tape.empty(t.shape, t.dtype) for t in tables)
    return partial_rotary(query, key, (cos, sin))[:2]
