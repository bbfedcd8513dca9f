"""Persimmon: GPT-NeoX's fused projection one half after the other, normalized heads, squared ReLU.

Mirrors transformers 5.23.0, models/persimmon/modeling_persimmon.py (PersimmonForCausalLM).
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, body, causal_lm, multi_head, plain_mlp, rotary, rotary_width
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """PersimmonConfig -> PersimmonModel."""
    shape = multi_head(
        config.size("hidden_size"), config.layers("num_hidden_layers"), config.layers("num_attention_heads")
    )
    hidden = shape.hidden
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim, 0.5)
    t.embedding("embed_tokens", config.size("vocab_size"), hidden)
    block = t.blocks("layers", shape.layers)
    block.linear("self_attn.query_key_value", hidden, 3 * hidden, bias=True, role="attention")
    block.linear("self_attn.dense", hidden, hidden, bias=True, role="attention")
    if config.flag("qk_layernorm", True):
        block.norm("self_attn.q_layernorm", shape.head_dim, bias=True)
        block.norm("self_attn.k_layernorm", shape.head_dim, bias=True)
    plain_mlp(block, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", hidden, width)
    block.norm("input_layernorm", hidden, bias=True)
    block.norm("post_attention_layernorm", hidden, bias=True)
    t.norm("final_layernorm", hidden, bias=True)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form="persimmon", width=width, gated=False, rope=rope, window=window)


read = causal_lm(write, "PersimmonForCausalLM")
