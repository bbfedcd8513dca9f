"""OPT: learned positions (two rows of padding), LayerNorm before or after, tied output.

Mirrors transformers 5.23.0, models/opt/modeling_opt.py (OPTForCausalLM). opt-350m is the odd one: it embeds in 512
dimensions, projects in and out, and normalizes after each half of the block.
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, body, causal_lm, multi_head, plain_mlp
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """OPTConfig -> OPTModel."""
    shape = multi_head(
        config.size("hidden_size"), config.layers("num_hidden_layers"), config.layers("num_attention_heads")
    )
    hidden = shape.hidden
    width = config.size("ffn_dim")
    embedded = config.size("word_embed_proj_dim", hidden)
    bias = config.flag("enable_bias", True)
    affine = config.flag("layer_norm_elementwise_affine", True)
    before = config.flag("do_layer_norm_before", True) and not config.flag("_remove_final_layer_norm", False)

    decoder = t.under("decoder")
    decoder.embedding("embed_tokens", config.size("vocab_size"), embedded)
    decoder.embedding("embed_positions", config.size("max_position_embeddings", 2048) + 2, hidden)
    if embedded != hidden:
        decoder.linear("project_out", hidden, embedded, role="embedding")
        decoder.linear("project_in", embedded, hidden, role="embedding")
    if before and affine:
        decoder.norm("final_layer_norm", hidden, bias=True)
    block = decoder.blocks("layers", shape.layers)
    for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
        block.linear(f"self_attn.{name}", hidden, hidden, bias=bias, role="attention")
    if affine:
        block.norm("self_attn_layer_norm", hidden, bias=True)
    plain_mlp(block, "fc1", "fc2", hidden, width, bias=bias)
    if affine:
        block.norm("final_layer_norm", hidden, bias=True)
    return body(
        config, shape, form="opt", width=width, gated=False, window=stated_window(config),
        embedding="decoder.embed_tokens", embedding_width=embedded,
    )  # fmt: skip


read = causal_lm(write, "OPTForCausalLM", tied=True)
