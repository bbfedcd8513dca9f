"""Gemma 4's text decoder: wider heads in full layers, layers that reuse a cache, per-layer embeddings, experts.

Mirrors transformers 5.23.0, models/gemma4/modeling_gemma4.py (Gemma4ForCausalLM).
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import finish, head_of, unknown_class
from gpufit.facts.families.windows import FULL, SLIDING, every_nth_full, layer_kinds
from gpufit.records import record


@record
class _Kind:
    """The attention of one kind of layer. ``value_dim`` is 0 where values are the keys."""

    name: str
    layers: tuple[int, ...]
    heads: int
    kv_heads: int
    head_dim: int
    separate_values: bool


def read(config: Config) -> Architecture:
    """Gemma4TextConfig -> Gemma4ForCausalLM."""
    model_class, head = head_of(config, "Gemma4", "ForCausalLM")
    if head != "ForCausalLM":
        raise unknown_class(config, model_class)
    hidden = config.size("hidden_size", 2304)
    width = config.size("intermediate_size", 9216)
    layers = config.layers("num_hidden_layers", 30)
    vocab = config.size("vocab_size", 262144)
    kinds = _kinds(config, layers)
    window = config.size("sliding_window", 512)
    if config.text("use_bidirectional_attention", None) == "all":
        window = window // 2 + 1  # the key holds both sides; the configuration class halves it
    shared = config.int("num_kv_shared_layers", 0)
    own = layers - shared
    if own < 1:
        raise BadConfig(f"config key {config.path}num_kv_shared_layers = {shared} leaves no layer of {layers}")
    experts = _experts(config) if config.flag("enable_moe_block", False) else None

    t = Tensors()
    model = t.under("model")
    model.embedding("embed_tokens", vocab, hidden)
    model.buffer("embed_tokens.embed_scale", (), "fp32", role="embedding")
    for kind in kinds:
        _attention(model, config, kind, hidden, own)
    _blocks(model, config, hidden, width, layers, own, experts)
    model.norm("norm", hidden)
    for kind in sorted(kinds, key=lambda kind: kind.name):
        model.buffer(f"rotary_emb.{kind.name}_inv_freq", (kind.head_dim // 2,), "fp32")
        model.buffer(f"rotary_emb.{kind.name}_original_inv_freq", (kind.head_dim // 2,), "fp32")
    _per_layer_embedding(model, config, hidden, layers)
    tied = "model.embed_tokens.weight" if config.flag("tie_word_embeddings", True) else None
    t.linear("lm_head", hidden, vocab, role="output", tied_to=tied)

    first = kinds[0]
    return finish(
        config, t, model_class=model_class, task="causal-lm", form="gemma4", vocab_size=vocab, output="lm_head.weight",
        stacks=(
            Stack(
                role="decoder", layers=layers, hidden=hidden, mlp_width=width, gated=True, experts=experts,
                attention=Attention(
                    heads=first.heads, kv_heads=first.kv_heads, head_dim=first.head_dim, value_dim=first.head_dim,
                    rope_dim=first.head_dim, window_tokens=window if first.name == SLIDING else None,
                ),
            ),
        ),
        cache=_cache(kinds, own, shared, window),
        max_context_tokens=config.size("max_position_embeddings", 131072),
    )  # fmt: skip


def _kinds(config: Config, layers: int) -> tuple[_Kind, ...]:
    """Sliding and full layers; the last layer is always full."""
    names = layer_kinds(config, layers, every_nth_full(layers, 6))
    names = (*names[:-1], FULL)
    heads, kv_heads = config.layers("num_attention_heads", 8), config.layers("num_key_value_heads", 4)
    keys_are_values = config.flag("attention_k_eq_v", False)
    full_kv_heads = (config.layers("num_global_key_value_heads", None) if keys_are_values else None) or kv_heads
    head_dim = config.size("head_dim", 256)
    sliding = _Kind(
        name=SLIDING, layers=tuple(i for i, name in enumerate(names) if name == SLIDING), heads=heads,
        kv_heads=kv_heads, head_dim=head_dim, separate_values=True,
    )  # fmt: skip
    full = _Kind(
        name=FULL, layers=tuple(i for i, name in enumerate(names) if name == FULL), heads=heads,
        kv_heads=full_kv_heads, head_dim=config.size("global_head_dim", 512), separate_values=not keys_are_values,
    )  # fmt: skip
    return tuple(kind for kind in (sliding, full) if kind.layers)


def _experts(config: Config) -> Experts:
    return Experts(
        count=config.layers("num_experts"), per_token=config.layers("top_k_experts"),
        width=config.size("moe_intermediate_size"),
    )  # fmt: skip


def _attention(t: Tensors, config: Config, kind: _Kind, hidden: int, own: int) -> None:
    """Layers from ``own`` on reuse keys and values, and have no weights to make them."""
    bias = config.flag("attention_bias", False)
    query, key = kind.heads * kind.head_dim, kind.kv_heads * kind.head_dim
    block = t.blocks("layers", kind.layers)
    block.linear("self_attn.q_proj", hidden, query, bias=bias, role="attention")
    block.norm("self_attn.q_norm", kind.head_dim)
    producers = t.blocks("layers", tuple(i for i in kind.layers if i < own))
    producers.norm("self_attn.k_norm", kind.head_dim)
    producers.linear("self_attn.k_proj", hidden, key, bias=bias, role="attention")
    if kind.separate_values:
        producers.linear("self_attn.v_proj", hidden, key, bias=bias, role="attention")
    block.linear("self_attn.o_proj", query, hidden, bias=bias, role="attention")


def _blocks(
    t: Tensors, config: Config, hidden: int, width: int, layers: int, own: int, experts: Experts | None
) -> None:
    """Everything of a block but its attention."""
    double = config.flag("use_double_wide_mlp", False)
    for indices, factor in ((tuple(range(own)), 1), (tuple(range(own, layers)), 2 if double else 1)):
        mlp = t.blocks("layers", indices)
        mlp.linear("mlp.gate_proj", hidden, factor * width, role="mlp")
        mlp.linear("mlp.up_proj", hidden, factor * width, role="mlp")
        mlp.linear("mlp.down_proj", factor * width, hidden, role="mlp")
    block = t.blocks("layers", layers)
    for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
        block.norm(f"{name}_layernorm", hidden)
    block.add("layer_scalar", (1,), "buffer", "norm", dtype="fp32")
    per_layer = config.int("hidden_size_per_layer_input", 256)
    if per_layer:
        block.linear("per_layer_input_gate", hidden, per_layer, role="mlp")
        block.linear("per_layer_projection", per_layer, hidden, role="mlp")
        block.norm("post_per_layer_input_norm", hidden)
    if experts:
        block.add("router.scale", (hidden,), "parameter", "router")
        block.add("router.per_expert_scale", (experts.count,), "parameter", "router")
        block.linear("router.proj", hidden, experts.count, role="router")
        block.add("experts.gate_up_proj", (experts.count, 2 * experts.width, hidden), "experts", "experts")
        block.add("experts.down_proj", (experts.count, hidden, experts.width), "experts", "experts")
        for name in ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "pre_feedforward_layernorm_2"):
            block.norm(name, hidden)


def _per_layer_embedding(t: Tensors, config: Config, hidden: int, layers: int) -> None:
    """A second embedding that feeds every layer a slice of its own."""
    per_layer = config.int("hidden_size_per_layer_input", 256)
    if not per_layer:
        return
    t.embedding("embed_tokens_per_layer", config.size("vocab_size_per_layer_input", 262144), layers * per_layer)
    t.buffer("embed_tokens_per_layer.embed_scale", (), "fp32", role="embedding")
    t.linear("per_layer_model_projection", hidden, layers * per_layer, role="embedding")
    t.norm("per_layer_projection_norm", per_layer)


def _cache(kinds: tuple[_Kind, ...], own: int, shared: int, window: int) -> tuple[CacheLayers, ...]:
    """Keys and values are cached apart even where one projection makes both (the value skips the norm's scale)."""
    caches = [
        CacheLayers(
            kind="sliding" if kind.name == SLIDING else "full", layers=sum(i < own for i in kind.layers),
            kv_heads=kind.kv_heads, key_dim=kind.head_dim, value_dim=kind.head_dim,
            window_tokens=window if kind.name == SLIDING else None,
        )
        for kind in kinds
    ]  # fmt: skip
    if shared:
        caches.append(CacheLayers(kind="shared", layers=shared))
    return tuple(cache for cache in caches if cache.layers)
