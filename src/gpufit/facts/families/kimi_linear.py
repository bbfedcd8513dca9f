"""Kimi Linear: delta attention with a decay per channel in three of four layers, latent attention in the rest.

Mirrors transformers 5.23.0, models/kimi_linear/modeling_kimi_linear.py (KimiLinearForCausalLM).
"""

from __future__ import annotations

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Mixer, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.mla import latent_attention, latent_cache
from gpufit.facts.families.moe_parts import (
    causal_lm,
    correction,
    embed,
    fused_experts,
    gated_mlp,
    head,
    layer_kinds,
    router,
    state_cache,
    where,
)  # fmt: skip

FULL, LINEAR = "full_attention", "linear_attention"


def attention_kinds(config: Config, linear: Config | None, layers: int) -> tuple[str, ...]:
    """``layer_types``; or the checkpoint's own lists, which count layers from one; or every fifth layer full."""
    listed = linear is not None and "full_attn_layers" in linear and "kda_layers" in linear
    if "layer_types" in config or not listed or linear is None:
        default = tuple(FULL if i and i % 4 == 0 else LINEAR for i in range(layers))
        return layer_kinds(config, "layer_types", layers, (FULL, LINEAR), default=default)
    full, delta = set(linear.list("full_attn_layers")), set(linear.list("kda_layers"))
    if full | delta != set(range(1, layers + 1)) or full & delta:
        raise BadConfig("linear_attn_config does not name each layer once")
    return tuple(FULL if i + 1 in full else LINEAR for i in range(layers))


def delta_mixer(config: Config, linear: Config | None) -> Mixer:
    """The delta attention's dimensions: of the checkpoint's own section, else under transformers' names."""
    own = linear or Config({})
    heads = own.layers("num_heads", config.layers("linear_num_heads", 32))
    dim = own.size("head_dim", config.size("linear_head_dim", 128))
    return Mixer(
        kind="kimi_delta", inner=heads * dim, state=dim, heads=heads, head_dim=dim, key_heads=heads, key_dim=dim,
        conv=own.size("short_conv_kernel_size", config.size("linear_conv_kernel_dim", 4)),
    )  # fmt: skip


def delta_cache(layers: int, mixer: Mixer) -> CacheLayers:
    """The three convolutions' last inputs, and a square state for each head in fp32."""
    return state_cache(
        layers, (3 * mixer.inner, mixer.conv), (mixer.heads, mixer.head_dim, mixer.head_dim), "fp32"
    )  # fmt: skip


_NEWER = ("routed_expert_hidden_size", "mla_use_output_gate", "attn_res_block_size")


def read(config: Config) -> Architecture:
    """KimiLinearConfig -> KimiLinearForCausalLM; UnknownFamily for Kimi K3's additions, which it does not mirror."""
    newer = next((key for key in _NEWER if key in config), None)
    if newer is not None:
        raise UnknownFamily(f"kimi_linear with {newer}")
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers, width = config.layers("num_hidden_layers"), config.size("intermediate_size", 9216)
    linear = config.section("linear_attn_config")
    kinds = attention_kinds(config, linear, layers)
    mixer = delta_mixer(config, linear)
    rope = config.size("qk_rope_head_dim", 64)
    attention = Attention(
        heads=config.layers("num_attention_heads"), kv_heads=config.layers("num_attention_heads"),
        head_dim=config.size("qk_nope_head_dim", 128) + rope, value_dim=config.size("v_head_dim", 128),
        query_rank=config.size("q_lora_rank", 0 if "q_lora_rank" not in config else None),
        kv_rank=config.size("kv_lora_rank", 512), rope_dim=rope,
    )  # fmt: skip
    expert_width = config.size("moe_intermediate_size", 1024)
    experts = Experts(
        count=config.layers("num_local_experts", config.layers("num_experts", 256)),
        per_token=config.layers("num_experts_per_tok", config.layers("num_experts_per_token", 8)), width=expert_width,
        shared_width=expert_width * config.layers("n_shared_experts", config.layers("num_shared_experts", 1)),
    )  # fmt: skip
    first = min(config.int("first_k_dense_replace", 1), layers)
    mlps = layer_kinds(
        config, "mlp_layer_types", layers, ("dense", "sparse"),
        default=("dense",) * first + ("sparse",) * (layers - first),
    )  # fmt: skip
    delta, latent = where(kinds, LINEAR), where(kinds, FULL)

    t = Tensors()
    embed(t, vocab, hidden)
    _delta_attention(t.blocks("model.layers", delta).under("self_attn"), hidden, mixer)
    latent_attention(t.blocks("model.layers", latent), hidden, attention, bias=config.flag("attention_bias", False))
    gated_mlp(t.blocks("model.layers", where(mlps, "dense")), hidden, width)
    moe = t.blocks("model.layers", where(mlps, "sparse"))
    fused_experts(moe, hidden, experts)
    router(moe, hidden, experts)
    correction(moe, experts, kept=False)
    gated_mlp(moe, hidden, experts.shared_width, name="mlp.shared_experts")
    block = t.blocks("model.layers", layers)
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("model.norm", hidden)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    return causal_lm(
        config, t, model_class="KimiLinearForCausalLM", form="kimi_linear", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, gated=True, mlp_width=width if "dense" in mlps else 0,
            attention=attention if latent else None, mixer=mixer if delta else None,
            experts=experts if "sparse" in mlps else None,
        ),
        cache=(
            latent_cache(len(latent), attention),
            delta_cache(len(delta), mixer),
        ),
    )  # fmt: skip


def _delta_attention(layer: Tensors, hidden: int, mixer: Mixer) -> None:
    inner, dim = mixer.inner, mixer.head_dim
    layer.linear("q_proj", hidden, inner, role="mixer")
    layer.linear("k_proj", hidden, inner, role="mixer")
    layer.linear("v_proj", hidden, inner, role="mixer")
    layer.add("conv1d.weight", (3 * inner, 1, mixer.conv), "conv", "mixer")
    layer.add("forget_gate.dt_bias", (inner,), "parameter", "mixer")
    layer.add("forget_gate.A_log", (1, 1, mixer.heads, 1), "parameter", "mixer")
    layer.linear("forget_gate.f_a_proj", hidden, dim, role="mixer")
    layer.linear("forget_gate.f_b_proj", dim, inner, role="mixer")
    layer.linear("b_proj", hidden, mixer.heads, role="mixer")
    layer.linear("g_a_proj", hidden, dim, role="mixer")
    layer.linear("g_b_proj", dim, inner, role="mixer")
    layer.norm("o_norm", dim)
    layer.linear("o_proj", inner, hidden, role="mixer")
