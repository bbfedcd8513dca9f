"""MiniMax M3's text decoder: full attention that an indexer narrows to blocks of keys, experts after a dense start.

Mirrors transformers 5.23.0, models/minimax_m3_vl/modeling_minimax_m3_vl.py (MiniMaxM3VLForCausalLM). A published text
checkpoint calls itself ``minimax_m3``, which transformers has no class for; its keys are those that transformers' text
configuration takes, and it is read as that.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import rotary_width
from gpufit.facts.families.moe_parts import (
    causal_lm,
    correction,
    embed,
    fused_experts,
    head,
    layer_kinds,
    projections,
    rotary,
    router,
    where,
)  # fmt: skip

NOTE = "read as transformers' MiniMaxM3VLForCausalLM: transformers has no class for minimax_m3"
_FULL, _INDEXED = "full_attention", "minimax_m3_sparse"


def _switched(config: Config, key: str, layers: int, off: str, on: str) -> tuple[str, ...] | None:
    """A list of one 0 or 1 a layer, as two kinds of layer; None where the config has none."""
    switches = config.list(key, None)
    if switches is None:
        return None
    if len(switches) != layers:
        raise BadConfig(f"config key {config.path}{key} has {len(switches)} entries for {layers} layers")
    return tuple(on if switch else off for switch in switches)


def read(config: Config) -> Architecture:
    """MiniMaxM3VLTextConfig -> MiniMaxM3VLForCausalLM."""
    hidden, vocab, layers = config.size("hidden_size"), config.size("vocab_size"), config.layers("num_hidden_layers")
    heads, kv_heads = config.layers("num_attention_heads"), config.layers("num_key_value_heads", 4)
    head_dim, dense_width = config.size("head_dim", 128), config.size("dense_intermediate_size", 12288)
    experts = Experts(
        count=config.layers("num_local_experts", 128), per_token=config.layers("num_experts_per_tok", 4),
        width=config.size("intermediate_size", 3072), shared_width=config.size("shared_intermediate_size", 3072),
    )  # fmt: skip
    indexing = config.section("sparse_attention_config") or Config({})
    index_heads = indexing.layers("sparse_num_index_heads", config.layers("index_n_heads", 4))
    index_dim = indexing.size("sparse_index_dim", config.size("index_head_dim", 128))
    kinds = layer_kinds(
        config, "layer_types", layers, (_FULL, _INDEXED),
        default=_switched(indexing, "sparse_attention_freq", layers, _FULL, _INDEXED) or (_FULL,) * layers,
    )  # fmt: skip
    mlps = layer_kinds(
        config, "mlp_layer_types", layers, ("dense", "sparse"),
        default=_switched(config, "moe_layer_freq", layers, "dense", "sparse") or ("sparse",) * layers,
    )  # fmt: skip
    rope, indexed = rotary_width(config, head_dim), where(kinds, _INDEXED)

    t = Tensors()
    embed(t, vocab, hidden)
    block = t.blocks("model.layers", layers)
    projections(block, hidden, heads, kv_heads, head_dim)
    block.norm("self_attn.q_norm", head_dim)
    block.norm("self_attn.k_norm", head_dim)
    indexer = t.blocks("model.layers", indexed).under("self_attn.indexer")
    indexer.linear("q_proj", hidden, index_heads * index_dim, role="attention")
    indexer.linear("k_proj", hidden, index_dim, role="attention")
    indexer.norm("q_norm", index_dim)
    indexer.norm("k_norm", index_dim)
    _joint_mlp(t.blocks("model.layers", where(mlps, "dense")).under("mlp"), hidden, dense_width)
    moe = t.blocks("model.layers", where(mlps, "sparse"))
    router(moe, hidden, experts)
    correction(moe, experts, kept=False)
    fused_experts(moe, hidden, experts)
    _joint_mlp(moe.under("mlp.shared_experts"), hidden, experts.shared_width)
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("model.norm", hidden)
    rotary(t, rope)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    def keys_values(count: int, index: int) -> CacheLayers:
        return CacheLayers(
            kind="full", layers=count, kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim, index_dim=index
        )

    return causal_lm(
        config, t, model_class="MiniMaxM3VLForCausalLM", form="minimax_m3", vocab=vocab,
        notes=(NOTE,) if config.text("model_type") == "minimax_m3" else (),
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, gated=True, mlp_width=dense_width if "dense" in mlps else 0,
            experts=experts if "sparse" in mlps else None,
            attention=Attention(
                heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=head_dim, rope_dim=rope
            ),
        ),
        cache=(keys_values(len(indexed), index_dim), keys_values(layers - len(indexed), 0)),
    )  # fmt: skip


def _joint_mlp(mlp: Tensors, hidden: int, width: int) -> None:
    """Gate and up projection in one matrix."""
    mlp.linear("gate_up_proj", hidden, 2 * width, role="mlp")
    mlp.linear("down_proj", width, hidden, role="mlp")
