"""MiMo-V2-Flash: windows in five of six layers, with sinks and twice the key-value heads; values narrower than keys.

Mirrors transformers 5.23.0, models/mimo_v2_flash/modeling_mimo_v2_flash.py (MiMoV2FlashForCausalLM).
"""

from __future__ import annotations

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

_FULL, _SLIDING = "full_attention", "sliding_attention"


def read(config: Config) -> Architecture:
    """MiMoV2FlashConfig -> MiMoV2FlashForCausalLM."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers, width = config.layers("num_hidden_layers"), config.size("intermediate_size")
    heads, kv_heads = config.layers("num_attention_heads"), config.layers("num_key_value_heads", 4)
    key_dim, value_dim = config.size("head_dim", 192), config.size("v_head_dim", 128)
    bias = config.flag("attention_bias", False)
    kinds = layer_kinds(
        config, "layer_types", layers, (_FULL, _SLIDING),
        default=tuple(_FULL if i == 0 or (i + 1) % 6 == 0 else _SLIDING for i in range(layers)),
    )  # fmt: skip
    mlps = layer_kinds(
        config, "mlp_layer_types", layers, ("dense", "sparse"), default=("dense",) + ("sparse",) * (layers - 1)
    )
    experts = Experts(
        count=config.layers("n_routed_experts", 256), per_token=config.layers("num_experts_per_tok", 8),
        width=config.size("moe_intermediate_size", 2048),
    )  # fmt: skip
    # the reference attends to sliding_window_size earlier tokens and the query itself
    earlier = config.size("sliding_window_size", None)
    window = earlier + 1 if earlier else config.size("sliding_window", 129)
    full, sliding = where(kinds, _FULL), where(kinds, _SLIDING)
    ropes = {kind: _rotated(config, kind, key_dim) for kind in (_FULL, _SLIDING)}

    t = Tensors()
    embed(t, vocab, hidden)
    t.blocks("model.layers", sliding).add("self_attn.sinks", (heads,), "parameter", "attention")
    for indices, cached_heads in ((full, kv_heads), (sliding, 2 * kv_heads)):
        projections(
            t.blocks("model.layers", indices), hidden, heads, cached_heads, key_dim, value_dim=value_dim, bias=bias,
            output_bias=False,
        )  # fmt: skip
    gated_mlp(t.blocks("model.layers", where(mlps, "dense")), hidden, width)
    moe = t.blocks("model.layers", where(mlps, "sparse"))
    fused_experts(moe, hidden, experts)
    router(moe, hidden, experts)
    correction(moe, experts)
    block = t.blocks("model.layers", layers)
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("model.norm", hidden)
    for kind in dict.fromkeys(kinds):
        for table in ("inv_freq", "original_inv_freq"):
            t.buffer(f"model.rotary_emb.{kind}_{table}", ((ropes[kind] + 1) // 2,), "fp32")
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    dims = {"key_dim": key_dim, "value_dim": value_dim, "window": window}
    return causal_lm(
        config, t, model_class="MiMoV2FlashForCausalLM", form="mimo_v2_flash", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, gated=True, mlp_width=width if "dense" in mlps else 0,
            experts=experts if "sparse" in mlps else None,
            attention=Attention(
                heads=heads, kv_heads=kv_heads, head_dim=key_dim, value_dim=value_dim, rope_dim=ropes[_FULL],
                window_tokens=None if full else window,
            ),
        ),
        cache=(
            *attention_caches((_FULL,) * len(full), kv_heads=kv_heads, **dims),
            *attention_caches((_SLIDING,) * len(sliding), kv_heads=2 * kv_heads, **dims),
        ),
        keep_fp32_strict=("e_score_correction_bias",),
    )  # fmt: skip


def _rotated(config: Config, kind: str, head_dim: int) -> int:
    """Rotated width of a layer kind; a config without ``rope_parameters`` takes the released model's third."""
    nested = config.section("rope_parameters")
    section = nested.section(kind) if nested else None
    factor = section.number("partial_rotary_factor", 1.0) if section else 0.334
    return int(head_dim * factor)
