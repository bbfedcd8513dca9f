"""Llama: RMSNorm, rotary embedding, gated MLP, grouped-query attention; and the siblings with its exact tree.

Mirrors transformers 5.23.0, models/llama/modeling_llama.py (LlamaForCausalLM); a sibling's differences are arguments.
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
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """LlamaConfig -> LlamaModel."""
    bias = config.flag("attention_bias", False)
    return write_like(
        t, config, grouped_query(config),
        bias=bias, out_bias=bias, mlp_bias=config.flag("mlp_bias", False), window=stated_window(config),
    )  # fmt: skip


def write_like(
    t: Tensors,
    config: Config,
    shape: Shape,
    *,
    bias: bool = False,
    out_bias: bool = False,
    mlp_bias: bool = False,
    window: int | None = None,
    kinds: tuple[str, ...] | None = None,
    form: str = "llama",
) -> Body:
    """Llama's tree with other biases, windows or dimensions."""
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=out_bias)
    gated_mlp(block, shape.hidden, width, bias=mlp_bias)
    block.norm("input_layernorm", shape.hidden)
    block.norm("post_attention_layernorm", shape.hidden)
    t.norm("norm", shape.hidden)
    rotary(t, rope)
    return body(config, shape, form=form, width=width, gated=True, rope=rope, window=window, kinds=kinds)


read = causal_lm(write, "LlamaForCausalLM")
