"""StableLM: gated MLP with LayerNorm, optionally side by side with attention, a quarter of each head rotated.

Mirrors transformers 5.23.0, models/stablelm/modeling_stablelm.py (StableLmForCausalLM).
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import (
    Body,
    attention,
    body,
    causal_lm,
    gated_mlp,
    grouped_query,
    head_size,
    rotary,
    rotary_width,
)
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """StableLmConfig -> StableLmModel."""
    shape = grouped_query(config, kv_heads=32)
    if shape.head_dim != head_size(shape.hidden, shape.heads):
        raise BadConfig("StableLM has no head_dim of its own")
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim, 0.25)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=config.flag("use_qkv_bias", False))
    if config.flag("qk_layernorm", False):  # one LayerNorm per head, without bias
        block.blocks("self_attn.q_layernorm.norms", shape.heads).add("weight", (shape.head_dim,), "norm", "norm")
        block.blocks("self_attn.k_layernorm.norms", shape.kv_heads).add("weight", (shape.head_dim,), "norm", "norm")
    gated_mlp(block, shape.hidden, width)
    block.norm("input_layernorm", shape.hidden, bias=True)
    if not config.flag("use_parallel_residual", False):
        block.norm("post_attention_layernorm", shape.hidden, bias=True)
    t.norm("norm", shape.hidden, bias=True)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form="stablelm", width=width, gated=True, rope=rope, window=window)


read = causal_lm(write, "StableLmForCausalLM")
