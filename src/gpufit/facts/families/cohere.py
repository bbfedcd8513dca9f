"""Cohere (Command R) and Cohere 2: attention and MLP side by side after one norm without bias, tied output.

Mirrors transformers 5.23.0, models/{cohere,cohere2}/modeling_*.py.
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


def write(t: Tensors, config: Config) -> Body:
    """CohereConfig -> CohereModel: ``use_qk_norm`` (Command R+) normalizes with a weight of its own for each head."""
    shape = grouped_query(config)
    return _write(t, config, shape, qk_norm=config.flag("use_qk_norm", False), window=stated_window(config))


def write_cohere2(t: Tensors, config: Config) -> Body:
    """Cohere2Config -> Cohere2Model: three sliding layers to one full, which has no rotary embedding."""
    shape = grouped_query(config)
    pattern = every_nth_full(shape.layers, config.size("sliding_window_pattern", 4))
    kinds = layer_kinds(config, shape.layers, pattern)
    return _write(t, config, shape, qk_norm=False, window=stated_window(config, 4096), kinds=kinds)


def _write(
    t: Tensors, config: Config, shape: Shape, *, qk_norm: bool, window: int | None, kinds: tuple[str, ...] | None = None
) -> Body:
    width = config.size("intermediate_size")
    bias = config.flag("attention_bias", False)
    rope = rotary_width(config, shape.head_dim)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=bias)
    if qk_norm:
        block.add("self_attn.q_norm.weight", (shape.heads, shape.head_dim), "norm", "norm")
        block.add("self_attn.k_norm.weight", (shape.kv_heads, shape.head_dim), "norm", "norm")
    gated_mlp(block, shape.hidden, width)
    block.norm("input_layernorm", shape.hidden)
    t.norm("norm", shape.hidden)
    rotary(t, rope)
    return body(config, shape, form="cohere", width=width, gated=True, rope=rope, window=window, kinds=kinds)


read = causal_lm(write, "CohereForCausalLM", tied=True)
read_cohere2 = causal_lm(write_cohere2, "Cohere2ForCausalLM", tied=True)
