"""Decoders whose layers attend and then choose among gated experts: Mixtral, Qwen3-MoE, OLMoE, MiniMax-M2 and kin.

Mirrors transformers 5.23.0: models/{mixtral, qwen3_moe, olmoe, phimoe, granitemoe, minimax_m2}. They share one layout
with the families of ``moe_shared``; a ``Layout`` says how each differs.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Experts, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import rotary_width
from gpufit.facts.families.moe_parts import (
    attention_caches,
    causal_lm,
    correction,
    fused_experts,
    gated_mlp,
    head,
    projections,
    rest,
    rotary,
    router,
)  # fmt: skip
from gpufit.facts.families.windows import stated_window
from gpufit.records import record


@record
class Layout:
    """How one family differs from Mixtral. Widths of 0 mean that the part is absent."""

    model_class: str
    experts: Experts
    kv_heads: int
    head_dim: int
    layers: int
    sparse: tuple[int, ...] | None = None  # layers with experts; None for all
    dense_width: int = 0
    query_norm: int = 0
    key_norm: int = 0
    norm_names: tuple[str, str] = ("q_norm", "k_norm")
    bias: bool = False
    output_bias: bool | None = None
    mlp_bias: bool = False
    norm_bias: bool = False
    head_bias: bool = False
    moe: str = "mlp"
    router: str = "gate"
    router_linear: bool = False  # an nn.Linear instead of a bare parameter
    router_dtype: str | None = None
    correction_parameter: str = ""  # a balancing bias that is a parameter
    shared: str = ""
    shared_gate: bool = False
    correction: str = ""  # where the balancing buffer sits
    rope_default: float = 1.0
    kinds: tuple[str, ...] | None = None
    window: int | None = None
    tied: bool = False
    form: str = "moe"
    keep_fp32_strict: tuple[str, ...] = ()


def write(t: Tensors, config: Config, layout: Layout) -> tuple[Stack, tuple[CacheLayers, ...]]:
    """Write down a gated-expert decoder, all but its output head, under the prefix of ``t``."""
    hidden = config.size("hidden_size")
    heads = config.layers("num_attention_heads")
    layers, experts, head_dim = layout.layers, layout.experts, layout.head_dim
    rope = rotary_width(config, head_dim, layout.rope_default)
    everything = tuple(range(layers))
    sparse_layers = everything if layout.sparse is None else layout.sparse
    dense_layers = rest(layers, sparse_layers)
    moe = layout.moe

    t.embedding("embed_tokens", config.size("vocab_size"), hidden)
    block = t.blocks("layers", layers)
    projections(block, hidden, heads, layout.kv_heads, head_dim, bias=layout.bias, output_bias=layout.output_bias)
    if layout.query_norm:
        block.norm(f"self_attn.{layout.norm_names[0]}", layout.query_norm)
        block.norm(f"self_attn.{layout.norm_names[1]}", layout.key_norm)
    if dense_layers:
        dense = t.blocks("layers", dense_layers)
        gated_mlp(dense, hidden, layout.dense_width, bias=layout.mlp_bias)
    sparse = t.blocks("layers", sparse_layers)
    if layout.router_linear:
        name = f"{moe}.{layout.router}.weight"
        sparse.add(name, (experts.count, hidden), "linear", "router", dtype=layout.router_dtype)
    else:
        router(sparse, hidden, experts, name=f"{moe}.{layout.router}")
    if layout.correction_parameter:
        sparse.add(f"{moe}.{layout.correction_parameter}", (1, experts.count), "parameter", "router")
    if layout.correction:
        kept = "e_score_correction_bias" in layout.keep_fp32_strict
        correction(sparse, experts, name=layout.correction, kept=kept)
    fused_experts(sparse, hidden, experts, name=f"{moe}.experts")
    if layout.shared and experts.shared_width:
        gated_mlp(sparse, hidden, experts.shared_width, name=f"{moe}.{layout.shared}", bias=layout.mlp_bias)
        if layout.shared_gate:
            sparse.linear(f"{moe}.shared_expert_gate", hidden, 1, role="router")
    block.norm("input_layernorm", hidden, bias=layout.norm_bias)
    block.norm("post_attention_layernorm", hidden, bias=layout.norm_bias)
    t.norm("norm", hidden, bias=layout.norm_bias)
    rotary(t, rope, name="rotary_emb")

    kinds = ("full_attention",) * layers if layout.kinds is None else layout.kinds
    stack = Stack(
        role="decoder", layers=layers, hidden=hidden, gated=True, experts=experts,
        mlp_width=layout.dense_width if dense_layers else 0,
        attention=Attention(
            heads=heads, kv_heads=layout.kv_heads, head_dim=head_dim, value_dim=head_dim, rope_dim=rope,
            window_tokens=layout.window if "full_attention" not in kinds else None,
        ),
    )  # fmt: skip
    caches = attention_caches(
        kinds, kv_heads=layout.kv_heads, key_dim=head_dim, value_dim=head_dim, window=layout.window
    )
    return stack, caches


def build(config: Config, layout: Layout) -> Architecture:
    """The causal language model: the decoder under ``model``, and its head."""
    t = Tensors()
    stack, cache = write(t.under("model"), config, layout)
    vocab = config.size("vocab_size")
    tied = config.flag("tie_word_embeddings", layout.tied)
    head(t, vocab, stack.hidden, tied=tied, bias=layout.head_bias)
    return causal_lm(
        config, t, model_class=layout.model_class, form=layout.form, vocab=vocab, stack=stack, cache=cache,
        keep_fp32_strict=layout.keep_fp32_strict,
    )  # fmt: skip


def head_width(config: Config) -> int:
    """``head_dim``, or the hidden width shared by the heads."""
    dim: int = config.size("head_dim", config.size("hidden_size") // config.layers("num_attention_heads"))
    return dim


def _windowed(config: Config, layers: int) -> tuple[tuple[str, ...], int | None]:
    """Where a config has a sliding_window and no layer_types, every layer slides."""
    window = config.size("sliding_window", None)
    return ("sliding_attention" if window else "full_attention",) * layers, window


def read_mixtral(config: Config) -> Architecture:
    """MixtralConfig -> MixtralForCausalLM."""
    layers = config.layers("num_hidden_layers")
    kinds, window = _windowed(config, layers)
    experts = Experts(
        count=config.layers("num_local_experts", 8), per_token=config.layers("num_experts_per_tok", 2),
        width=config.size("intermediate_size"),
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="MixtralForCausalLM", experts=experts, layers=layers, head_dim=head_width(config),
            kv_heads=config.layers("num_key_value_heads", 8), kinds=kinds, window=window,
        ),
    )  # fmt: skip


def read_phimoe(config: Config) -> Architecture:
    """PhimoeConfig -> PhimoeForCausalLM: Mixtral with LayerNorm, biases and a two-expert sparse mixer."""
    layers = config.layers("num_hidden_layers")
    kinds, window = _windowed(config, layers)
    experts = Experts(
        count=config.layers("num_local_experts", 16), per_token=config.layers("num_experts_per_tok", 2),
        width=config.size("intermediate_size"),
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="PhimoeForCausalLM", experts=experts, layers=layers, head_dim=head_width(config),
            kv_heads=config.layers("num_key_value_heads", 8), bias=config.flag("attention_bias", False),
            norm_bias=True, head_bias=config.flag("lm_head_bias", False), router="router", kinds=kinds, window=window,
            form="phimoe",
        ),
    )  # fmt: skip


def qwen_sparse_layers(config: Config, layers: int) -> tuple[int, ...]:
    """Layers with experts by Qwen's rule: every ``decoder_sparse_step``-th that is not in ``mlp_only_layers``.

    >>> qwen_sparse_layers(Config({"decoder_sparse_step": 2, "mlp_only_layers": [3]}), 6)
    (1, 5)
    """
    step = config.layers("decoder_sparse_step", 1)
    dense = set(config.list("mlp_only_layers", ()))
    return tuple(i for i in range(layers) if i not in dense and (i + 1) % step == 0)


def read_qwen3_moe(config: Config) -> Architecture:
    """Qwen3MoeConfig -> Qwen3MoeForCausalLM."""
    return build(config, qwen3_layout(config))


def qwen3_layout(config: Config) -> Layout:
    """Qwen3-MoE's text decoder: no shared expert, norms on query and key heads."""
    layers, head_dim = config.layers("num_hidden_layers"), head_width(config)
    window = stated_window(config, 4096) if config.flag("use_sliding_window", False) else None
    experts = Experts(
        count=config.layers("num_experts", 128), per_token=config.layers("num_experts_per_tok", 8),
        width=config.size("moe_intermediate_size", 768),
    )  # fmt: skip
    return Layout(
            model_class="Qwen3MoeForCausalLM", experts=experts, layers=layers, head_dim=head_dim,
            kv_heads=config.layers("num_key_value_heads", 4), sparse=qwen_sparse_layers(config, layers),
            dense_width=config.size("intermediate_size", 6144), query_norm=head_dim, key_norm=head_dim,
            bias=config.flag("attention_bias", False), window=window,
            kinds=("sliding_attention" if window else "full_attention",) * layers,
    )  # fmt: skip


def read_olmoe(config: Config) -> Architecture:
    """OlmoeConfig -> OlmoeForCausalLM: norms over all query and key heads at once."""
    layers, head_dim = config.layers("num_hidden_layers"), head_width(config)
    heads = config.layers("num_attention_heads")
    kv_heads = config.layers("num_key_value_heads", heads)
    experts = Experts(
        count=config.layers("num_experts", 64), per_token=config.layers("num_experts_per_tok", 8),
        width=config.size("intermediate_size"),
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="OlmoeForCausalLM", experts=experts, layers=layers, head_dim=head_dim, kv_heads=kv_heads,
            query_norm=config.size("hidden_size"), key_norm=config.size("hidden_size") // heads * kv_heads,
            bias=config.flag("attention_bias", False), form="olmoe",
        ),
    )  # fmt: skip


def read_granitemoe(config: Config) -> Architecture:
    """GraniteMoeConfig -> GraniteMoeForCausalLM."""
    experts = Experts(
        count=config.layers("num_local_experts", 8), per_token=config.layers("num_experts_per_tok", 2),
        width=config.size("intermediate_size"),
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="GraniteMoeForCausalLM", experts=experts, layers=config.layers("num_hidden_layers"),
            head_dim=config.size("hidden_size") // config.layers("num_attention_heads"), form="granitemoe",
            kv_heads=config.layers("num_key_value_heads", config.layers("num_attention_heads")),
            bias=config.flag("attention_bias", False), moe="block_sparse_moe", router="router",
        ),
    )  # fmt: skip


def read_minimax_m2(config: Config) -> Architecture:
    """MiniMaxM2Config -> MiniMaxM2ForCausalLM: half of each head rotates, norms over all heads at once."""
    head_dim = config.size("head_dim", 128)
    heads, kv_heads = config.layers("num_attention_heads"), config.layers("num_key_value_heads", 8)
    experts = Experts(
        count=config.layers("num_local_experts", 256), per_token=config.layers("num_experts_per_tok", 8),
        width=config.size("intermediate_size"),
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="MiniMaxM2ForCausalLM", experts=experts, layers=config.layers("num_hidden_layers"),
            head_dim=head_dim, kv_heads=kv_heads, query_norm=heads * head_dim, key_norm=kv_heads * head_dim,
            correction="mlp", rope_default=config.size("rotary_dim", head_dim) / head_dim, form="minimax_m2",
        ),
    )  # fmt: skip
