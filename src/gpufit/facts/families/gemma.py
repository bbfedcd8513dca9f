"""Gemma 1, 2 and 3 (text): scaled embedding, wide heads, tied output; from Gemma 2 on four norms and sliding layers.

Mirrors transformers 5.23.0, models/{gemma,gemma2,gemma3}/modeling_*.py.
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import (
    Body,
    Shape,
    attention,
    body,
    causal_lm,
    gated_mlp,
    grouped_query,
    rotary,
    rotary_width,
)
from gpufit.facts.families.windows import every_nth_full, layer_kinds, stated_window

_TWO_NORMS = ("input_layernorm", "post_attention_layernorm")
_FOUR_NORMS = (*_TWO_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")


def write(t: Tensors, config: Config) -> Body:
    """GemmaConfig -> GemmaModel."""
    shape = grouped_query(config, kv_heads=16, head_dim=256)
    width = _layers(t, config, shape, _TWO_NORMS)
    rope = rotary_width(config, shape.head_dim)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form="gemma", width=width, gated=True, rope=rope, window=window)


def write_gemma2(t: Tensors, config: Config) -> Body:
    """Gemma2Config -> Gemma2Model: sliding and full layers in turn, soft-capped scores and logits."""
    shape = grouped_query(config, kv_heads=4, head_dim=256)
    window = stated_window(config, 4096)
    kinds = layer_kinds(config, shape.layers, every_nth_full(shape.layers, 2))
    width = _layers(t, config, shape, _FOUR_NORMS)
    rope = rotary_width(config, shape.head_dim)
    rotary(t, rope)
    return body(config, shape, form="gemma2", width=width, gated=True, rope=rope, window=window, kinds=kinds)


def write_gemma3(t: Tensors, config: Config) -> Body:
    """Gemma3TextConfig -> Gemma3TextModel: every sixth layer full, normalized heads, a rotary table per layer kind."""
    shape = grouped_query(config, kv_heads=4, head_dim=256)
    window = stated_window(config, 4096)
    if window is not None and config.flag("use_bidirectional_attention", False):
        window = window // 2 + 1  # the key holds both sides; the configuration class halves it
    kinds = layer_kinds(config, shape.layers, every_nth_full(shape.layers, config.size("sliding_window_pattern", 6)))
    width = _layers(t, config, shape, _FOUR_NORMS, head_norms=("q_norm", "k_norm"))
    for kind in sorted(set(kinds)):
        rotary(t, shape.head_dim, layer_type=kind)
    return body(
        config, shape, form="gemma3", width=width, gated=True, rope=shape.head_dim, window=window, kinds=kinds
    )  # fmt: skip


def _layers(
    t: Tensors, config: Config, shape: Shape, norms: tuple[str, ...], *, head_norms: tuple[str, ...] = ()
) -> int:
    width: int = config.size("intermediate_size")
    bias = config.flag("attention_bias", False)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    t.buffer("embed_tokens.embed_scale", (), "fp32", role="embedding")
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=bias)
    for name in head_norms:
        block.norm(f"self_attn.{name}", shape.head_dim)
    gated_mlp(block, shape.hidden, width)
    for name in norms:
        block.norm(name, shape.hidden)
    t.norm("norm", shape.hidden)
    return width


read = causal_lm(write, "GemmaForCausalLM", tied=True)
read_gemma2 = causal_lm(write_gemma2, "Gemma2ForCausalLM", tied=True)
read_gemma3 = causal_lm(write_gemma3, "Gemma3ForCausalLM", tied=True)
