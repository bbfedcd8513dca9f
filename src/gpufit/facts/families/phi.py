"""Phi-1, 1.5 and 2: attention and MLP side by side after one LayerNorm, a bias everywhere, partial rotation.

Mirrors transformers 5.23.0, models/phi/modeling_phi.py (PhiForCausalLM).
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import (
    Body,
    attention,
    body,
    causal_lm,
    grouped_query,
    head_size,
    plain_mlp,
    rotary,
    rotary_width,
)
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """PhiConfig -> PhiModel."""
    shape = grouped_query(config)
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim, 0.5)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=True, out_bias=True, out="dense")
    if config.flag("qk_layernorm", False):
        for name in ("q_layernorm", "k_layernorm"):
            block.norm(f"self_attn.{name}", head_size(shape.hidden, shape.heads), bias=True)
    plain_mlp(block, "mlp.fc1", "mlp.fc2", shape.hidden, width)
    block.norm("input_layernorm", shape.hidden, bias=True)
    rotary(t, rope)
    t.norm("final_layernorm", shape.hidden, bias=True)
    window = stated_window(config)
    return body(config, shape, form="phi", width=width, gated=False, rope=rope, window=window)


read = causal_lm(write, "PhiForCausalLM", head_bias=True)
