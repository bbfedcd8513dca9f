"""gpt-oss: alternating windows, learned attention sinks, experts with biases stored (experts, in, out).

Mirrors transformers 5.23.0, models/gpt_oss/modeling_gpt_oss.py (GptOssForCausalLM).
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention, Experts, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import rotary_width
from gpufit.facts.families.moe_parts import (
    attention_caches,
    causal_lm,
    embed,
    head,
    layer_kinds,
    projections,
    rotary,
    router,
)  # fmt: skip


def read(config: Config) -> Architecture:
    """GptOssConfig -> GptOssForCausalLM."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers = config.layers("num_hidden_layers")
    heads, kv_heads = config.layers("num_attention_heads"), config.layers("num_key_value_heads", 8)
    head_dim = config.size("head_dim", 64)
    experts = Experts(
        count=config.layers("num_local_experts", 128), per_token=config.layers("num_experts_per_tok", 4),
        width=config.size("intermediate_size"),
    )  # fmt: skip
    kinds = layer_kinds(
        config, "layer_types", layers, ("full_attention", "sliding_attention"),
        default=tuple("full_attention" if i % 2 else "sliding_attention" for i in range(layers)),
    )  # fmt: skip
    rope = rotary_width(config, head_dim)

    t = Tensors()
    embed(t, vocab, hidden)
    block = t.blocks("model.layers", layers)
    block.add("self_attn.sinks", (heads,), "parameter", "attention")
    projections(block, hidden, heads, kv_heads, head_dim, bias=config.flag("attention_bias", True))
    router(block, hidden, experts, name="mlp.router")
    block.add("mlp.router.bias", (experts.count,), "parameter", "router")
    block.add("mlp.experts.gate_up_proj", (experts.count, hidden, 2 * experts.width), "experts", "experts")
    block.add("mlp.experts.gate_up_proj_bias", (experts.count, 2 * experts.width), "experts", "experts")
    block.add("mlp.experts.down_proj", (experts.count, experts.width, hidden), "experts", "experts")
    block.add("mlp.experts.down_proj_bias", (experts.count, hidden), "experts", "experts")
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("model.norm", hidden)
    rotary(t, rope)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    window = config.size("sliding_window", 128)
    return causal_lm(
        config, t, model_class="GptOssForCausalLM", form="gpt_oss", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, gated=True, experts=experts,
            attention=Attention(
                heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=head_dim, rope_dim=rope,
                window_tokens=window if "full_attention" not in kinds else None,
            ),
        ),
        cache=attention_caches(kinds, kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim, window=window),
        keep_fp32=("norm", "post_attention_layernorm", "input_layernorm"),
    )  # fmt: skip
