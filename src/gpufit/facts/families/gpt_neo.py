"""GPT-Neo: GPT-2 with Linear layers; local layers mask to a window, but the cache keeps every token.

Mirrors transformers 5.23.0, models/gpt_neo/modeling_gpt_neo.py (GPTNeoForCausalLM). DynamicCache sees neither
``layer_types`` nor ``sliding_window`` in this configuration, so every layer is a full one.
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, body, causal_lm, multi_head, plain_mlp
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """GPTNeoConfig -> GPTNeoModel."""
    shape = multi_head(config.size("hidden_size"), config.layers("num_layers"), config.layers("num_heads"))
    hidden = shape.hidden
    width = config.size("intermediate_size", 4 * hidden)
    positions = config.size("max_position_embeddings", 2048)
    t.embedding("wte", config.size("vocab_size"), hidden)
    t.embedding("wpe", positions, hidden)
    block = t.blocks("h", shape.layers)
    block.norm("ln_1", hidden, bias=True)
    for name in ("k_proj", "v_proj", "q_proj"):
        block.linear(f"attn.attention.{name}", hidden, hidden, role="attention")
    block.linear("attn.attention.out_proj", hidden, hidden, bias=True, role="attention")
    block.buffer("attn.attention.bias", (1, 1, positions, positions), "bool")
    block.norm("ln_2", hidden, bias=True)
    plain_mlp(block, "mlp.c_fc", "mlp.c_proj", hidden, width)
    t.norm("ln_f", hidden, bias=True)
    return body(
        config, shape, form="gpt_neo", width=width, gated=False, window=stated_window(config), embedding="wte"
    )  # fmt: skip


read = causal_lm(write, "GPTNeoForCausalLM", base="transformer", tied=True)
