"""Decoders that mix Mamba layers with attention: Jamba, Bamba, Granite 4 and Nemotron-H.

Mirrors transformers 5.23.0: models/{jamba, bamba, granitemoehybrid, nemotron_h}.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Mixer, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import rotary_width
from gpufit.facts.families.mamba import (
    duality_cache,
    expanded,
    scan_cache,
    selective_scan,
    state_space_duality,
    time_rank,
)  # fmt: skip
from gpufit.facts.families.moe_parts import (
    causal_lm,
    embed,
    fused_experts,
    gated_mlp,
    head,
    layer_kinds,
    projections,
    rest,
    rotary,
    router,
    where,
)  # fmt: skip

_KINDS = ("linear_attention", "full_attention")


def _attention(config: Config, *, head_dim: int | None = None, rope: int = 0) -> Attention:
    heads = config.layers("num_attention_heads")
    dim = config.size("head_dim", config.size("hidden_size") // heads) if head_dim is None else head_dim
    return Attention(
        heads=heads, kv_heads=config.layers("num_key_value_heads", heads), head_dim=dim, value_dim=dim, rope_dim=rope
    )


def _keys_values(layers: int, attention: Attention) -> CacheLayers:
    return CacheLayers(
        kind="full", layers=layers, kv_heads=attention.kv_heads, key_dim=attention.head_dim,
        value_dim=attention.value_dim,
    )  # fmt: skip


def read_jamba(config: Config) -> Architecture:
    """JambaConfig -> JambaForCausalLM: Mamba with normed dt, B and C; no positions in its attention."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers, width = config.layers("num_hidden_layers"), config.size("intermediate_size")
    period, offset = config.layers("attn_layer_period", 8), config.int("attn_layer_offset", 4)
    expert_period, expert_offset = config.layers("expert_layer_period", 2), config.int("expert_layer_offset", 1)
    attention = _attention(config)
    experts = Experts(
        count=config.layers("num_experts", 16), per_token=config.layers("num_experts_per_tok", 2), width=width
    )
    mixer = Mixer(
        kind="mamba", inner=expanded(config, "mamba_expand", hidden), state=config.size("mamba_d_state", 16),
        conv=config.size("mamba_d_conv", 4), time_rank=time_rank(config, "mamba_dt_rank", hidden),
    )  # fmt: skip
    attending = tuple(i for i in range(layers) if i % period == offset)
    scanning = tuple(i for i in range(layers) if i % period != offset)
    sparse = tuple(i for i in range(layers) if i % expert_period == expert_offset and experts.count > 1)
    dense = rest(layers, sparse)

    t = Tensors()
    embed(t, vocab, hidden)
    block, scan = t.blocks("model.layers", layers), t.blocks("model.layers", scanning)
    selective_scan(
        scan, hidden, mixer, name="mamba", bias=config.flag("mamba_proj_bias", False),
        conv_bias=config.flag("mamba_conv_bias", True),
    )  # fmt: skip
    scan.norm("mamba.dt_layernorm", mixer.time_rank)
    scan.norm("mamba.b_layernorm", mixer.state)
    scan.norm("mamba.c_layernorm", mixer.state)
    projections(t.blocks("model.layers", attending), hidden, attention.heads, attention.kv_heads, attention.head_dim)
    gated_mlp(t.blocks("model.layers", dense), hidden, width, name="feed_forward")
    moe = t.blocks("model.layers", sparse)
    router(moe, hidden, experts, name="feed_forward.router")
    fused_experts(moe, hidden, experts, name="feed_forward.experts")
    block.norm("input_layernorm", hidden)
    block.norm("pre_ff_layernorm", hidden)
    t.norm("model.final_layernorm", hidden)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    return causal_lm(
        config, t, model_class="JambaForCausalLM", form="jamba", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, mlp_width=width if dense else 0, gated=True, mixer=mixer,
            attention=attention if attending else None, experts=experts if sparse else None,
        ),
        cache=(_keys_values(len(attending), attention), scan_cache(len(scanning), mixer)),
    )  # fmt: skip


def _duality_mixer(config: Config) -> Mixer:
    """Mamba-2 under the names that Bamba and Granite give it."""
    hidden, heads = config.size("hidden_size"), config.layers("mamba_n_heads", 128)
    inner = expanded(config, "mamba_expand", hidden)
    automatic = config.raw("mamba_d_head") in (None, "auto")
    mixer = Mixer(
        kind="mamba2", inner=inner, state=config.size("mamba_d_state", 256), conv=config.size("mamba_d_conv", 4),
        heads=heads, head_dim=inner // heads if automatic else config.size("mamba_d_head"),
        groups=config.layers("mamba_n_groups", 1), chunk=config.size("mamba_chunk_size", 256),
    )  # fmt: skip
    if mixer.heads * mixer.head_dim != inner:
        raise BadConfig(f"mamba_n_heads × mamba_d_head = {mixer.heads * mixer.head_dim} is not the inner width {inner}")
    return mixer


def read_bamba(config: Config) -> Architecture:
    """BambaConfig -> BambaForCausalLM: half of each attention head rotates."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers, width = config.layers("num_hidden_layers"), config.size("intermediate_size")
    chosen = set(config.list("attn_layer_indices", ()))
    attending = tuple(i for i in range(layers) if i in chosen)
    scanning = tuple(i for i in range(layers) if i not in chosen)
    mixer, mlp_bias = _duality_mixer(config), config.flag("mlp_bias", False)
    head_dim = config.size("head_dim", hidden // config.layers("num_attention_heads"))
    attention = _attention(config, rope=int(head_dim * 0.5))

    t = Tensors()
    embed(t, vocab, hidden)
    block = t.blocks("model.layers", layers)
    gated_mlp(block, hidden, width, name="feed_forward", bias=mlp_bias)
    block.norm("input_layernorm", hidden)
    block.norm("pre_ff_layernorm", hidden)
    state_space_duality(
        t.blocks("model.layers", scanning), hidden, mixer, name="mamba", bias=config.flag("mamba_proj_bias", False),
        conv_bias=config.flag("mamba_conv_bias", True),
    )  # fmt: skip
    projections(
        t.blocks("model.layers", attending), hidden, attention.heads, attention.kv_heads, attention.head_dim,
        bias=config.flag("attention_bias", False),
    )  # fmt: skip
    t.norm("model.final_layernorm", hidden)
    rotary(t, attention.rope_dim)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    return causal_lm(
        config, t, model_class="BambaForCausalLM", form="bamba", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, mlp_width=width, gated=True, mixer=mixer,
            attention=attention if attending else None,
        ),
        cache=(_keys_values(len(attending), attention), duality_cache(len(scanning), mixer)),
    )  # fmt: skip


def read_granitemoehybrid(config: Config) -> Architecture:
    """GraniteMoeHybridConfig -> GraniteMoeHybridForCausalLM; small Granite 4 models have neither Mamba nor experts."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers, shared = config.layers("num_hidden_layers"), config.size("shared_intermediate_size", 1024)
    key = "layer_types" if "layer_types" in config else "layers_block_type"
    kinds = layer_kinds(config, key, layers, _KINDS, default=("linear_attention",) * layers)
    attending, scanning = where(kinds, "full_attention"), where(kinds, "linear_attention")
    head_dim = hidden // config.layers("num_attention_heads")
    rotated = rotary_width(config, head_dim) if config.text("position_embedding_type", None) == "rope" else 0
    attention = _attention(config, head_dim=head_dim, rope=rotated)
    mixer = _duality_mixer(config) if scanning else None
    experts = Experts(
        count=config.int("num_local_experts", 8), per_token=config.int("num_experts_per_tok", 2),
        width=config.size("intermediate_size"), shared_width=shared,
    )  # fmt: skip

    t = Tensors()
    embed(t, vocab, hidden)
    block = t.blocks("model.layers", layers)
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    if experts.count:
        router(block, hidden, experts, name="block_sparse_moe.router")
        fused_experts(block, hidden, experts, name="block_sparse_moe.experts")
    block.linear("shared_mlp.input_linear", hidden, 2 * shared, role="mlp")
    block.linear("shared_mlp.output_linear", shared, hidden, role="mlp")
    if mixer:
        state_space_duality(
            t.blocks("model.layers", scanning), hidden, mixer, name="mamba",
            bias=config.flag("mamba_proj_bias", False), conv_bias=config.flag("mamba_conv_bias", True),
        )  # fmt: skip
    projections(
        t.blocks("model.layers", attending), hidden, attention.heads, attention.kv_heads, head_dim,
        bias=config.flag("attention_bias", False),
    )  # fmt: skip
    t.norm("model.norm", hidden)
    if rotated:
        rotary(t, rotated)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    keys_values = _keys_values(len(attending), attention)
    return causal_lm(
        config, t, model_class="GraniteMoeHybridForCausalLM", form="granitemoehybrid", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, mlp_width=shared, gated=True, mixer=mixer,
            attention=attention if attending else None, experts=experts if experts.count else None,
        ),
        cache=(keys_values, duality_cache(len(scanning), mixer)) if mixer else (keys_values,),
    )  # fmt: skip
