"""LFM2: short gated convolutions, which keep a few inputs, between attention layers.

Mirrors transformers 5.23.0, models/lfm2/modeling_lfm2.py (Lfm2ForCausalLM).
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Mixer, Stack, StateTensor
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import rotary_width
from gpufit.facts.families.moe_parts import causal_lm, embed, head, layer_kinds, projections, rotary, where


def _mlp_width(config: Config) -> int:
    """The stated width, or two thirds of it times a factor, rounded up to a multiple."""
    width: int = config.size("block_ff_dim", config.size("intermediate_size", 12288))
    if not config.flag("block_auto_adjust_ff_dim", True):
        return width
    factor = config.number("block_ffn_dim_multiplier", 1.0 if config.absent("block_ffn_dim_multiplier") else None)
    width = 2 * width // 3
    if factor is not None:
        multiple = config.size("block_multiple_of", 256)
        width = multiple * -(-int(factor * width) // multiple)
    if width < 1:
        raise BadConfig(f"config key {config.path}block_ffn_dim_multiplier = {factor} leaves no MLP")
    return width


def read(config: Config) -> Architecture:
    """Lfm2Config -> Lfm2ForCausalLM."""
    hidden, vocab, layers = config.size("hidden_size"), config.size("vocab_size"), config.layers("num_hidden_layers")
    heads, kv_heads = config.layers("num_attention_heads"), config.layers("num_key_value_heads", 8)
    head_dim, width = config.size("head_dim", hidden // heads), _mlp_width(config)
    chosen = set(config.list("full_attn_idxs", tuple(range(layers))))
    kinds = layer_kinds(
        config, "layer_types", layers, ("full_attention", "conv"),
        default=tuple("full_attention" if i in chosen else "conv" for i in range(layers)),
    )  # fmt: skip
    attending, convolving = where(kinds, "full_attention"), where(kinds, "conv")
    kernel, bias = config.size("conv_L_cache", 3), config.flag("conv_bias", False)
    rope = rotary_width(config, head_dim)

    t = Tensors()
    embed(t, vocab, hidden)
    attention = t.blocks("model.layers", attending)
    projections(attention, hidden, heads, kv_heads, head_dim, output="out_proj")
    attention.norm("self_attn.q_layernorm", head_dim)
    attention.norm("self_attn.k_layernorm", head_dim)
    conv = t.blocks("model.layers", convolving).under("conv")
    conv.add("conv.weight", (hidden, 1, kernel), "conv", "mixer")
    if bias:
        conv.add("conv.bias", (hidden,), "conv", "mixer")
    conv.linear("in_proj", hidden, 3 * hidden, bias=bias, role="mixer")
    conv.linear("out_proj", hidden, hidden, bias=bias, role="mixer")
    block = t.blocks("model.layers", layers)
    block.linear("feed_forward.w1", hidden, width, role="mlp")
    block.linear("feed_forward.w3", hidden, width, role="mlp")
    block.linear("feed_forward.w2", width, hidden, role="mlp")
    block.norm("operator_norm", hidden)
    block.norm("ffn_norm", hidden)
    rotary(t, rope)
    t.norm("model.embedding_norm", hidden)
    tied = config.flag("tie_embedding", config.flag("tie_word_embeddings", True))
    head(t, vocab, hidden, tied=tied)

    return causal_lm(
        config, t, model_class="Lfm2ForCausalLM", form="lfm2", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, mlp_width=width, gated=True,
            attention=Attention(
                heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=head_dim, rope_dim=rope
            ) if attending else None,
            mixer=Mixer(kind="short_conv", inner=hidden, state=0, conv=kernel) if convolving else None,
        ),
        cache=(
            CacheLayers(
                kind="full", layers=len(attending), kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim
            ),
            CacheLayers(
                kind="state", layers=len(convolving), state=(StateTensor(name="conv", shape=(hidden, kernel)),)
            ),
        ),
    )  # fmt: skip
