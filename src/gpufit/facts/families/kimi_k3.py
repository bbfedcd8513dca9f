"""Kimi K3: a picture tower before a Kimi Linear whose experts work in a narrower space and whose layers look back.

Mirrors the checkpoint as vLLM 0.33.0 reads it: models/kimi_k3/nvidia/{model,mla,kda}.py, the experts of a layer fused
as in the other readers. transformers has no class for it, and no parameter count of it was at hand.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Mixer, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.kimi_k3_tower import projector, read_tower
from gpufit.facts.families.kimi_linear import FULL, LINEAR, attention_kinds, delta_cache, delta_mixer
from gpufit.facts.families.mla import latent_attention, latent_cache
from gpufit.facts.families.moe_parts import (
    correction,
    embed,
    fused_experts,
    gated_mlp,
    head,
    rest,
    router,
    where,
)  # fmt: skip
from gpufit.facts.families.record import finish
from gpufit.records import replace

NOTE = (
    "layout as vLLM 0.33.0 reads the checkpoint: transformers has no class for kimi_k3, and no published parameter "
    "count was at hand to prove it"
)
_PREFIX = "language_model.model"


def read(config: Config) -> Architecture:
    """KimiK3Config -> KimiK3ForConditionalGeneration, without multi-token prediction layers."""
    text, vision = config.section("text_config"), config.section("vision_config")
    if text is None or vision is None:
        raise BadConfig("config has no text_config or no vision_config", hint="the model's config.json must state both")
    vocab, hidden = text.size("vocab_size"), text.size("hidden_size")
    t = Tensors()
    picture, merged = read_tower(t.under("vision_tower"), vision)
    projector(t.under("mm_projector"), vision, merged, hidden)
    stack, cache = _decoder(t.under(_PREFIX), text, vocab, hidden)
    head(
        t, vocab, hidden, tied=text.flag("tie_word_embeddings", False), name="language_model.lm_head",
        embedding=f"{_PREFIX}.embed_tokens",
    )  # fmt: skip
    found = finish(
        config, t, model_class=config.model_class("KimiK3ForConditionalGeneration"), task="vision-language",
        form="kimi_k3", stacks=(stack, picture), vocab_size=vocab, output="language_model.lm_head.weight",
        cache=tuple(entry for entry in cache if entry.layers), notes=(NOTE,),
        max_context_tokens=text.size("max_position_embeddings", None), dtype=text.text("dtype", None),
    )  # fmt: skip
    quantization = text.section("quantization_config")  # KimiK3Config lifts it from the text section to the whole
    if quantization is None or found.config_quantization is not None:
        return found
    return replace(found, config_quantization=quantization.text("quant_method", "bitsandbytes"))


def _decoder(t: Tensors, config: Config, vocab: int, hidden: int) -> tuple[Stack, tuple[CacheLayers, ...]]:
    layers, width = config.layers("num_hidden_layers"), config.size("intermediate_size")
    linear = config.section("linear_attn_config")
    kinds = attention_kinds(config, linear, layers)
    delta, latent = where(kinds, LINEAR), where(kinds, FULL)
    mixer, attention, experts = delta_mixer(config, linear), _attention(config), _experts(config)
    first, every = config.int("first_k_dense_replace", 0), config.layers("moe_layer_freq", 1)
    sparse = tuple(i for i in range(layers) if i >= first and i % every == 0)

    embed(t, vocab, hidden, "embed_tokens")
    _delta_attention(
        t.blocks("layers", delta).under("self_attn"), hidden, mixer,
        full_gate=linear.flag("use_full_rank_gate", False) if linear else False,
    )  # fmt: skip
    full = t.blocks("layers", latent)
    latent_attention(full, hidden, attention, bias=False)
    if config.flag("mla_use_output_gate", False):
        full.linear("self_attn.g_proj", hidden, attention.heads * attention.value_dim, role="attention")
    gated_mlp(t.blocks("layers", rest(layers, sparse)), hidden, width)
    _mixture(t.blocks("layers", sparse).under("block_sparse_moe"), config, hidden, experts)
    block = t.blocks("layers", layers)
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    if "attn_res_block_size" in config:
        for name in ("self_attention_res", "mlp_res"):
            _look_back(block, name, hidden)
        _look_back(t, "output_attn_res", hidden)
    t.norm("norm", hidden)
    stack = Stack(
        role="decoder", layers=layers, hidden=hidden, gated=True, mlp_width=width if len(sparse) < layers else 0,
        attention=attention if latent else None, mixer=mixer if delta else None, experts=experts if sparse else None,
    )  # fmt: skip
    return stack, (latent_cache(len(latent), attention), delta_cache(len(delta), mixer))


def _look_back(t: Tensors, name: str, hidden: int) -> None:
    """What weighs the earlier blocks' outputs against each other: one number for each of them and a token."""
    t.norm(f"{name}_norm", hidden)
    t.linear(f"{name}_proj", hidden, 1, role="attention")


def _attention(config: Config) -> Attention:
    heads, rope = config.layers("num_attention_heads"), config.size("qk_rope_head_dim")
    return Attention(
        heads=heads, kv_heads=heads, head_dim=config.size("qk_nope_head_dim") + rope, rope_dim=rope,
        value_dim=config.size("v_head_dim"), query_rank=config.size("q_lora_rank", 0),
        kv_rank=config.size("kv_lora_rank"),
    )  # fmt: skip


def _experts(config: Config) -> Experts:
    width = config.size("moe_intermediate_size")
    return Experts(
        count=config.layers("num_experts"), per_token=config.layers("num_experts_per_token"), width=width,
        shared_width=width * config.int("num_shared_experts", 0),
    )  # fmt: skip


def _mixture(moe: Tensors, config: Config, hidden: int, experts: Experts) -> None:
    """Experts between a projection down to their own width and one back up; the shared one keeps the full width."""
    narrow = config.size("routed_expert_hidden_size", None)
    router(moe, hidden, experts, name="gate")
    correction(moe, experts, name="gate")
    fused_experts(moe, narrow or hidden, experts, name="experts")
    if narrow:
        moe.linear("routed_expert_down_proj", hidden, narrow, role="experts")
        if config.flag("latent_moe_use_norm", False):
            moe.norm("routed_expert_norm", narrow)
        moe.linear("routed_expert_up_proj", narrow, hidden, role="experts")
    if experts.shared_width:
        gated_mlp(moe, hidden, experts.shared_width, name="shared_experts")


def _delta_attention(layer: Tensors, hidden: int, mixer: Mixer, *, full_gate: bool) -> None:
    """Kimi Linear's layer as checkpoints store it, its output gate of full rank where ``full_gate``."""
    inner, dim = mixer.inner, mixer.head_dim
    for name in ("q", "k", "v"):
        layer.linear(f"{name}_proj", hidden, inner, role="mixer")
        layer.add(f"{name}_conv1d.weight", (inner, 1, mixer.conv), "conv", "mixer", dtype="fp32")
    layer.add("dt_bias", (inner,), "parameter", "mixer", dtype="fp32")
    layer.add("A_log", (1, 1, mixer.heads, 1), "parameter", "mixer", dtype="fp32")
    layer.linear("f_a_proj", hidden, dim, role="mixer")
    layer.linear("f_b_proj", dim, inner, role="mixer")
    layer.linear("b_proj", hidden, mixer.heads, role="mixer")
    if full_gate:
        layer.linear("g_proj", hidden, inner, role="mixer")
    else:
        layer.linear("g_a_proj", hidden, dim, role="mixer")
        layer.linear("g_b_proj", dim, inner, role="mixer")
    layer.norm("o_norm", dim)
    layer.linear("o_proj", inner, hidden, role="mixer")
