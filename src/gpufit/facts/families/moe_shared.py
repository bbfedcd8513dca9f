"""Gated-expert decoders with shared experts that every token passes: Qwen2-MoE, GLM-4.5, dots.llm1, ERNIE 4.5, Hunyuan.

Mirrors transformers 5.23.0: models/{qwen2_moe, glm4_moe, dots1, ernie4_5_moe, hunyuan_v1_moe}.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Experts
from gpufit.facts.config import Config
from gpufit.facts.families.moe import Layout, build, head_width, qwen_sparse_layers
from gpufit.facts.families.moe_parts import layer_kinds
from gpufit.facts.families.windows import stated_window


def read_qwen2_moe(config: Config) -> Architecture:
    """Qwen2MoeConfig -> Qwen2MoeForCausalLM: a gated shared expert beside the routed ones."""
    layers = config.layers("num_hidden_layers")
    sliding = config.flag("use_sliding_window", False)
    first = config.int("max_window_layers", 28)
    default = tuple(
        "sliding_attention" if sliding and i % 2 == 0 and i < first else "full_attention" for i in range(layers)
    )
    experts = Experts(
        count=config.layers("num_experts", 60), per_token=config.layers("num_experts_per_tok", 4),
        width=config.size("moe_intermediate_size", 1408),
        shared_width=config.size("shared_expert_intermediate_size", 5632),
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="Qwen2MoeForCausalLM", experts=experts, layers=layers, head_dim=head_width(config),
            kv_heads=config.layers("num_key_value_heads", config.layers("num_attention_heads")),
            sparse=qwen_sparse_layers(config, layers), dense_width=config.size("intermediate_size", 5632),
            bias=config.flag("qkv_bias", True), output_bias=False, shared="shared_expert", shared_gate=True,
            kinds=layer_kinds(config, "layer_types", layers, ("full_attention", "sliding_attention"), default=default),
            window=stated_window(config, 4096) if sliding else None, form="shared_moe",
        ),
    )  # fmt: skip


def _leading_dense(config: Config, layers: int, default: int) -> tuple[int, ...]:
    return tuple(range(min(config.int("first_k_dense_replace", default), layers), layers))


def read_glm4_moe(config: Config) -> Architecture:
    """Glm4MoeConfig -> Glm4MoeForCausalLM: a dense start, then routed and shared experts; half the head rotates."""
    layers, head_dim = config.layers("num_hidden_layers"), head_width(config)
    width = config.size("moe_intermediate_size", 1408)
    experts = Experts(
        count=config.layers("n_routed_experts", 128), per_token=config.layers("num_experts_per_tok", 8), width=width,
        shared_width=width * config.int("n_shared_experts", 1),
    )  # fmt: skip
    norm = head_dim if config.flag("use_qk_norm", False) else 0
    return build(
        config,
        Layout(
            model_class="Glm4MoeForCausalLM", experts=experts, layers=layers, head_dim=head_dim,
            kv_heads=config.layers("num_key_value_heads", 8), sparse=_leading_dense(config, layers, 1),
            dense_width=config.size("intermediate_size", 10944), query_norm=norm, key_norm=norm,
            bias=config.flag("attention_bias", False), output_bias=False, shared="shared_experts",
            correction="mlp.gate", rope_default=0.5, form="glm4_moe",
            keep_fp32_strict=("e_score_correction_bias",),
        ),
    )  # fmt: skip


def read_dots1(config: Config) -> Architecture:
    """Dots1Config -> Dots1ForCausalLM."""
    layers, head_dim = config.layers("num_hidden_layers"), head_width(config)
    window, first = stated_window(config, 4096), config.int("max_window_layers", 62)
    default = tuple("sliding_attention" if window and i >= first else "full_attention" for i in range(layers))
    width = config.size("moe_intermediate_size", 1408)
    experts = Experts(
        count=config.layers("n_routed_experts"), per_token=config.layers("num_experts_per_tok"), width=width,
        shared_width=width * config.layers("n_shared_experts"),
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="Dots1ForCausalLM", experts=experts, layers=layers, head_dim=head_dim,
            kv_heads=config.layers("num_key_value_heads", config.layers("num_attention_heads")),
            sparse=_leading_dense(config, layers, 0), dense_width=config.size("intermediate_size", 10944),
            query_norm=head_dim, key_norm=head_dim, bias=config.flag("attention_bias", False),
            shared="shared_experts", correction="mlp.gate", window=window, form="glm4_moe",
            kinds=layer_kinds(config, "layer_types", layers, ("full_attention", "sliding_attention"), default=default),
            keep_fp32_strict=("e_score_correction_bias",),
        ),
    )  # fmt: skip


def read_ernie4_5_moe(config: Config) -> Architecture:
    """Ernie4_5_MoeConfig -> Ernie4_5_MoeForCausalLM: router and its balancing parameter stay fp32."""
    layers = config.layers("num_hidden_layers")
    last = config.int("moe_layer_end_index", layers - 1) if config.raw("moe_layer_end_index") != -1 else layers - 1
    first, step = config.int("moe_layer_start_index", 1), config.layers("moe_layer_interval", 1)
    width, bias = config.size("moe_intermediate_size", 1536), config.flag("use_bias", False)
    experts = Experts(
        count=config.layers("moe_num_experts", 64), per_token=config.layers("moe_k", 6), width=width,
        shared_width=width * config.int("moe_num_shared_experts", 2),
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="Ernie4_5_MoeForCausalLM", experts=experts, layers=layers, head_dim=head_width(config),
            kv_heads=config.layers("num_key_value_heads", 4), dense_width=config.size("intermediate_size"),
            sparse=tuple(i for i in range(first, min(last + 1, layers)) if (i + 1) % step == 0),
            bias=bias, mlp_bias=bias, head_bias=bias, shared="shared_experts", tied=True, form="ernie4_5_moe",
            correction_parameter="gate.moe_statics.e_score_correction_bias",
            keep_fp32_strict=("gate.weight", "moe_statics"),
        ),
    )  # fmt: skip


def _per_layer(config: Config, key: str) -> int:
    """A count, or a list of one per layer, of which the largest decides what must fit."""
    if not isinstance(config.raw(key), list):
        count: int = config.layers(key, 1)
        return count
    counts = config.list(key)
    if not counts or any(type(count) is not int or not 1 <= count <= 4096 for count in counts):
        raise BadConfig(f"config key {config.path}{key} is not a list of counts")
    return int(max(counts))


def read_hunyuan_v1_moe(config: Config) -> Architecture:
    """HunYuanMoEV1Config -> HunYuanMoEV1ForCausalLM: an fp32 nn.Linear routes, one shared MLP as wide as an expert."""
    width, head_dim = config.size("intermediate_size"), config.size("head_dim")
    chosen = _per_layer(config, "moe_topk")
    experts = Experts(
        count=config.layers("num_experts", 1), per_token=chosen, width=width, shared_width=width
    )  # fmt: skip
    return build(
        config,
        Layout(
            model_class="HunYuanMoEV1ForCausalLM", experts=experts, layers=config.layers("num_hidden_layers"),
            head_dim=head_dim, kv_heads=config.layers("num_key_value_heads", config.layers("num_attention_heads")),
            query_norm=head_dim, key_norm=head_dim, norm_names=("query_layernorm", "key_layernorm"),
            bias=config.flag("attention_bias", False), router="gate.wg", router_linear=True, router_dtype="fp32",
            shared="shared_mlp", form="hunyuan_moe",
        ),
    )  # fmt: skip
