"""BLOOM and MPT: no positions but a bias on the scores that grows with distance (ALiBi), tied output.

Mirrors transformers 5.23.0, models/{bloom,mpt}/modeling_*.py.
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, body, causal_lm, multi_head, plain_mlp
from gpufit.facts.families.windows import stated_window


def write_bloom(t: Tensors, config: Config) -> Body:
    """BloomConfig -> BloomModel: LayerNorm on the embedding, a bias everywhere.

    ``seq_length`` is what it was trained on. Some configurations say ``n_embed``, ``num_attention_heads`` and
    ``num_hidden_layers`` for the same.
    """
    shape = multi_head(
        config.size("n_embed", None) or config.size("hidden_size"),
        config.layers("n_layer", None) or config.layers("num_hidden_layers"),
        config.layers("n_head", None) or config.layers("num_attention_heads"),
    )
    hidden = shape.hidden
    t.embedding("word_embeddings", config.size("vocab_size"), hidden)
    t.norm("word_embeddings_layernorm", hidden, bias=True)
    block = t.blocks("h", shape.layers)
    block.norm("input_layernorm", hidden, bias=True)
    block.linear("self_attention.query_key_value", hidden, 3 * hidden, bias=True, role="attention")
    block.linear("self_attention.dense", hidden, hidden, bias=True, role="attention")
    block.norm("post_attention_layernorm", hidden, bias=True)
    plain_mlp(block, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", hidden, 4 * hidden)
    t.norm("ln_f", hidden, bias=True)
    return body(
        config, shape, form="bloom", width=4 * hidden, gated=False, window=stated_window(config),
        max_context="seq_length", embedding="word_embeddings",
    )  # fmt: skip


def write_mpt(t: Tensors, config: Config) -> Body:
    """MptConfig -> MptModel: no bias anywhere, whatever ``no_bias`` says."""
    shape = multi_head(config.size("d_model"), config.layers("n_layers"), config.layers("n_heads"))
    hidden = shape.hidden
    t.embedding("wte", config.size("vocab_size"), hidden)
    block = t.blocks("blocks", shape.layers)
    block.norm("norm_1", hidden)
    block.linear("attn.Wqkv", hidden, 3 * hidden, role="attention")
    block.linear("attn.out_proj", hidden, hidden, role="attention")
    block.norm("norm_2", hidden)
    plain_mlp(block, "ffn.up_proj", "ffn.down_proj", hidden, 4 * hidden, bias=False)
    t.norm("norm_f", hidden)
    return body(
        config, shape, form="mpt", width=4 * hidden, gated=False, window=stated_window(config),
        max_context="max_seq_len", embedding="wte",
    )  # fmt: skip


read_bloom = causal_lm(write_bloom, "BloomForCausalLM", base="transformer", tied=True)
read_mpt = causal_lm(write_mpt, "MptForCausalLM", base="transformer", tied=True)
