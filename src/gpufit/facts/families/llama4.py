"""Llama 4's text decoder: chunked attention with rotation, every fourth layer full and without, one expert per token.

Mirrors transformers 5.23.0, models/llama4/modeling_llama4.py (Llama4ForCausalLM). ``write`` serves the language model
inside Llama4ForConditionalGeneration too, under its prefix.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import rotary_width
from gpufit.facts.families.moe_parts import (
    attention_caches,
    causal_lm,
    gated_mlp,
    head,
    layer_kinds,
    projections,
    rest,
    rotary,
)  # fmt: skip


def write(t: Tensors, config: Config) -> tuple[Stack, tuple[CacheLayers, ...]]:
    """Llama4TextModel under the prefix of ``t``; experts are stored (experts, in, out)."""
    hidden, layers = config.size("hidden_size"), config.layers("num_hidden_layers")
    heads, kv_heads = config.layers("num_attention_heads"), config.layers("num_key_value_heads", 8)
    head_dim, width = config.size("head_dim", 128), config.size("intermediate_size", 8192)
    rope, dense_width = rotary_width(config, head_dim), config.size("intermediate_size_mlp", 16384)
    experts = Experts(
        count=config.layers("num_local_experts", 16), per_token=config.layers("num_experts_per_tok", 1), width=width,
        shared_width=width,
    )  # fmt: skip
    step, interval = config.layers("interleave_moe_layer_step", 1), config.layers("no_rope_layer_interval", 4)
    chosen = config.list("moe_layers", None)
    sparse = tuple(i for i in range(layers) if (i in chosen if chosen is not None else (i + 1) % step == 0))
    dense = rest(layers, sparse)
    rotated = config.list("no_rope_layers", ()) or tuple(int((i + 1) % interval != 0) for i in range(layers))
    kinds = layer_kinds(
        config, "layer_types", layers, ("full_attention", "chunked_attention"),
        default=tuple("chunked_attention" if rotates else "full_attention" for rotates in rotated),
    )  # fmt: skip
    chunk = config.size("attention_chunk_size", 8192 if config.absent("attention_chunk_size") else None)

    t.embedding("embed_tokens", config.size("vocab_size"), hidden)
    block = t.blocks("layers", layers)
    projections(block, hidden, heads, kv_heads, head_dim, bias=config.flag("attention_bias", False))
    gated_mlp(t.blocks("layers", dense), hidden, dense_width, name="feed_forward")
    moe = t.blocks("layers", sparse).under("feed_forward")
    moe.add("experts.gate_up_proj", (experts.count, hidden, 2 * width), "experts", "experts")
    moe.add("experts.down_proj", (experts.count, width, hidden), "experts", "experts")
    moe.add("router.weight", (experts.count, hidden), "parameter", "router")
    gated_mlp(moe, hidden, width, name="shared_expert")
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("norm", hidden)
    rotary(t, rope, name="rotary_emb")

    stack = Stack(
        role="decoder", layers=layers, hidden=hidden, gated=True, mlp_width=dense_width if dense else 0,
        experts=experts if sparse else None,
        attention=Attention(
            heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=head_dim, rope_dim=rope,
            window_tokens=chunk if "full_attention" not in kinds else None,
        ),
    )  # fmt: skip
    return stack, attention_caches(kinds, kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim, window=chunk)


def read_text(config: Config) -> Architecture:
    """Llama4TextConfig -> Llama4ForCausalLM."""
    t = Tensors()
    stack, cache = write(t.under("model"), config)
    vocab = config.size("vocab_size")
    head(t, vocab, stack.hidden, tied=config.flag("tie_word_embeddings", False))
    return causal_lm(config, t, model_class="Llama4ForCausalLM", form="llama4", stack=stack, vocab=vocab, cache=cache)
