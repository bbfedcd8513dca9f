"""Phi-3 and Phi-4: Llama's block with one projection for query, key and value and one for gate and up.

Mirrors transformers 5.23.0, models/phi3/modeling_phi3.py (Phi3ForCausalLM).
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, Shape, body, causal_lm, grouped_query, rotary, rotary_width
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """Phi3Config -> Phi3Model: every layer slides where ``sliding_window`` is stated (4k mini: 2047)."""
    shape = grouped_query(config)
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    write_blocks(t.blocks("layers", shape.layers), shape, width)
    t.norm("norm", shape.hidden)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form="phi3", width=width, gated=True, rope=rope, window=window)


def write_blocks(block: Tensors, shape: Shape, width: int) -> None:
    """Phi3DecoderLayer."""
    block.linear("self_attn.o_proj", shape.query_width, shape.hidden, role="attention")
    block.linear("self_attn.qkv_proj", shape.hidden, shape.query_width + 2 * shape.kv_width, role="attention")
    block.linear("mlp.gate_up_proj", shape.hidden, 2 * width, role="mlp")
    block.linear("mlp.down_proj", width, shape.hidden, role="mlp")
    block.norm("input_layernorm", shape.hidden)
    block.norm("post_attention_layernorm", shape.hidden)


read = causal_lm(write, "Phi3ForCausalLM")
