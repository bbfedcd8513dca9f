"""GPT-NeoX (Pythia, RedPajama-INCITE): attention and MLP side by side after two LayerNorms, a quarter rotated.

Mirrors transformers 5.23.0, models/gpt_neox/modeling_gpt_neox.py (GPTNeoXForCausalLM).
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, body, causal_lm, multi_head, plain_mlp, rotary, rotary_width
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """GPTNeoXConfig -> GPTNeoXModel."""
    shape = multi_head(
        config.size("hidden_size"), config.layers("num_hidden_layers"), config.layers("num_attention_heads")
    )
    hidden = shape.hidden
    width = config.size("intermediate_size")
    bias = config.flag("attention_bias", True)
    rope = rotary_width(config, shape.head_dim, 0.25, key="rotary_pct")
    t.embedding("embed_in", config.size("vocab_size"), hidden)
    block = t.blocks("layers", shape.layers)
    block.norm("input_layernorm", hidden, bias=True)
    block.norm("post_attention_layernorm", hidden, bias=True)
    block.linear("attention.query_key_value", hidden, 3 * hidden, bias=bias, role="attention")
    block.linear("attention.dense", hidden, hidden, bias=bias, role="attention")
    plain_mlp(block, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", hidden, width)
    t.norm("final_layer_norm", hidden, bias=True)
    rotary(t, rope)
    return body(
        config, shape, form="gpt_neox", width=width, gated=False, rope=rope, window=stated_window(config),
        embedding="embed_in",
    )  # fmt: skip


read = causal_lm(write, "GPTNeoXForCausalLM", base="gpt_neox")
