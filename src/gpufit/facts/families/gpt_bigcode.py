"""GPT BigCode (SantaCoder, StarCoder): GPT-2 with Linear layers and one key-value head for all queries.

Mirrors transformers 5.23.0, models/gpt_bigcode/modeling_gpt_bigcode.py (GPTBigCodeForCausalLM).
"""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, Shape, body, causal_lm, head_size
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """GPTBigCodeConfig -> GPTBigCodeModel; the cache keeps the single head as it was projected."""
    if config.flag("add_cross_attention", False):
        raise Undecided("gpufit does not know GPT BigCode with cross-attention")
    hidden, heads = config.size("n_embd"), config.layers("n_head")
    shape = Shape(
        hidden=hidden, layers=config.layers("n_layer"), heads=heads,
        kv_heads=1 if config.flag("multi_query", True) else heads, head_dim=head_size(hidden, heads),
    )  # fmt: skip
    width = config.size("n_inner", 4 * hidden)
    positions = config.size("n_positions", 1024)
    t.embedding("wte", config.size("vocab_size"), hidden)
    t.embedding("wpe", positions, hidden)
    t.buffer("bias", (positions, positions), "bool")  # the causal mask of every length
    block = t.blocks("h", shape.layers)
    block.norm("ln_1", hidden, bias=True)
    block.linear("attn.c_attn", hidden, hidden + 2 * shape.kv_width, bias=True, role="attention")
    block.linear("attn.c_proj", hidden, hidden, bias=True, role="attention")
    block.norm("ln_2", hidden, bias=True)
    block.linear("mlp.c_fc", hidden, width, bias=True, role="mlp")
    block.linear("mlp.c_proj", width, hidden, bias=True, role="mlp")
    t.norm("ln_f", hidden, bias=True)
    return body(
        config, shape, form="gpt_bigcode", width=width, gated=False, window=stated_window(config),
        max_context="n_positions", embedding="wte",
    )  # fmt: skip


read = causal_lm(write, "GPTBigCodeForCausalLM", base="transformer", tied=True)
