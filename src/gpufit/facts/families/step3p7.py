"""Step 3.7's text decoder: gated attention heads, windows in three of four layers, experts after a dense start.

Mirrors the language model of transformers 5.23.0, models/step3p7/modeling_step3p7.py. A published text checkpoint calls
its class Step3p7FlashForCausalLM, which transformers has not: its layout is taken to be that language model's, and no
published parameter count was at hand to prove it. With a picture tower the family is not read.
"""

from __future__ import annotations

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.architecture import Architecture, Attention, Experts, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.moe_parts import (
    attention_caches,
    causal_lm,
    correction,
    embed,
    fused_experts,
    gated_mlp,
    head,
    layer_kinds,
    projections,
    router,
    where,
)  # fmt: skip

NOTE = "layout of transformers' step3p7 language model: the text-only class is not in transformers, its count unproved"
_FULL, _SLIDING = "full_attention", "sliding_attention"


def read(config: Config) -> Architecture:
    """A flat Step3p7TextConfig -> the language model and its head, without multi-token prediction layers."""
    if "vision_config" in config or "text_config" in config:
        raise UnknownFamily("step3p7 with a picture tower")
    hidden, vocab, layers = config.size("hidden_size"), config.size("vocab_size"), config.layers("num_hidden_layers")
    heads, kv_heads = config.layers("num_attention_heads"), config.layers("num_key_value_heads", 8)
    other = config.section("attention_other_setting") or Config({})
    sliding_heads = config.layers("num_sliding_attention_heads", other.layers("num_attention_heads", heads))
    head_dim, width = config.size("head_dim", 128), config.size("intermediate_size", 11264)
    bias, mlp_bias = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    kinds = layer_kinds(config, "layer_types", layers, (_FULL, _SLIDING), default=(_FULL,) * layers)
    first = min(config.int("first_k_dense_replace", 3), layers)
    mlps = layer_kinds(
        config, "mlp_layer_types", layers, ("dense", "sparse"),
        default=("dense",) * first + ("sparse",) * (layers - first),
    )  # fmt: skip
    experts = Experts(
        count=config.layers("n_routed_experts", config.layers("num_experts", 288)),
        per_token=config.layers("num_experts_per_tok", 8), width=config.size("moe_intermediate_size", 1280),
        shared_width=config.size("share_expert_dim", 1280),
    )  # fmt: skip
    window = config.size("sliding_window", None)

    t = Tensors()
    embed(t, vocab, hidden)
    for kind, count in ((_FULL, heads), (_SLIDING, sliding_heads)):
        layer = t.blocks("model.layers", where(kinds, kind))
        projections(layer, hidden, count, kv_heads, head_dim, bias=bias)
        layer.norm("self_attn.q_norm", head_dim)
        layer.norm("self_attn.k_norm", head_dim)
        layer.linear("self_attn.g_proj", hidden, count, role="attention")
    gated_mlp(t.blocks("model.layers", where(mlps, "dense")), hidden, width, bias=mlp_bias)
    moe = t.blocks("model.layers", where(mlps, "sparse"))
    router(moe, hidden, experts)
    correction(moe, experts, kept=False)
    fused_experts(moe, hidden, experts)
    gated_mlp(moe, hidden, experts.shared_width, name="mlp.shared_experts", bias=mlp_bias)
    block = t.blocks("model.layers", layers)
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("model.norm", hidden)
    for kind in dict.fromkeys(kinds):
        size = (_rotated(config, kinds, kind, head_dim) + 1) // 2
        t.buffer(f"model.rotary_emb.{kind}_inv_freq", (size,), "fp32")
        t.buffer(f"model.rotary_emb.{kind}_original_inv_freq", (size,), "fp32")
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    return causal_lm(
        config, t, model_class="Step3p7FlashForCausalLM", form="step3p7", vocab=vocab, notes=(NOTE,),
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, gated=True, mlp_width=width if "dense" in mlps else 0,
            experts=experts if "sparse" in mlps else None,
            attention=Attention(
                heads=max(heads, sliding_heads), kv_heads=kv_heads, head_dim=head_dim, value_dim=head_dim,
                rope_dim=head_dim, window_tokens=window if _FULL not in kinds else None,
            ),
        ),
        cache=attention_caches(kinds, kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim, window=window),
    )  # fmt: skip


def _rotated(config: Config, kinds: tuple[str, ...], kind: str, head_dim: int) -> int:
    """Rotated width of a layer kind, from the factor of its first layer."""
    factors = config.list("partial_rotary_factors", None)
    if factors is None:
        return head_dim
    at = kinds.index(kind)
    factor = Config({"partial_rotary_factors": factors[at] if at < len(factors) else None})
    share = factor.number("partial_rotary_factors")
    if not 0 < share <= 1:
        raise BadConfig(f"config key partial_rotary_factors holds {share}, not a share of the head")
    return int(head_dim * share)
