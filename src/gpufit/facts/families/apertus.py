"""Apertus: normalized heads and a plain MLP whose activation (xIELU) has two parameters and two constants a layer.

Mirrors transformers 5.23.0, models/apertus/modeling_apertus.py (ApertusForCausalLM) and activations.py.
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, attention, body, causal_lm, grouped_query, plain_mlp, rotary, rotary_width
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """ApertusConfig -> ApertusModel."""
    shape = grouped_query(config)
    width = config.size("intermediate_size")
    bias = config.flag("attention_bias", False)
    rope = rotary_width(config, shape.head_dim)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=bias)
    block.norm("self_attn.q_norm", shape.head_dim)
    block.norm("self_attn.k_norm", shape.head_dim)
    plain_mlp(block, "mlp.up_proj", "mlp.down_proj", shape.hidden, width, bias=False)
    if config.text("hidden_act", "xielu") == "xielu":
        for name in ("alpha_p", "alpha_n"):
            block.add(f"mlp.act_fn.{name}", (1,), "parameter", "mlp")
        for name in ("beta", "eps"):
            block.add(f"mlp.act_fn.{name}", (), "buffer", "mlp", dtype="fp32")
    block.norm("attention_layernorm", shape.hidden)
    block.norm("feedforward_layernorm", shape.hidden)
    t.norm("norm", shape.hidden)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form="apertus", width=width, gated=False, rope=rope, window=window)


read = causal_lm(write, "ApertusForCausalLM")
