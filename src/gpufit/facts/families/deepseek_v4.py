"""DeepSeek V4: a window in every layer, beside it compressed entries for few or for many tokens; four residual streams.

Mirrors transformers 5.23.0, models/deepseek_v4/modeling_deepseek_v4.py (DeepseekV4ForCausalLM). What a layer caches:
sliding layers keep keys and values apart though they are equal; compressed layers keep one tensor for both, one
compressed entry per ``rate`` tokens (the sparse kind also an indexer's), and the projections of the tokens still
waiting for their entry. Those are recorded at their largest, ``rate`` tokens; right after a prompt the waiting tokens
are views that keep the whole prompt's projections alive until the next token.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Stack, StateTensor
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.moe_parts import (
    causal_lm,
    correction,
    embed,
    fused_experts,
    gated_mlp,
    head,
    layer_kinds,
    router,
    where,
)  # fmt: skip

_SLIDING, _SPARSE, _HEAVY = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
_BY_RATIO = {0: _SLIDING, 4: _SPARSE, 128: _HEAVY}
_FP32 = (
    "self_attn.compressor.kv_proj", "self_attn.compressor.gate_proj", "self_attn.compressor.indexer.kv_proj",
    "self_attn.compressor.indexer.gate_proj", "self_attn.compressor.indexer.scorer.weights_proj",
)  # fmt: skip
_FP32_ALWAYS = (
    "attn_hc", "ffn_hc", "hc_head", "sinks", "position_bias", "e_score_correction_bias", "norm", "kv_norm", "q_a_norm",
    "input_layernorm", "post_attention_layernorm",
)  # fmt: skip


def _kinds(config: Config, layers: int) -> tuple[str, ...]:
    """``layer_types``, or the checkpoint's compression ratios (0, 4, 128), whose surplus is for its MTP layers."""
    ratios = config.list("compress_ratios", None)
    if "layer_types" in config or ratios is None:
        default = tuple(_SPARSE if i >= 2 and i % 2 else _HEAVY for i in range(layers))
        return layer_kinds(config, "layer_types", layers, (_SLIDING, _SPARSE, _HEAVY), default=default)
    if len(ratios) < layers or any(type(ratio) is not int or ratio not in _BY_RATIO for ratio in ratios):
        raise BadConfig("compress_ratios does not give each layer one of 0, 4 and 128")
    return tuple(_BY_RATIO[ratio] for ratio in ratios[:layers])


def _rates(config: Config) -> tuple[int, int]:
    """Tokens per compressed entry, of the sparse and of the heavy kind."""
    stated = config.section("compress_rates") or Config({})
    sparse = config.size("compress_rate_csa", stated.size(_SPARSE, 4))
    heavy = config.size("compress_rate_hca", stated.size(_HEAVY, 128))
    return sparse, heavy


def _rotated(config: Config, head_dim: int) -> int:
    width = config.size("qk_rope_head_dim", None)
    factor = config.number("partial_rotary_factor", width / head_dim if width else 64 / 512)
    if not 0 < factor <= 1:
        raise BadConfig(f"a rotary part of {factor} is not a share of the head")
    return int(head_dim * factor)


def read(config: Config) -> Architecture:
    """DeepseekV4Config -> DeepseekV4ForCausalLM, without its multi-token prediction layer."""
    hidden, vocab, layers = config.size("hidden_size"), config.size("vocab_size"), config.layers("num_hidden_layers")
    heads, dim = config.layers("num_attention_heads"), config.size("head_dim", 512)
    rank, streams = config.size("q_lora_rank", 1024), config.layers("hc_mult", 4)
    groups, group_rank = config.layers("o_groups", 8), config.size("o_lora_rank", 1024)
    index_dim, index_heads = config.size("index_head_dim", 128), config.layers("index_n_heads", 64)
    # transformers takes the two keys for one, and the general name wins
    width = config.size("intermediate_size", config.size("moe_intermediate_size", 2048))
    experts = Experts(
        count=config.layers("n_routed_experts", 256), per_token=config.layers("num_experts_per_tok", 6), width=width,
        shared_width=width,
    )  # fmt: skip
    kinds, rates, rope = _kinds(config, layers), _rates(config), _rotated(config, dim)
    hashed = min(config.int("num_hash_layers", 3), layers)
    mlps = layer_kinds(
        config, "mlp_layer_types", layers, ("hash_moe", "moe"),
        default=("hash_moe",) * hashed + ("moe",) * (layers - hashed),
    )  # fmt: skip

    t = Tensors()
    embed(t, vocab, hidden)
    block = t.blocks("model.layers", layers)
    block.add("self_attn.sinks", (heads,), "parameter", "attention")
    block.linear("self_attn.q_a_proj", hidden, rank, role="attention")
    block.norm("self_attn.q_a_norm", rank)
    block.linear("self_attn.q_b_proj", rank, heads * dim, role="attention")
    block.linear("self_attn.kv_proj", hidden, dim, role="attention")
    block.norm("self_attn.kv_norm", dim)
    # one block-diagonal matrix: each group of heads has its own rows, so it is no plain nn.Linear
    block.add("self_attn.o_a_proj.weight", (groups * group_rank, heads * dim // groups), "parameter", "attention")
    block.linear("self_attn.o_b_proj", groups * group_rank, hidden, role="attention")
    for kind, rate, folds in ((_SPARSE, rates[0], 2), (_HEAVY, rates[1], 1)):
        compressor = t.blocks("model.layers", where(kinds, kind)).under("self_attn.compressor")
        _compressor(compressor, hidden, dim, rate=rate, folds=folds, rope=rope)
        if kind == _SPARSE:
            indexer = compressor.under("indexer")
            _compressor(indexer, hidden, index_dim, rate=rate, folds=folds, rope=rope)
            indexer.linear("q_b_proj", rank, index_heads * index_dim, role="attention")
            indexer.linear("scorer.weights_proj", hidden, index_heads, role="attention")
    router(block, hidden, experts)
    table = (vocab, experts.per_token)
    t.blocks("model.layers", where(mlps, "hash_moe")).add("mlp.gate.tid2eid", table, "buffer", "router", dtype="int64")
    correction(t.blocks("model.layers", where(mlps, "moe")), experts)
    fused_experts(block, hidden, experts)
    gated_mlp(block, hidden, width, name="mlp.shared_experts")
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    mixes = (2 + streams) * streams
    for name in ("attn_hc", "ffn_hc"):
        block.add(f"{name}.fn", (mixes, streams * hidden), "parameter", "mixer")
        block.add(f"{name}.base", (mixes,), "parameter", "mixer")
        block.add(f"{name}.scale", (3,), "parameter", "mixer")
    t.norm("model.norm", hidden)
    t.add("model.hc_head.hc_fn", (streams, streams * hidden), "parameter", "mixer")
    t.add("model.hc_head.hc_base", (streams,), "parameter", "mixer")
    t.add("model.hc_head.hc_scale", (1,), "parameter", "mixer")
    _rotary(t.under("model"), rope)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    return causal_lm(
        config, t, model_class="DeepseekV4ForCausalLM", form="deepseek_v4", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, gated=True, experts=experts,
            attention=Attention(heads=heads, kv_heads=1, head_dim=dim, value_dim=dim, query_rank=rank, rope_dim=rope),
        ),
        cache=_caches(kinds, dim, index_dim, rates, window=config.size("sliding_window", 128)),
        keep_fp32=_FP32, keep_fp32_strict=_FP32_ALWAYS,
    )  # fmt: skip


def _compressor(part: Tensors, hidden: int, dim: int, *, rate: int, folds: int, rope: int) -> None:
    """Projections that turn ``rate`` tokens into one entry; the sparse kind folds two series into each."""
    part.add("position_bias", (rate, folds * dim), "parameter", "attention")
    part.linear("kv_proj", hidden, folds * dim, role="attention")
    part.linear("gate_proj", hidden, folds * dim, role="attention")
    part.norm("kv_norm", dim)
    _rotary(part, rope)


def _rotary(t: Tensors, rope: int) -> None:
    for kind in ("main", "compress"):
        t.buffer(f"rotary_emb.{kind}_inv_freq", ((rope + 1) // 2,), "fp32")
        t.buffer(f"rotary_emb.{kind}_original_inv_freq", ((rope + 1) // 2,), "fp32")


def _caches(
    kinds: tuple[str, ...], dim: int, index_dim: int, rates: tuple[int, int], *, window: int
) -> tuple[CacheLayers, ...]:
    plain, sparse, heavy = (kinds.count(kind) for kind in (_SLIDING, _SPARSE, _HEAVY))
    few, many = rates
    overlap = tuple(
        StateTensor(name=f"{owner} overlap {part}", shape=(few, width), dtype=dtype)
        for owner, width in (("compressor", dim), ("indexer", index_dim))
        for part, dtype in (("values", None), ("gates", "fp32"))  # gates have the fp32 position bias in them
    )
    waiting = tuple(
        StateTensor(name=f"{owner} waiting {part}", shape=(few, 2 * width))
        for owner, width in (("compressor", dim), ("indexer", index_dim))
        for part in ("values", "gates")
    )
    alone = tuple(StateTensor(name=f"waiting {part}", shape=(many, dim)) for part in ("values", "gates"))
    return (
        CacheLayers(kind="sliding", layers=plain, kv_heads=1, key_dim=dim, value_dim=dim, window_tokens=window),
        CacheLayers(kind="sliding", layers=sparse + heavy, kv_heads=1, key_dim=dim, window_tokens=window),
        CacheLayers(
            kind="full", layers=sparse, kv_heads=1, key_dim=dim, index_dim=index_dim, tokens_per_entry=few,
        ),
        CacheLayers(kind="full", layers=heavy, kv_heads=1, key_dim=dim, tokens_per_entry=many),
        CacheLayers(kind="state", layers=sparse, state=overlap + waiting),
        CacheLayers(kind="state", layers=heavy, state=alone),
    )  # fmt: skip
