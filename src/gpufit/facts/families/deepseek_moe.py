"""DeepSeekMoE 16B, the first of the line: full attention, fine experts as separate modules, two shared ones.

transformers 5.23.0 has no class for it; the layout follows the checkpoint's own modeling_deepseek.py as publicly known
(deepseek-ai/deepseek-moe-16b-chat), and the parameter total equals the published one. Every layer keeps a rotary table
of all positions.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention, Experts, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.moe_parts import (
    attention_caches,
    causal_lm,
    embed,
    gated_mlp,
    head,
    projections,
    rest,
    router,
)  # fmt: skip
from gpufit.facts.families.remote import NOTE


def read(config: Config) -> Architecture:
    """DeepseekConfig -> DeepseekForCausalLM."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers, width = config.layers("num_hidden_layers"), config.size("intermediate_size")
    heads = config.layers("num_attention_heads")
    kv_heads, head_dim = config.layers("num_key_value_heads", heads), hidden // heads
    expert_width, bias = config.size("moe_intermediate_size"), config.flag("attention_bias", False)
    experts = Experts(
        count=config.layers("n_routed_experts"), per_token=config.layers("num_experts_per_tok"), width=expert_width,
        shared_width=expert_width * config.int("n_shared_experts", 0),
    )  # fmt: skip
    first, step = config.int("first_k_dense_replace", 0), config.layers("moe_layer_freq", 1)
    sparse = tuple(i for i in range(layers) if i >= first and i % step == 0)
    dense = rest(layers, sparse)

    t = Tensors()
    embed(t, vocab, hidden)
    block = t.blocks("model.layers", layers)
    projections(block, hidden, heads, kv_heads, head_dim, bias=bias)
    block.buffer("self_attn.rotary_emb.inv_freq", ((head_dim + 1) // 2,), "fp32")
    table = (config.size("max_position_embeddings", 2048), head_dim)
    for name in ("cos_cached", "sin_cached"):
        block.add(f"self_attn.rotary_emb.{name}", table, "buffer", "attention", saved=False)
    gated_mlp(t.blocks("model.layers", dense), hidden, width)
    moe = t.blocks("model.layers", sparse)
    gated_mlp(moe.blocks("mlp.experts", experts.count), hidden, expert_width, name="", role="experts")
    router(moe, hidden, experts)
    if experts.shared_width:
        gated_mlp(moe, hidden, experts.shared_width, name="mlp.shared_experts")
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("model.norm", hidden)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    return causal_lm(
        config, t, model_class="DeepseekForCausalLM", form="shared_moe", vocab=vocab, notes=(NOTE,),
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, gated=True, mlp_width=width if dense else 0, experts=experts,
            attention=Attention(
                heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=head_dim, rope_dim=head_dim
            ),
        ),
        cache=attention_caches(
            ("full_attention",) * layers, kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim
        ),
    )  # fmt: skip
