"""Multi-head latent attention with experts: DeepSeek V2, V3, V3.2, Kimi K2, GLM-4.7-Flash, GLM-5.

Mirrors transformers 5.23.0: models/{deepseek_v2, deepseek_v3, deepseek_v32, glm4_moe_lite, glm_moe_dsa}. All of them
cache the compressed latent and the shared rotary key (one "head" each), not the expanded keys and values; the sparse
ones (V3.2, GLM-5) also cache an indexer key per token in the layers that run an indexer.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Stack
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
    rest,
    rotary,
    router,
    where,
)  # fmt: skip


def latent_attention(block: Tensors, hidden: int, attention: Attention, *, bias: bool) -> None:
    """Projections of one latent attention layer; ``attention.head_dim`` is the unrotated and rotated part together."""
    heads, rank, rope = attention.heads, attention.kv_rank, attention.rope_dim
    nope = attention.head_dim - rope
    if attention.query_rank:
        block.linear("self_attn.q_a_proj", hidden, attention.query_rank, bias=bias, role="attention")
        block.norm("self_attn.q_a_layernorm", attention.query_rank)
        block.linear("self_attn.q_b_proj", attention.query_rank, heads * attention.head_dim, role="attention")
    else:
        block.linear("self_attn.q_proj", hidden, heads * attention.head_dim, role="attention")
    block.linear("self_attn.kv_a_proj_with_mqa", hidden, rank + rope, bias=bias, role="attention")
    block.norm("self_attn.kv_a_layernorm", rank)
    block.linear("self_attn.kv_b_proj", rank, heads * (nope + attention.value_dim), role="attention")
    block.linear("self_attn.o_proj", heads * attention.value_dim, hidden, bias=bias, role="attention")


def latent_cache(layers: int, attention: Attention, *, index_dim: int = 0) -> CacheLayers:
    """The compressed latent as keys, the rotary key as values, one head each; the indexer's key beside them."""
    return CacheLayers(
        kind="latent", layers=layers, kv_heads=1, key_dim=attention.kv_rank, value_dim=attention.rope_dim,
        index_dim=index_dim,
    )  # fmt: skip


def latent_dims(config: Config, *, query_rank: int, nope: int, value: int) -> Attention:
    """The dimensions of latent attention, with a family's defaults."""
    heads, rope = config.layers("num_attention_heads"), config.size("qk_rope_head_dim", 64)
    rank = config.size("q_lora_rank", None)
    return Attention(
        heads=heads, kv_heads=heads, head_dim=config.size("qk_nope_head_dim", nope) + rope,
        value_dim=config.size("v_head_dim", value), query_rank=rank or query_rank,
        kv_rank=config.size("kv_lora_rank", 512), rope_dim=rope,
    )  # fmt: skip


def _build(
    config: Config, *, model_class: str, attention: Attention, sparse: tuple[int, ...], corrected: bool,
    form: str, mlp_bias: bool = False, indexed: tuple[int, ...] = (), index_dim: int = 0, index_heads: int = 0,
    notes: tuple[str, ...] = (),
) -> Architecture:  # fmt: skip
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    layers, width = config.layers("num_hidden_layers"), config.size("intermediate_size")
    expert_width = config.size("moe_intermediate_size")
    experts = Experts(
        count=config.layers("n_routed_experts"), per_token=config.layers("num_experts_per_tok"), width=expert_width,
        shared_width=expert_width * config.layers("n_shared_experts", 1),
    )  # fmt: skip
    dense = rest(layers, sparse)

    t = Tensors()
    embed(t, vocab, hidden)
    block = t.blocks("model.layers", layers)
    latent_attention(block, hidden, attention, bias=config.flag("attention_bias", False))
    if indexed:
        index = t.blocks("model.layers", indexed).under("self_attn.indexer")
        index.linear("wq_b", attention.query_rank, index_heads * index_dim, role="attention")
        index.linear("wk", hidden, index_dim, role="attention")
        index.norm("k_norm", index_dim, bias=True)
        index.linear("weights_proj", hidden, index_heads, role="attention")
    if dense:
        gated_mlp(t.blocks("model.layers", dense), hidden, width, bias=mlp_bias)
    moe = t.blocks("model.layers", sparse)
    fused_experts(moe, hidden, experts)
    router(moe, hidden, experts)
    if corrected:
        correction(moe, experts)
    gated_mlp(moe, hidden, experts.shared_width, name="mlp.shared_experts", bias=mlp_bias)
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("model.norm", hidden)
    rotary(t, attention.rope_dim)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", False))

    return causal_lm(
        config, t, model_class=model_class, form=form, vocab=vocab, notes=notes,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, mlp_width=width if dense else 0, gated=True,
            experts=experts, attention=attention,
        ),
        cache=(
            latent_cache(len(indexed), attention, index_dim=index_dim),
            latent_cache(layers - len(indexed), attention),
        ),
        keep_fp32=("indexer.weights_proj",) if indexed else (),
        keep_fp32_strict=("e_score_correction_bias",) if corrected else (),
    )  # fmt: skip


def _leading_dense(config: Config, default: int) -> tuple[int, ...]:
    layers = config.layers("num_hidden_layers")
    return tuple(range(min(config.int("first_k_dense_replace", default), layers), layers))


def _listed_sparse(config: Config, dense: int) -> tuple[int, ...]:
    layers = config.layers("num_hidden_layers")
    dense = min(dense, layers)
    default = ("dense",) * dense + ("sparse",) * (layers - dense)
    return where(layer_kinds(config, "mlp_layer_types", layers, ("dense", "sparse"), default=default), "sparse")


def read_deepseek_v2(config: Config) -> Architecture:
    """DeepseekV2Config -> DeepseekV2ForCausalLM; ``q_lora_rank`` null (V2-Lite) projects queries at once."""
    return _build(
        config, model_class="DeepseekV2ForCausalLM", sparse=_leading_dense(config, 0), corrected=False,
        attention=latent_dims(config, query_rank=_rank_default(config, 1536), nope=128, value=128), form="mla_moe",
        mlp_bias=config.flag("mlp_bias", False),
    )  # fmt: skip


def _rank_default(config: Config, default: int) -> int:
    """The family's query rank where the config is silent; null (V2-Lite) means that queries are not compressed."""
    return default if config.absent("q_lora_rank") else 0


def read_deepseek_v3(config: Config) -> Architecture:
    """DeepseekV3Config -> DeepseekV3ForCausalLM, without its multi-token prediction layer."""
    return _build(
        config, model_class="DeepseekV3ForCausalLM", sparse=_leading_dense(config, 3), corrected=True,
        attention=latent_dims(config, query_rank=_rank_default(config, 1536), nope=128, value=128), form="mla_moe",
    )  # fmt: skip


def read_kimi_k2(config: Config) -> Architecture:
    """Kimi K2's own code is DeepSeek V3's: the count equals the published one but for its router-bias buffers."""
    return read_deepseek_v3(config)


def read_glm4_moe_lite(config: Config) -> Architecture:
    """Glm4MoeLiteConfig -> Glm4MoeLiteForCausalLM."""
    return _build(
        config, model_class="Glm4MoeLiteForCausalLM", sparse=_listed_sparse(config, 1), corrected=True,
        attention=latent_dims(config, query_rank=_rank_default(config, 768), nope=192, value=256), form="mla_moe",
    )  # fmt: skip


def read_deepseek_v32(config: Config) -> Architecture:
    """DeepseekV32Config -> DeepseekV32ForCausalLM: an indexer in every layer picks the keys to attend to."""
    return _build(
        config, model_class="DeepseekV32ForCausalLM", corrected=True, form="dsa_moe",
        sparse=_listed_sparse(config, config.int("first_k_dense_replace", 3)),
        attention=latent_dims(config, query_rank=1536, nope=128, value=128),
        indexed=tuple(range(config.layers("num_hidden_layers"))), index_dim=config.size("index_head_dim", 128),
        index_heads=config.layers("index_n_heads", 64),
    )  # fmt: skip


def read_glm_moe_dsa(config: Config) -> Architecture:
    """GlmMoeDsaConfig -> GlmMoeDsaForCausalLM: some layers reuse the choice of the last layer that ran an indexer."""
    return _build(
        config, model_class="GlmMoeDsaForCausalLM", corrected=True, form="dsa_moe",
        sparse=_listed_sparse(config, config.int("first_k_dense_replace", 3)),
        attention=latent_dims(config, query_rank=2048, nope=192, value=256), indexed=_indexers(config),
        index_dim=config.size("index_head_dim", 128), index_heads=config.layers("index_n_heads", 32),
    )  # fmt: skip


def _indexers(config: Config) -> tuple[int, ...]:
    """Layers that run an indexer: listed, by a pattern such as "FFS", or one in every ``index_topk_freq``."""
    layers = config.layers("num_hidden_layers")
    freq, offset = max(config.int("index_topk_freq", 1), 1), config.int("index_skip_topk_offset", 2)
    default = tuple("full" if max(i - offset + 1, 0) % freq == 0 else "shared" for i in range(layers))
    pattern = config.raw("index_topk_pattern")
    if "indexer_types" not in config and pattern is not None:
        letters = pattern if isinstance(pattern, str) else ""
        default = tuple({"F": "full", "S": "shared"}.get(letter, "") for letter in letters)
        if len(default) != layers or "" in default:
            raise BadConfig(f"config key {config.path}index_topk_pattern is not one F or S a layer")
    return where(layer_kinds(config, "indexer_types", layers, ("full", "shared"), default=default), "full")
