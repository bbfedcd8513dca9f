"""GPT-2: learned positions, LayerNorm, one Conv1D for query, key and value, tied output.

Mirrors transformers 5.23.0, models/gpt2/modeling_gpt2.py (GPT2LMHeadModel).
"""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, body, causal_lm, multi_head
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """GPT2Config -> GPT2Model."""
    if config.flag("add_cross_attention", False):
        raise Undecided("gpufit does not know GPT-2 with cross-attention")
    shape = multi_head(config.size("n_embd"), config.layers("n_layer"), config.layers("n_head"))
    hidden = shape.hidden
    width = config.size("n_inner", 4 * hidden)
    t.embedding("wte", config.size("vocab_size"), hidden)
    t.embedding("wpe", config.size("n_positions", 1024), hidden)
    block = t.blocks("h", shape.layers)
    block.norm("ln_1", hidden, bias=True)
    block.conv1d("attn.c_attn", hidden, 3 * hidden, role="attention")
    block.conv1d("attn.c_proj", hidden, hidden, role="attention")
    block.norm("ln_2", hidden, bias=True)
    block.conv1d("mlp.c_fc", hidden, width, role="mlp")
    block.conv1d("mlp.c_proj", width, hidden, role="mlp")
    t.norm("ln_f", hidden, bias=True)
    return body(
        config, shape, form="gpt2", width=width, gated=False, window=stated_window(config),
        max_context="n_positions", embedding="wte",
    )  # fmt: skip


read = causal_lm(write, "GPT2LMHeadModel", base="transformer", tied=True)
