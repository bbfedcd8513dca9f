"""Shrunken configurations of every family with experts, latent attention or recurrent layers.

Small, but with every part a family can have, and with odd sizes so that no two dimensions can be mistaken for another.
"""

from __future__ import annotations

from typing import Any

_BASE: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "vocab_size": 61, "max_position_embeddings": 128, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_ROUTED = {"moe_intermediate_size": 40, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_shared_experts": 2}
_MLA = {
    "q_lora_rank": 20, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 10, "v_head_dim": 14,
    "n_group": 2, "topk_group": 1, "num_key_value_heads": 4,
}  # fmt: skip
_INDEX = {"index_head_dim": 18, "index_n_heads": 3, "index_topk": 4}
_DELTA = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 6, "linear_value_head_dim": 10,
    "linear_conv_kernel_dim": 3, "head_dim": 16,
}  # fmt: skip
_SSD = {"mamba_n_heads": 8, "mamba_d_state": 6, "mamba_n_groups": 2, "mamba_d_conv": 3, "mamba_expand": 2}


def _config(model_type: str, model_class: str, *parts: dict[str, Any], **own: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {"model_type": model_type, "architectures": [model_class], **_BASE}
    for part in parts:
        merged.update(part)
    return merged | own


TINY: dict[str, dict[str, Any]] = {
    "mixtral": _config("mixtral", "MixtralForCausalLM", num_local_experts=6),
    "mixtral-window": _config("mixtral", "MixtralForCausalLM", num_local_experts=6, head_dim=10, sliding_window=5),
    "phimoe": _config(
        "phimoe", "PhimoeForCausalLM", num_local_experts=6, attention_bias=True, lm_head_bias=True, sliding_window=7
    ),
    "qwen2_moe": _config(
        "qwen2_moe", "Qwen2MoeForCausalLM", num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40,
        shared_expert_intermediate_size=20, mlp_only_layers=[1],
    ),
    "qwen2_moe-window": _config(
        "qwen2_moe", "Qwen2MoeForCausalLM", num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40,
        shared_expert_intermediate_size=20, decoder_sparse_step=2, use_sliding_window=True, sliding_window=5,
        max_window_layers=3, tie_word_embeddings=True,
    ),
    "qwen3_moe": _config(
        "qwen3_moe", "Qwen3MoeForCausalLM", num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40,
        head_dim=10, attention_bias=True, decoder_sparse_step=2,
    ),
    "olmoe": _config("olmoe", "OlmoeForCausalLM", num_experts=6, num_experts_per_tok=2),
    "granitemoe": _config("granitemoe", "GraniteMoeForCausalLM", num_local_experts=6, tie_word_embeddings=True),
    "minimax_m2": _config(
        "minimax_m2", "MiniMaxM2ForCausalLM", num_local_experts=6, num_experts_per_tok=2, head_dim=10, rotary_dim=4
    ),
    "glm4_moe": _config(
        "glm4_moe", "Glm4MoeForCausalLM", _ROUTED, head_dim=12, use_qk_norm=True, attention_bias=True,
        first_k_dense_replace=2,
    ),
    "dots1": _config(
        "dots1", "Dots1ForCausalLM", _ROUTED, n_group=1, topk_group=1, first_k_dense_replace=1, sliding_window=5,
        max_window_layers=2,
    ),
    "ernie4_5_moe": _config(
        "ernie4_5_moe", "Ernie4_5_MoeForCausalLM", moe_intermediate_size=40, moe_num_experts=6, moe_k=2,
        moe_num_shared_experts=2, moe_layer_interval=2, moe_layer_end_index=-1, use_bias=True,
    ),
    "hunyuan_v1_moe": _config(
        "hunyuan_v1_moe", "HunYuanMoEV1ForCausalLM", num_experts=6, moe_topk=2, head_dim=10
    ),
    "gpt_oss": _config(
        "gpt_oss", "GptOssForCausalLM", num_local_experts=6, num_experts_per_tok=2, head_dim=10, sliding_window=5
    ),
    "deepseek_v2": _config("deepseek_v2", "DeepseekV2ForCausalLM", _ROUTED, _MLA, first_k_dense_replace=1),
    "deepseek_v2-lite": _config(
        "deepseek_v2", "DeepseekV2ForCausalLM", _ROUTED, _MLA, q_lora_rank=None, attention_bias=True, mlp_bias=True
    ),
    "deepseek_v3": _config("deepseek_v3", "DeepseekV3ForCausalLM", _ROUTED, _MLA, first_k_dense_replace=2),
    "glm4_moe_lite": _config("glm4_moe_lite", "Glm4MoeLiteForCausalLM", _ROUTED, _MLA),
    "deepseek_v32": _config("deepseek_v32", "DeepseekV32ForCausalLM", _ROUTED, _MLA, _INDEX, first_k_dense_replace=1),
    "glm_moe_dsa": _config(
        "glm_moe_dsa", "GlmMoeDsaForCausalLM", _ROUTED, _MLA, _INDEX, first_k_dense_replace=1,
        indexer_types=["full", "full", "shared", "full"],
    ),
    "deepseek_v4": _config(
        "deepseek_v4", "DeepseekV4ForCausalLM", _INDEX, num_key_value_heads=1, head_dim=24, qk_rope_head_dim=8,
        q_lora_rank=20, moe_intermediate_size=40, n_routed_experts=6, num_experts_per_tok=2, sliding_window=5,
        o_groups=2, o_lora_rank=8, num_hash_layers=1, compress_ratios=[0, 4, 128, 4, 0], compress_rate_hca=6, hc_mult=2,
    ),
    "minimax_m3_vl_text": _config(
        "minimax_m3_vl_text", "MiniMaxM3VLForCausalLM", num_local_experts=6, num_experts_per_tok=2, head_dim=16,
        intermediate_size=40, dense_intermediate_size=28, shared_intermediate_size=36, rotary_dim=8,
        partial_rotary_factor=0.5, moe_layer_freq=[0, 1, 1, 1],
        sparse_attention_config={
            "sparse_attention_freq": [0, 1, 0, 1], "sparse_num_index_heads": 2, "sparse_index_dim": 16,
            "sparse_block_size": 4, "sparse_topk_blocks": 2, "sparse_local_block": 1,
        },
    ),
    "mamba": _config("mamba", "MambaForCausalLM", state_size=6, conv_kernel=3, time_step_rank=5, use_bias=True),
    "falcon_mamba": _config(
        "falcon_mamba", "FalconMambaForCausalLM", state_size=6, conv_kernel=3, use_conv_bias=False
    ),
    "mamba2": _config(
        "mamba2", "Mamba2ForCausalLM", state_size=6, conv_kernel=3, num_heads=8, head_dim=8, n_groups=2
    ),
    "jamba": _config(
        "jamba", "JambaForCausalLM", num_experts=6, num_experts_per_tok=2, mamba_d_state=6, mamba_d_conv=3,
        mamba_dt_rank=5, attn_layer_period=4, attn_layer_offset=2, expert_layer_period=2, expert_layer_offset=1,
    ),
    "bamba": _config("bamba", "BambaForCausalLM", _SSD, attn_layer_indices=[1, 3], attention_bias=True),
    "granitemoehybrid": _config(
        "granitemoehybrid", "GraniteMoeHybridForCausalLM", _SSD, num_local_experts=6, shared_intermediate_size=20,
        layer_types=["mamba", "attention", "mamba", "mamba"],
    ),
    "granitemoehybrid-dense": _config(
        "granitemoehybrid", "GraniteMoeHybridForCausalLM", _SSD, num_local_experts=0, num_experts_per_tok=0,
        shared_intermediate_size=20, position_embedding_type="rope", layer_types=["attention"] * 4,
        tie_word_embeddings=True,
    ),
    "nemotron_h": _config(
        "nemotron_h", "NemotronHForCausalLM", _ROUTED, hybrid_override_pattern="ME*-M", mamba_num_heads=4,
        mamba_head_dim=6, ssm_state_size=5, n_groups=2, conv_kernel=3, head_dim=10,
        moe_shared_expert_intermediate_size=20, moe_latent_size=48,
    ),
    "qwen3_next": _config(
        "qwen3_next", "Qwen3NextForCausalLM", _DELTA, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40,
        shared_expert_intermediate_size=20, mlp_only_layers=[2],
    ),
    "qwen3_5_text": _config("qwen3_5_text", "Qwen3_5ForCausalLM", _DELTA, full_attention_interval=2),
    "qwen3_5_moe_text": _config(
        "qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", _DELTA, num_experts=6, num_experts_per_tok=2,
        moe_intermediate_size=40, shared_expert_intermediate_size=20,
    ),
    "llama4_text": _config(
        "llama4_text", "Llama4ForCausalLM", num_local_experts=6, intermediate_size_mlp=28, head_dim=10,
        interleave_moe_layer_step=2, attention_chunk_size=5,
    ),
    "mimo_v2_flash": _config(
        "mimo_v2_flash", "MiMoV2FlashForCausalLM", _ROUTED, head_dim=18, v_head_dim=14, sliding_window_size=5
    ),
    "kimi_linear": _config(
        "kimi_linear", "KimiLinearForCausalLM", _MLA, q_lora_rank=None, num_local_experts=6, num_experts_per_tok=2,
        moe_intermediate_size=40, n_shared_experts=2,
        linear_attn_config={
            "full_attn_layers": [2, 4], "kda_layers": [1, 3], "head_dim": 6, "num_heads": 3, "short_conv_kernel_size": 3
        },
    ),
    "lfm2": _config("lfm2", "Lfm2ForCausalLM", full_attn_idxs=[1, 3], conv_L_cache=3, conv_bias=True),
    "zamba2": _config(
        "zamba2", "Zamba2ForCausalLM", num_hidden_layers=7, mamba_d_state=6, mamba_d_conv=3, n_mamba_heads=8,
        mamba_ngroups=2, num_mem_blocks=2, adapter_rank=5, num_key_value_heads=4,
        use_shared_attention_adapter=True, use_mem_rope=True,
        layers_block_type=["mamba", "hybrid", "hybrid", "mamba", "hybrid", "mamba", "hybrid"], chunk_size=4,
    ),
    "zamba2-untied": _config(
        "zamba2", "Zamba2ForCausalLM", mamba_d_state=6, n_mamba_heads=8, add_bias_linear=True,
        layers_block_type=["linear_attention", "hybrid", "linear_attention", "hybrid"], tie_word_embeddings=False,
    ),
    "zamba2-biased": _config(
        "zamba2", "Zamba2ForCausalLM", mamba_d_state=6, n_mamba_heads=8, add_bias_linear=True,
        layers_block_type=["mamba", "hybrid", "mamba", "hybrid"],
    ),
    "gemma3n_text": _config(
        "gemma3n_text", "Gemma3nForCausalLM", head_dim=10, sliding_window=5, num_hidden_layers=6,
        intermediate_size=[24, 28, 24, 24, 24, 24], num_kv_shared_layers=2, vocab_size_per_layer_input=59,
        hidden_size_per_layer_input=12, altup_num_inputs=3, laurel_rank=7,
        layer_types=[*("sliding_attention", "full_attention") * 3],
    ),
}  # fmt: skip
