"""Nemotron-H and Nemotron 3: one mixer per layer, which is Mamba-2, attention, an MLP or experts, never two of them.

Mirrors transformers 5.23.0, models/nemotron_h/modeling_nemotron_h.py (NemotronHForCausalLM).
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Mixer, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.mamba import duality_cache, state_space_duality
from gpufit.facts.families.moe_parts import causal_lm, correction, embed, head, layer_kinds, projections, router, where

_LETTERS = {"M": "linear_attention", "E": "moe", "*": "full_attention", "-": "mlp"}
_KINDS = tuple(_LETTERS.values())


def _kinds(config: Config) -> tuple[str, ...]:
    """One kind a layer: a list, or a pattern such as "M-M*"; the number of layers follows from it."""
    for key in ("layers_block_type", "layer_types"):
        if key in config:
            return layer_kinds(config, key, len(config.list(key)), _KINDS, default=())
    pattern = config.raw("hybrid_override_pattern")
    if not isinstance(pattern, str) or not 0 < len(pattern) <= 4096 or set(pattern) - _LETTERS.keys():
        raise BadConfig("hybrid_override_pattern is not a string of M, E, * and - for Mamba, experts, attention, MLP")
    return tuple(_LETTERS[letter] for letter in pattern)


def read(config: Config) -> Architecture:
    """NemotronHConfig -> NemotronHForCausalLM, without its multi-token prediction layers."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    kinds = _kinds(config)
    scanning, attending = where(kinds, "linear_attention"), where(kinds, "full_attention")
    dense, sparse = where(kinds, "mlp"), where(kinds, "moe")
    width, mlp_bias = config.size("intermediate_size", 21504), config.flag("mlp_bias", False)
    bias, head_dim = config.flag("use_bias", False), config.size("head_dim", 128)
    attention = Attention(
        heads=config.layers("num_attention_heads"), kv_heads=config.layers("num_key_value_heads", 8),
        head_dim=head_dim, value_dim=head_dim,
    )  # fmt: skip
    heads, mixer_dim = config.layers("mamba_num_heads", 128), config.size("mamba_head_dim", 64)
    mixer = Mixer(
        kind="mamba2", inner=heads * mixer_dim, heads=heads, head_dim=mixer_dim,
        state=config.size("ssm_state_size", 128),
        conv=config.size("mamba_d_conv", config.size("conv_kernel", 4)),
        groups=config.layers("mamba_n_groups", config.layers("n_groups", 8)),
        chunk=config.size("mamba_chunk_size", config.size("chunk_size", 128)),
    )  # fmt: skip
    experts = Experts(
        count=config.layers("n_routed_experts", 8), per_token=config.layers("num_experts_per_tok", 2),
        width=config.size("moe_intermediate_size", 7688),
        shared_width=config.size("moe_shared_expert_intermediate_size", 7688),
    )  # fmt: skip
    latent = config.size("moe_latent_size", None)
    routed = latent or hidden

    t = Tensors()
    embed(t, vocab, hidden, name="model.embeddings")
    t.blocks("model.layers", len(kinds)).norm("norm", hidden)
    conv_bias = config.flag("mamba_conv_bias", config.flag("use_conv_bias", True))
    state_space_duality(t.blocks("model.layers", scanning), hidden, mixer, name="mixer", bias=bias, conv_bias=conv_bias)
    moe = t.blocks("model.layers", sparse)
    moe.add("mixer.experts.up_proj", (experts.count, experts.width, routed), "experts", "experts")
    moe.add("mixer.experts.down_proj", (experts.count, routed, experts.width), "experts", "experts")
    router(moe, hidden, experts, name="mixer.gate")
    correction(moe, experts, name="mixer.gate")
    moe.linear("mixer.shared_experts.up_proj", hidden, experts.shared_width, bias=mlp_bias, role="mlp")
    moe.linear("mixer.shared_experts.down_proj", experts.shared_width, hidden, bias=mlp_bias, role="mlp")
    if latent:
        moe.linear("mixer.fc1_latent_proj", hidden, latent, bias=mlp_bias, role="mlp")
        moe.linear("mixer.fc2_latent_proj", latent, hidden, bias=mlp_bias, role="mlp")
    mlp = t.blocks("model.layers", dense)
    mlp.linear("mixer.up_proj", hidden, width, bias=mlp_bias, role="mlp")
    mlp.linear("mixer.down_proj", width, hidden, bias=mlp_bias, role="mlp")
    projections(
        t.blocks("model.layers", attending), hidden, attention.heads, attention.kv_heads, head_dim, name="mixer"
    )
    t.norm("model.norm_f", hidden)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False), embedding="model.embeddings")

    return causal_lm(
        config, t, model_class="NemotronHForCausalLM", form="nemotron_h", vocab=vocab,
        stack=Stack(
            role="decoder", layers=len(kinds), hidden=hidden, mlp_width=width if dense else 0, gated=False,
            attention=attention if attending else None, experts=experts if sparse else None,
            mixer=mixer if scanning else None, fp32_residual=config.flag("residual_in_fp32", False),
        ),
        cache=(
            CacheLayers(
                kind="full", layers=len(attending), kv_heads=attention.kv_heads, key_dim=head_dim, value_dim=head_dim
            ),
            duality_cache(len(scanning), mixer),
        ),
        keep_fp32_strict=("e_score_correction_bias",),
    )  # fmt: skip
