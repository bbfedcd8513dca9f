"""OLMo 1, 2 and 3: norms without weights, then norms after each half of the block and over all queries and keys.

Mirrors transformers 5.23.0, models/{olmo,olmo2,olmo3}/modeling_*.py.
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
    """OlmoConfig -> OlmoModel: LayerNorm without weight or bias, so no norm tensor at all."""
    shape = grouped_query(config)
    width = config.size("intermediate_size")
    bias = config.flag("attention_bias", False)
    rope = rotary_width(config, shape.head_dim)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=bias)
    gated_mlp(block, shape.hidden, width)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form="olmo", width=width, gated=True, rope=rope, window=window)


def write_olmo2(t: Tensors, config: Config) -> Body:
    """Olmo2Config -> Olmo2Model."""
    shape = grouped_query(config)
    width = _normed_layers(t, config, shape)
    rope = rotary_width(config, shape.head_dim)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form="olmo2", width=width, gated=True, rope=rope, window=window)


def write_olmo3(t: Tensors, config: Config) -> Body:
    """Olmo3Config -> Olmo3Model: OLMo 2 with three sliding layers to one full, and a rotary table for each kind."""
    shape = grouped_query(config)
    window = stated_window(config, 4096)
    kinds = layer_kinds(config, shape.layers, every_nth_full(shape.layers, 4))
    width = _normed_layers(t, config, shape)
    for kind in sorted(set(kinds)):
        rotary(t, shape.head_dim, layer_type=kind)
    return body(
        config, shape, form="olmo2", width=width, gated=True, rope=shape.head_dim, window=window, kinds=kinds
    )  # fmt: skip


def _normed_layers(t: Tensors, config: Config, shape: Shape) -> int:
    width: int = config.size("intermediate_size")
    bias = config.flag("attention_bias", False)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=bias)
    block.norm("self_attn.q_norm", shape.query_width)
    block.norm("self_attn.k_norm", shape.kv_width)
    gated_mlp(block, shape.hidden, width)
    block.norm("post_attention_layernorm", shape.hidden)
    block.norm("post_feedforward_layernorm", shape.hidden)
    t.norm("norm", shape.hidden)
    return width


read = causal_lm(write, "OlmoForCausalLM")
read_olmo2 = causal_lm(write_olmo2, "Olmo2ForCausalLM")
read_olmo3 = causal_lm(write_olmo3, "Olmo3ForCausalLM")
