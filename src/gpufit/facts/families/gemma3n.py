"""Gemma 3n's text decoder: several streams of the residual, embeddings for each layer, layers that reuse a cache.

Mirrors transformers 5.23.0, models/gemma3n/modeling_gemma3n.py (Gemma3nForCausalLM). The whole model's picture tower is
a network of the timm package, which its configuration names and does not describe: that is not read.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheKind, CacheLayers, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.moe_parts import gated_mlp, where
from gpufit.facts.families.record import finish, head_of, unknown_class
from gpufit.facts.families.windows import FULL, SLIDING, every_nth_full, layer_kinds
from gpufit.facts.tensors import Role


def read(config: Config) -> Architecture:
    """Gemma3nTextConfig -> Gemma3nForCausalLM."""
    model_class, head = head_of(config, "Gemma3n", "ForCausalLM")
    if head != "ForCausalLM":
        raise unknown_class(config, model_class)
    hidden, vocab = config.size("hidden_size", 2048), config.size("vocab_size", 262400)
    layers = config.layers("num_hidden_layers", 35)
    kinds = layer_kinds(config, layers, every_nth_full(layers, 5))
    own = layers - config.int("num_kv_shared_layers", 15)
    if own < 1 or set(kinds[:own]) != set(kinds):
        raise BadConfig(f"the first {max(own, 0)} of {layers} layers do not cache for each kind of layer")
    widths, attention = _widths(config, layers), _attention(config)

    t = Tensors()
    model = t.under("model")
    model.embedding("embed_tokens", vocab, hidden)
    _scale(model, "embed_tokens.embed_scale", "embedding")
    _attend(model, config, hidden, attention, layers, own)
    for width in dict.fromkeys(widths):
        gated_mlp(model.blocks("layers", tuple(i for i in range(layers) if widths[i] == width)), hidden, width)
    _blocks(model, config, hidden, layers)
    model.norm("norm", hidden)
    for kind in sorted(set(kinds)):
        model.buffer(f"rotary_emb.{kind}_inv_freq", (attention.head_dim // 2,), "fp32")
        model.buffer(f"rotary_emb.{kind}_original_inv_freq", (attention.head_dim // 2,), "fp32")
    _streams(model, config, hidden, layers)
    tied = "model.embed_tokens.weight" if config.flag("tie_word_embeddings", True) else None
    t.linear("lm_head", hidden, vocab, role="output", tied_to=tied)

    return finish(
        config, t, model_class=model_class, task="causal-lm", form="gemma3n", vocab_size=vocab,
        output="lm_head.weight", max_context_tokens=config.size("max_position_embeddings", 32768),
        stacks=(
            Stack(
                role="decoder", layers=layers, hidden=hidden, mlp_width=max(widths), gated=True, attention=attention
            ),
        ),
        cache=_cache(kinds[:own], attention, config.size("sliding_window", 512), layers - own),
    )  # fmt: skip


def _widths(config: Config, layers: int) -> tuple[int, ...]:
    """One width for each layer; a single number stands for all."""
    if not isinstance(config.raw("intermediate_size"), (list, tuple)):
        return (config.size("intermediate_size", 16384),) * layers
    widths = config.list("intermediate_size")
    if len(widths) != layers:
        raise BadConfig(f"config key {config.path}intermediate_size has {len(widths)} entries for {layers} layers")
    return tuple(Config({"intermediate_size": width}, path=config.path).size("intermediate_size") for width in widths)


def _attention(config: Config) -> Attention:
    dim = config.size("head_dim", 256)
    return Attention(
        heads=config.layers("num_attention_heads", 8), kv_heads=config.layers("num_key_value_heads", 2), head_dim=dim,
        value_dim=dim, rope_dim=dim,
    )  # fmt: skip


def _attend(t: Tensors, config: Config, hidden: int, attention: Attention, layers: int, own: int) -> None:
    """Layers from ``own`` on reuse keys and values, and have no weights to make them."""
    bias, dim = config.flag("attention_bias", False), attention.head_dim
    block, producers = t.blocks("layers", layers), t.blocks("layers", own)
    block.linear("self_attn.q_proj", hidden, attention.heads * dim, bias=bias, role="attention")
    block.norm("self_attn.q_norm", dim)
    producers.linear("self_attn.k_proj", hidden, attention.kv_heads * dim, bias=bias, role="attention")
    producers.linear("self_attn.v_proj", hidden, attention.kv_heads * dim, bias=bias, role="attention")
    producers.norm("self_attn.k_norm", dim)
    block.linear("self_attn.o_proj", attention.heads * dim, hidden, bias=bias, role="attention")


def _blocks(t: Tensors, config: Config, hidden: int, layers: int) -> None:
    """Everything of a block but its attention and MLP: norms, alternating updates, LAuReL, its own embedding."""
    block, streams = t.blocks("layers", layers), config.layers("altup_num_inputs", 4)
    rank, per_layer = config.size("laurel_rank", 64), config.size("hidden_size_per_layer_input", 256)
    for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
        block.norm(f"{name}_layernorm", hidden)
    altup = block.under("altup")
    altup.add("correct_output_scale", (hidden,), "parameter", "mlp")
    altup.linear("correction_coefs", streams, streams, role="mlp")
    altup.linear("prediction_coefs", streams, streams**2, role="mlp")
    altup.linear("modality_router", hidden, streams, role="mlp")
    altup.norm("router_norm", hidden)
    _scale(altup, "router_input_scale", "mlp")
    block.linear("laurel.linear_left", hidden, rank, role="mlp")
    block.linear("laurel.linear_right", rank, hidden, role="mlp")
    block.norm("laurel.post_laurel_norm", hidden)
    block.linear("per_layer_input_gate", hidden, per_layer, role="mlp")
    block.linear("per_layer_projection", per_layer, hidden, role="mlp")
    block.norm("post_per_layer_input_norm", hidden)


def _streams(t: Tensors, config: Config, hidden: int, layers: int) -> None:
    """The embeddings of each layer, and what splits the residual into streams and joins them."""
    per_layer, streams = config.size("hidden_size_per_layer_input", 256), config.layers("altup_num_inputs", 4)
    t.embedding("embed_tokens_per_layer", config.size("vocab_size_per_layer_input", 262144), layers * per_layer)
    _scale(t, "embed_tokens_per_layer.embed_scale", "embedding")
    t.linear("per_layer_model_projection", hidden, layers * per_layer, role="embedding")
    t.norm("per_layer_projection_norm", per_layer)
    _scale(t, "per_layer_projection_scale", "embedding")
    _scale(t, "per_layer_input_scale", "embedding")
    for name in ("altup_projections", "altup_unembed_projections"):
        for stream in range(streams - 1):
            t.linear(f"{name}.{stream}", hidden, hidden, role="mlp")


def _scale(t: Tensors, name: str, role: Role) -> None:
    """A number that the constructor fills under the model's dtype; no checkpoint holds it."""
    t.add(name, (), "buffer", role, saved=False)


def _cache(kinds: tuple[str, ...], attention: Attention, window: int, shared: int) -> tuple[CacheLayers, ...]:
    def own(kind: CacheKind, layers: int, bound: int | None = None) -> CacheLayers:
        return CacheLayers(
            kind=kind, layers=layers, kv_heads=attention.kv_heads, key_dim=attention.head_dim,
            value_dim=attention.value_dim, window_tokens=bound,
        )  # fmt: skip

    caches = (
        own("sliding", len(where(kinds, SLIDING)), window),
        own("full", len(where(kinds, FULL))),
        CacheLayers(kind="shared", layers=shared),
    )
    return tuple(cache for cache in caches if cache.layers)
