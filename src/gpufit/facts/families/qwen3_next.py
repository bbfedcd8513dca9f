"""Qwen3-Next and Qwen3.5: three gated delta nets to one gated attention, dense or with experts.

Mirrors transformers 5.23.0: models/{qwen3_next, qwen3_5, qwen3_5_moe}. ``text_decoder`` serves the text-only classes
and, under another prefix, the language model inside the vision-language ones.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Mixer, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import rotary_width
from gpufit.facts.families.moe import qwen_sparse_layers
from gpufit.facts.families.moe_parts import (
    causal_lm,
    embed,
    fused_experts,
    gated_mlp,
    head,
    layer_kinds,
    rest,
    rotary,
    router,
    state_cache,
    where,
)  # fmt: skip


def text_decoder(
    t: Tensors, config: Config, *, prefix: str, experts: Experts | None, sparse: tuple[int, ...], width: int,
    joint_projections: bool,
) -> tuple[Stack, tuple[CacheLayers, ...]]:  # fmt: skip
    """Write the decoder under ``prefix``; Qwen3-Next projects q, k, v and z at once, Qwen3.5 apart."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers = config.layers("num_hidden_layers")
    every = config.layers("full_attention_interval", 4)
    kinds = layer_kinds(
        config, "layer_types", layers, ("linear_attention", "full_attention"),
        default=tuple("linear_attention" if (i + 1) % every else "full_attention" for i in range(layers)),
    )  # fmt: skip
    linear, full = where(kinds, "linear_attention"), where(kinds, "full_attention")
    head_dim = config.size("head_dim", 256)
    attention = Attention(
        heads=config.layers("num_attention_heads"), kv_heads=config.layers("num_key_value_heads"), head_dim=head_dim,
        value_dim=head_dim, rope_dim=rotary_width(config, head_dim, 0.25),
    )  # fmt: skip
    value_heads, value_dim = config.layers("linear_num_value_heads", 32), config.size("linear_value_head_dim", 128)
    mixer = Mixer(
        kind="gated_delta_net", inner=value_heads * value_dim, heads=value_heads, head_dim=value_dim,
        key_heads=config.layers("linear_num_key_heads", 16), key_dim=config.size("linear_key_head_dim", 128),
        state=config.size("linear_key_head_dim", 128), conv=config.size("linear_conv_kernel_dim", 4),
        chunk=64,  # torch_chunk_gated_delta_rule's own default
    )  # fmt: skip

    embed(t, vocab, hidden, name=f"{prefix}.embed_tokens")
    _delta_net(t.blocks(f"{prefix}.layers", linear).under("linear_attn"), hidden, mixer, joint=joint_projections)
    _gated_attention(t.blocks(f"{prefix}.layers", full), config, hidden, attention)
    dense = rest(layers, sparse)
    gated_mlp(t.blocks(f"{prefix}.layers", dense), hidden, width)
    if experts:
        moe = t.blocks(f"{prefix}.layers", sparse)
        router(moe, hidden, experts)
        fused_experts(moe, hidden, experts)
        gated_mlp(moe, hidden, experts.shared_width, name="mlp.shared_expert")
        moe.linear("mlp.shared_expert_gate", hidden, 1, role="router")
    block = t.blocks(f"{prefix}.layers", layers)
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm(f"{prefix}.norm", hidden)
    rotary(t, attention.rope_dim, name=f"{prefix}.rotary_emb")

    stack = Stack(
        role="decoder", layers=layers, hidden=hidden, gated=True, mlp_width=width if dense else 0, experts=experts,
        attention=attention if full else None, mixer=mixer if linear else None,
    )  # fmt: skip
    keys_values = CacheLayers(
        kind="full", layers=len(full), kv_heads=attention.kv_heads, key_dim=head_dim, value_dim=head_dim
    )
    # the delta rule accumulates in fp32, and the cache takes its state as it comes
    state = state_cache(
        len(linear), (_mixed_width(mixer), mixer.conv), (mixer.heads, mixer.key_dim, mixer.head_dim), "fp32"
    )
    return stack, (keys_values, state)


def _mixed_width(mixer: Mixer) -> int:
    """Channels of the convolution: queries, keys and values."""
    return 2 * mixer.key_heads * mixer.key_dim + mixer.inner


def _delta_net(net: Tensors, hidden: int, mixer: Mixer, *, joint: bool) -> None:
    net.add("dt_bias", (mixer.heads,), "parameter", "mixer")
    net.add("A_log", (mixer.heads,), "parameter", "mixer")
    net.add("conv1d.weight", (_mixed_width(mixer), 1, mixer.conv), "conv", "mixer")
    if joint:
        net.linear("in_proj_qkvz", hidden, _mixed_width(mixer) + mixer.inner, role="mixer")
        net.linear("in_proj_ba", hidden, 2 * mixer.heads, role="mixer")
    net.norm("norm", mixer.head_dim)
    net.linear("out_proj", mixer.inner, hidden, role="mixer")
    if not joint:
        net.linear("in_proj_qkv", hidden, _mixed_width(mixer), role="mixer")
        net.linear("in_proj_z", hidden, mixer.inner, role="mixer")
        net.linear("in_proj_b", hidden, mixer.heads, role="mixer")
        net.linear("in_proj_a", hidden, mixer.heads, role="mixer")


def _gated_attention(block: Tensors, config: Config, hidden: int, attention: Attention) -> None:
    """Attention whose query projection also gives an output gate, hence twice as wide."""
    heads, kv_heads, dim = attention.heads, attention.kv_heads, attention.head_dim
    bias = config.flag("attention_bias", False)
    block.linear("self_attn.q_proj", hidden, 2 * heads * dim, bias=bias, role="attention")
    block.linear("self_attn.k_proj", hidden, kv_heads * dim, bias=bias, role="attention")
    block.linear("self_attn.v_proj", hidden, kv_heads * dim, bias=bias, role="attention")
    block.linear("self_attn.o_proj", heads * dim, hidden, bias=bias, role="attention")
    block.norm("self_attn.q_norm", dim)
    block.norm("self_attn.k_norm", dim)


def moe_experts(config: Config, *, count: int, per_token: int) -> Experts:
    """Routed experts and the gated shared one, with a family's defaults."""
    return Experts(
        count=config.layers("num_experts", count), per_token=config.layers("num_experts_per_tok", per_token),
        width=config.size("moe_intermediate_size", 512),
        shared_width=config.size("shared_expert_intermediate_size", 512),
    )  # fmt: skip


def _finish(
    config: Config, t: Tensors, stack: Stack, cache: tuple[CacheLayers, ...], *, model_class: str, form: str
) -> Architecture:
    vocab = config.size("vocab_size")
    head(t, vocab, stack.hidden, tied=config.flag("tie_word_embeddings", False))
    return causal_lm(config, t, model_class=model_class, form=form, stack=stack, vocab=vocab, cache=cache)


def read(config: Config) -> Architecture:
    """Qwen3NextConfig -> Qwen3NextForCausalLM, without its multi-token prediction layer."""
    t = Tensors()
    stack, cache = text_decoder(
        t, config, prefix="model", experts=moe_experts(config, count=512, per_token=10),
        sparse=qwen_sparse_layers(config, config.layers("num_hidden_layers")),
        width=config.size("intermediate_size", 5632), joint_projections=True,
    )  # fmt: skip
    return _finish(config, t, stack, cache, model_class="Qwen3NextForCausalLM", form="qwen3_next")


def read_qwen3_5_text(config: Config) -> Architecture:
    """Qwen3_5TextConfig -> Qwen3_5ForCausalLM: a dense MLP in every layer."""
    t = Tensors()
    stack, cache = text_decoder(
        t, config, prefix="model", experts=None, sparse=(), width=config.size("intermediate_size", 12288),
        joint_projections=False,
    )  # fmt: skip
    return _finish(config, t, stack, cache, model_class="Qwen3_5ForCausalLM", form="qwen3_5")


def read_qwen3_5_moe_text(config: Config) -> Architecture:
    """Qwen3_5MoeTextConfig -> Qwen3_5MoeForCausalLM: experts in every layer."""
    t = Tensors()
    stack, cache = text_decoder(
        t, config, prefix="model", experts=moe_experts(config, count=256, per_token=8), width=0,
        sparse=tuple(range(config.layers("num_hidden_layers"))), joint_projections=False,
    )  # fmt: skip
    return _finish(config, t, stack, cache, model_class="Qwen3_5MoeForCausalLM", form="qwen3_next")
