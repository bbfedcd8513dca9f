"""Mixtures of experts."""

from __future__ import annotations

from gpufit.facts.config import Config
from gpufit.facts.gguf_words import Facts, Shapes, Translation, rotary_share, windowed


def _experts(meta: Config) -> Facts:
    return {
        "num_experts": meta.layers("expert_count"),
        "num_experts_per_tok": meta.layers("expert_used_count"),
        "moe_intermediate_size": meta.size("expert_feed_forward_length"),
    }


def _qwen2moe(meta: Config, shapes: Shapes) -> Facts:
    shared = shapes.get("blk.0.ffn_up_shexp.weight")
    width = meta.size("expert_shared_feed_forward_length", shared[0] if shared else None)
    return {
        "model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"], **_experts(meta),
        "shared_expert_intermediate_size": width,
    }  # fmt: skip


def _qwen3moe(meta: Config, shapes: Shapes) -> Facts:
    return {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], **_experts(meta)}


def _gpt_oss(meta: Config, shapes: Shapes) -> Facts:
    return {
        **windowed("gpt_oss", "GptOssForCausalLM", 2)(meta, shapes),
        "num_local_experts": meta.layers("expert_count"),
        "num_experts_per_tok": meta.layers("expert_used_count"),
        "intermediate_size": meta.size("expert_feed_forward_length"),
        "attention_bias": True,
    }


def _deepseek2(meta: Config, shapes: Shapes) -> Facts:
    """DeepSeek-V2 and V3. Newer files state the cached widths as key_length and the heads' as key_length_mla."""
    rope = meta.size("rope.dimension_count")
    corrected = any(name.endswith("exp_probs_b.bias") for name in shapes)
    model_type, model_class = ("deepseek_v3", "DeepseekV3ForCausalLM") if corrected else (
        "deepseek_v2", "DeepseekV2ForCausalLM"
    )  # fmt: skip
    facts: Facts = {
        "model_type": model_type, "architectures": [model_class], "head_dim": rope,
        "num_key_value_heads": meta.layers("attention.head_count"),
        "q_lora_rank": meta.size("attention.q_lora_rank", None), "kv_lora_rank": meta.size("attention.kv_lora_rank"),
        "qk_rope_head_dim": rope,
        "qk_nope_head_dim": meta.size("attention.key_length_mla", meta.size("attention.key_length")) - rope,
        "v_head_dim": meta.size("attention.value_length_mla", meta.size("attention.value_length")),
        "n_routed_experts": meta.layers("expert_count"), "num_experts_per_tok": meta.layers("expert_used_count"),
        "n_shared_experts": meta.layers("expert_shared_count"),
        "moe_intermediate_size": meta.size("expert_feed_forward_length"),
        "first_k_dense_replace": meta.int("leading_dense_block_count", 0),
    }  # fmt: skip
    return facts


def _local_experts(model_type: str, model_class: str) -> Translation:
    """Families whose only MLPs are routed experts, as wide as ``intermediate_size`` says."""

    def translate(meta: Config, shapes: Shapes) -> Facts:
        width = meta.size("expert_feed_forward_length", meta.size("feed_forward_length", None))
        return {
            "model_type": model_type, "architectures": [model_class], "num_local_experts": meta.layers("expert_count"),
            "num_experts_per_tok": meta.layers("expert_used_count"), **({"intermediate_size": width} if width else {}),
        }  # fmt: skip

    return translate


def _olmoe(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "olmoe", "architectures": ["OlmoeForCausalLM"], "num_experts": meta.layers("expert_count"),
        "num_experts_per_tok": meta.layers("expert_used_count"),
    }  # fmt: skip


def _phimoe(meta: Config, shapes: Shapes) -> Facts:
    facts = _local_experts("phimoe", "PhimoeForCausalLM")(meta, shapes)
    return facts | {"attention_bias": "blk.0.attn_q.bias" in shapes, "lm_head_bias": "output.bias" in shapes}


def _shared(model_type: str, model_class: str) -> Translation:
    """GLM-4.5 and dots.llm1: shared experts, and dense layers before the first mixture."""

    def translate(meta: Config, shapes: Shapes) -> Facts:
        return {
            "model_type": model_type, "architectures": [model_class],
            "n_routed_experts": meta.layers("expert_count"), "num_experts_per_tok": meta.layers("expert_used_count"),
            "n_shared_experts": meta.layers("expert_shared_count"),
            "moe_intermediate_size": meta.size("expert_feed_forward_length"),
            "first_k_dense_replace": meta.int("leading_dense_block_count", 0),
            "attention_bias": "blk.0.attn_q.bias" in shapes,
        }  # fmt: skip

    return translate


def _glm4moe(meta: Config, shapes: Shapes) -> Facts:
    """Layers for multi-token prediction, where the file carries them, come last and are not run."""
    predicting = meta.int("nextn_predict_layers", 0)
    facts = _shared("glm4_moe", "Glm4MoeForCausalLM")(meta, shapes)
    return facts | {
        "use_qk_norm": "blk.0.attn_q_norm.weight" in shapes,
        "num_hidden_layers": max(1, meta.layers("block_count") - predicting),
        "partial_rotary_factor": rotary_share(meta, meta.size("attention.key_length", None)),
    }


def _ernie_moe(meta: Config, shapes: Shapes) -> Facts:
    """Shared experts are stated by their width together; every layer after the dense ones is a mixture."""
    width = meta.size("expert_feed_forward_length")
    return {
        "model_type": "ernie4_5_moe", "architectures": ["Ernie4_5_MoeForCausalLM"],
        "moe_num_experts": meta.layers("expert_count"), "moe_k": meta.layers("expert_used_count"),
        "moe_intermediate_size": width,
        "moe_num_shared_experts": meta.int("expert_shared_feed_forward_length", 0) // width,
        "moe_layer_start_index": meta.int("leading_dense_block_count", 0),
        "moe_layer_interval": meta.layers("interleave_moe_layer_step", 1), "use_bias": "blk.0.attn_q.bias" in shapes,
    }  # fmt: skip


def _minimax_m2(meta: Config, shapes: Shapes) -> Facts:
    rotary = meta.size("rope.dimension_count", None)
    facts = _local_experts("minimax_m2", "MiniMaxM2ForCausalLM")(meta, shapes)
    return facts | ({"rotary_dim": rotary} if rotary else {})


def _deepseek(meta: Config, shapes: Shapes) -> Facts:
    """The first DeepSeek MoE, before latent attention."""
    return _shared("deepseek", "DeepseekForCausalLM")(meta, shapes)


def _llama4(meta: Config, shapes: Shapes) -> Facts:
    """Its text; ``feed_forward_length`` is the dense layers', and a window of 0 means that no layer is chunked."""
    window = meta.int("attention.sliding_window", 8192)
    return {
        "model_type": "llama4_text", "architectures": ["Llama4ForCausalLM"],
        "num_local_experts": meta.layers("expert_count"), "num_experts_per_tok": meta.layers("expert_used_count"),
        "intermediate_size": meta.size("expert_feed_forward_length"),
        "intermediate_size_mlp": meta.size("feed_forward_length"),
        "interleave_moe_layer_step": meta.layers("interleave_moe_layer_step"), "attention_chunk_size": window or None,
    }  # fmt: skip


MIXTURES: dict[str, Translation] = {
    "qwen2moe": _qwen2moe,
    "qwen3moe": _qwen3moe,
    "qwen3vlmoe": _qwen3moe,
    "deepseek": _deepseek,
    "deepseek2": _deepseek2,
    "llama4": _llama4,
    "gpt-oss": _gpt_oss,
    "granitemoe": _local_experts("granitemoe", "GraniteMoeForCausalLM"),
    "olmoe": _olmoe,
    "phimoe": _phimoe,
    "minimax-m2": _minimax_m2,
    "glm4moe": _glm4moe,
    "dots1": _shared("dots1", "Dots1ForCausalLM"),
    "ernie4_5-moe": _ernie_moe,
}
