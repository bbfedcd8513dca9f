"""Shrunken configurations of every form: few layers, a family's own proportions.

Sizes are primes or odd where a family allows it, so that two terms that happen to coincide at published sizes cannot
hide each other.
"""

from __future__ import annotations

from typing import Any

_ROTARY = {
    "hidden_size": 448, "intermediate_size": 1184, "num_hidden_layers": 3, "num_attention_heads": 7,
    "num_key_value_heads": 7, "vocab_size": 997, "max_position_embeddings": 512, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_GROUPED = _ROTARY | {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64}
_EXPERTS = _GROUPED | {"num_experts_per_tok": 3, "num_experts": 8, "num_local_experts": 8, "moe_intermediate_size": 160}
_ENCODER = _ROTARY | {"intermediate_size": 1792}


def _config(model_type: str, model_class: str, base: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, "architectures": [model_class], **base, **more}


DENSE: dict[str, dict[str, Any]] = {
    "llama": _config("llama", "LlamaForCausalLM", _ROTARY),
    "llama-grouped": _config("llama", "LlamaForCausalLM", _GROUPED),
    "qwen2": _config("qwen2", "Qwen2ForCausalLM", _GROUPED),
    "mistral": _config("mistral", "MistralForCausalLM", _GROUPED, sliding_window=None),
    "mistral-window": _config("mistral", "MistralForCausalLM", _GROUPED, sliding_window=200),
    "granite": _config("granite", "GraniteForCausalLM", _GROUPED),
    "qwen3": _config("qwen3", "Qwen3ForCausalLM", _GROUPED),
    "gemma": _config("gemma", "GemmaForCausalLM", _GROUPED, num_key_value_heads=1),
    "gemma2": _config("gemma2", "Gemma2ForCausalLM", _GROUPED),
    "gemma3": _config("gemma3_text", "Gemma3ForCausalLM", _GROUPED,
                      layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
    "olmo": _config("olmo", "OlmoForCausalLM", _ROTARY),
    "olmo2": _config("olmo2", "Olmo2ForCausalLM", _ROTARY),
    "cohere": _config("cohere", "CohereForCausalLM", _GROUPED),
    "glm4": _config("glm4", "Glm4ForCausalLM", _GROUPED),
    "phi": _config("phi", "PhiForCausalLM", _ROTARY),
    "phi3": _config("phi3", "Phi3ForCausalLM", _ROTARY),
    "stablelm": _config("stablelm", "StableLmForCausalLM", _ROTARY),
    "starcoder2": _config("starcoder2", "Starcoder2ForCausalLM", _GROUPED),
    "nemotron": _config("nemotron", "NemotronForCausalLM", _GROUPED),
    "apertus": _config("apertus", "ApertusForCausalLM", _GROUPED),
    "persimmon": _config("persimmon", "PersimmonForCausalLM", _ROTARY, intermediate_size=1792),
    "persimmon-plain": _config("persimmon", "PersimmonForCausalLM", _ROTARY, qk_layernorm=False, intermediate_size=300),
    "gpt2": _config("gpt2", "GPT2LMHeadModel", {}, n_embd=448, n_layer=3, n_head=7, n_positions=512, vocab_size=997),
    "opt": _config("opt", "OPTForCausalLM", _ROTARY, ffn_dim=1792, word_embed_proj_dim=448),
    "bloom": _config("bloom", "BloomForCausalLM", {}, hidden_size=448, n_layer=3, n_head=7, vocab_size=997),
    "gpt_neox": _config("gpt_neox", "GPTNeoXForCausalLM", _ROTARY, intermediate_size=1792),
    "gptj": _config("gptj", "GPTJForCausalLM", {}, n_embd=448, n_layer=3, n_head=7, n_positions=512, vocab_size=997,
                    rotary_dim=32),
    "falcon": _config("falcon", "FalconForCausalLM", _ROTARY, new_decoder_architecture=False, multi_query=True,
                      parallel_attn=True, bias=False, alibi=False),
    "falcon-alibi": _config("falcon", "FalconForCausalLM", _ROTARY, new_decoder_architecture=False, multi_query=False,
                            parallel_attn=False, bias=True, alibi=True),
    "gpt_neo": _config("gpt_neo", "GPTNeoForCausalLM", {}, hidden_size=448, num_layers=4, num_heads=7, vocab_size=997,
                       max_position_embeddings=512, attention_types=[[["global", "local"], 2]]),
    "codegen": _config("codegen", "CodeGenForCausalLM", {}, n_embd=512, n_layer=3, n_head=8, n_positions=512,
                       vocab_size=997, rotary_dim=32),
    "qwen3-headless": _config("qwen3", "Qwen3Model", _GROUPED),
    "mixtral": _config("mixtral", "MixtralForCausalLM", _EXPERTS),
    "qwen3_moe": _config("qwen3_moe", "Qwen3MoeForCausalLM", _EXPERTS),
    "deepseek_v3": _config("deepseek_v3", "DeepseekV3ForCausalLM", _EXPERTS, n_routed_experts=8, n_shared_experts=1,
                           first_k_dense_replace=1, q_lora_rank=96, kv_lora_rank=64, qk_nope_head_dim=32,
                           qk_rope_head_dim=16, v_head_dim=40, num_key_value_heads=8, head_dim=16, n_group=2,
                           topk_group=1),
    "bert": _config("bert", "BertModel", _ENCODER),
    "bert-mlm": _config("bert", "BertForMaskedLM", _ENCODER, vocab_size=9001),
    "roberta": _config("roberta", "RobertaModel", _ENCODER),
    "nomic": _config("nomic_bert", "NomicBertModel", _ENCODER, intermediate_size=300),
    "nomic-mlm": _config("nomic_bert", "NomicBertForMaskedLM", _ENCODER),
    "deberta-deep": _config("deberta-v2", "DebertaV2Model", _ENCODER | {"num_hidden_layers": 7}, position_buckets=64,
                            relative_attention=True, pos_att_type=["p2c", "c2p"], share_att_key=True,
                            norm_rel_ebd="layer_norm", position_biased_input=False, max_relative_positions=-1),
    "deberta": _config("deberta-v2", "DebertaV2Model", _ENCODER, relative_attention=True, position_buckets=64,
                       pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm",
                       position_biased_input=False, max_relative_positions=-1),
    "bart": _config("bart", "BartForConditionalGeneration", {}, d_model=448, encoder_layers=3, decoder_layers=3,
                    encoder_attention_heads=7, decoder_attention_heads=7, encoder_ffn_dim=1792, decoder_ffn_dim=1792,
                    vocab_size=997, max_position_embeddings=512),
    "t5": _config("t5", "T5ForConditionalGeneration", {}, d_model=448, d_kv=64, d_ff=1184, num_layers=3, num_heads=7,
                  vocab_size=997, decoder_start_token_id=0),
    "t5-few-heads": _config("t5", "T5ForConditionalGeneration", {}, d_model=192, d_kv=64, d_ff=320, num_layers=3,
                            num_heads=2, vocab_size=997, decoder_start_token_id=0),
    "t5-gated": _config("t5", "T5ForConditionalGeneration", {}, d_model=448, d_kv=64, d_ff=1184, num_layers=3,
                        num_heads=7, vocab_size=997, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                        decoder_start_token_id=0),
}  # fmt: skip

_OWN = {
    "hidden_size": 448, "intermediate_size": 1184, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 997, "max_position_embeddings": 2048, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_LLAMA4 = {"model_type": "llama4_text", "architectures": ["Llama4ForCausalLM"], **_OWN, "interleave_moe_layer_step": 2,
           "attention_chunk_size": 800}  # fmt: skip
_GEMMA4 = {
    "model_type": "gemma4_text", "architectures": ["Gemma4ForCausalLM"], **_OWN, "num_hidden_layers": 6,
    "global_head_dim": 128, "hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 997,
    "sliding_window": 800, "layer_types": ["sliding_attention", "full_attention"] * 3,
}  # fmt: skip
OWN_PLANS: dict[str, dict[str, Any]] = {
    "llama4-experts": {**_LLAMA4, "num_local_experts": 6, "intermediate_size": 160, "intermediate_size_mlp": 700},
    "llama4-dense": {**_LLAMA4, "num_local_experts": 2, "intermediate_size": 160, "intermediate_size_mlp": 1700},
    "gemma4": _GEMMA4,
    "gemma4-shared": {**_GEMMA4, "num_kv_shared_layers": 2, "use_double_wide_mlp": True},
    "gemma4-experts": {**_GEMMA4, "enable_moe_block": True, "num_experts": 8, "top_k_experts": 3,
                       "moe_intermediate_size": 1160, "hidden_size_per_layer_input": 0},
    "gemma4-wrapped": {"model_type": "gemma4", "architectures": ["Gemma4ForConditionalGeneration"],
                       "text_config": {**_GEMMA4, "hidden_size_per_layer_input": 96},
                       "vision_config": None, "audio_config": None},
    "mimo": {"model_type": "mimo_v2_flash", "architectures": ["MiMoV2FlashForCausalLM"], **_OWN, "v_head_dim": 48,
             "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 160, "sliding_window_size": 800},
    "mpt": {"model_type": "mpt", "architectures": ["MptForCausalLM"], "d_model": 448, "n_heads": 7, "n_layers": 3,
            "max_seq_len": 512, "vocab_size": 997},
    "mixtral-narrow": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], **_OWN,
                       "intermediate_size": 160, "num_local_experts": 8, "num_experts_per_tok": 3},
}  # fmt: skip
DEEPSEEK_V4: dict[str, Any] = {
    "model_type": "deepseek_v4", "architectures": ["DeepseekV4ForCausalLM"], **_OWN, "num_hidden_layers": 5,
    "num_key_value_heads": 1, "qk_rope_head_dim": 16, "q_lora_rank": 96, "moe_intermediate_size": 160,
    "n_routed_experts": 8, "num_experts_per_tok": 3, "sliding_window": 128, "o_groups": 2, "o_lora_rank": 64,
    "num_hash_layers": 1, "compress_ratios": [0, 4, 128, 4, 0], "index_head_dim": 32, "index_n_heads": 4,
    "index_topk": 64,
}  # fmt: skip
DEEPSEEK_V4.pop("intermediate_size")
LED: dict[str, Any] = {
    "model_type": "led", "architectures": ["LEDForConditionalGeneration"], "d_model": 448, "encoder_layers": 3,
    "decoder_layers": 3, "encoder_attention_heads": 7, "decoder_attention_heads": 7, "encoder_ffn_dim": 1792,
    "decoder_ffn_dim": 1792, "vocab_size": 997, "attention_window": 64, "max_encoder_position_embeddings": 1024,
}  # fmt: skip

_MIXED: dict[str, Any] = {
    "hidden_size": 96, "intermediate_size": 272, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16,
    "num_hidden_layers": 4, "vocab_size": 997, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
_ROUTED = {"num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 56}
_SCAN = {"state_size": 13, "conv_kernel": 4, "time_step_rank": 5}
_DUALITY = {"mamba_n_heads": 12, "mamba_d_state": 22, "mamba_n_groups": 2, "mamba_d_conv": 4, "mamba_chunk_size": 32}
_DELTA = {
    "linear_num_value_heads": 6, "linear_num_key_heads": 3, "linear_key_head_dim": 12, "linear_value_head_dim": 20,
    "linear_conv_kernel_dim": 4, "shared_expert_intermediate_size": 40,
}  # fmt: skip


def _mixed(model_type: str, model_class: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {"model_type": model_type, "architectures": [model_class], **_MIXED}
    for part in parts:
        merged |= part
    return merged | more


RECURRENT: dict[str, dict[str, Any]] = {
    "mamba": _mixed("mamba", "MambaForCausalLM", _SCAN),
    "mamba-half": _mixed("mamba", "MambaForCausalLM", _SCAN, residual_in_fp32=False, use_bias=True),
    "falcon_mamba": _mixed("falcon_mamba", "FalconMambaForCausalLM", _SCAN),
    "mamba2": _mixed("mamba2", "Mamba2ForCausalLM", state_size=22, num_heads=12, n_groups=2, chunk_size=32),
    "mamba2-wide": _mixed("mamba2", "Mamba2ForCausalLM", state_size=110, num_heads=12, n_groups=1, chunk_size=64),
    "mamba2-chunks": _mixed("mamba2", "Mamba2ForCausalLM", state_size=110, num_heads=12, n_groups=1, chunk_size=32),
    "bamba": _mixed("bamba", "BambaForCausalLM", _DUALITY, attn_layer_indices=[1, 3]),
    "granitemoehybrid-dense": _mixed(
        "granitemoehybrid", "GraniteMoeHybridForCausalLM", _DUALITY, num_local_experts=0, num_experts_per_tok=0,
        shared_intermediate_size=210, layer_types=["mamba", "attention", "mamba", "mamba"],
    ),
    "qwen3_5": _mixed("qwen3_5_text", "Qwen3_5ForCausalLM", _DELTA, full_attention_interval=2),
    "qwen3_5-square": _mixed(
        "qwen3_5_text", "Qwen3_5ForCausalLM", _DELTA, full_attention_interval=4, linear_key_head_dim=40,
        linear_value_head_dim=40,
    ),
    "lfm2": _mixed("lfm2", "Lfm2ForCausalLM", full_attn_idxs=[1, 3], conv_L_cache=4, block_auto_adjust_ff_dim=False),
}  # fmt: skip
# torch's grouped matrix product takes bfloat16 alone on the meta device
RECURRENT_EXPERTS: dict[str, dict[str, Any]] = {
    "jamba": _mixed(
        "jamba", "JambaForCausalLM", _ROUTED, mamba_d_state=13, mamba_d_conv=4, mamba_dt_rank=5, attn_layer_period=4,
        attn_layer_offset=2,
    ),
    "granitemoehybrid": _mixed(
        "granitemoehybrid", "GraniteMoeHybridForCausalLM", _DUALITY, _ROUTED, shared_intermediate_size=40,
        layer_types=["mamba", "attention", "mamba", "attention"], position_embedding_type="rope",
    ),
    "nemotron_h": _mixed(
        "nemotron_h", "NemotronHForCausalLM", _ROUTED, hybrid_override_pattern="ME*-M*", mamba_num_heads=12,
        mamba_head_dim=16, ssm_state_size=22, n_groups=2, chunk_size=32, n_routed_experts=8, n_shared_experts=1,
        moe_shared_expert_intermediate_size=72, moe_latent_size=64,
    ),
    "qwen3_next": _mixed("qwen3_next", "Qwen3NextForCausalLM", _DELTA, _ROUTED, mlp_only_layers=[2]),
    "qwen3_5_moe": _mixed("qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", _DELTA, _ROUTED),
}  # fmt: skip

_PICTURE: dict[str, Any] = {
    "hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 9, "intermediate_size": 250, "image_size": 96,
    "patch_size": 8,
}  # fmt: skip
_WORDS: dict[str, Any] = {
    "vocab_size": 997, "hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 9, "intermediate_size": 270,
    "max_position_embeddings": 77, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_SMALL = {**_PICTURE, "image_size": 24}
TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"model_type": "vit", "architectures": ["ViTForImageClassification"], **_PICTURE},
    "vit-one-layer": {"model_type": "vit", "architectures": ["ViTModel"], **_PICTURE, "num_hidden_layers": 1},
    "dinov2": {"model_type": "dinov2", "architectures": ["Dinov2Model"], **_PICTURE},
    "dinov2-gated": {"model_type": "dinov2", "architectures": ["Dinov2Model"], **_PICTURE, "use_swiglu_ffn": True},
    "clip": {"model_type": "clip", "architectures": ["CLIPModel"], "text_config": _WORDS, "vision_config": _PICTURE},
    "clip-text-decides": {
        "model_type": "clip", "architectures": ["CLIPModel"], "text_config": _WORDS, "vision_config": _SMALL,
    },
    "clip-gelu": {"model_type": "clip_vision_model", "architectures": ["CLIPVisionModel"], **_PICTURE,
                  "hidden_act": "gelu"},
    "clip-text": {"model_type": "clip_text_model", "architectures": ["CLIPTextModelWithProjection"], **_WORDS},
    "siglip": {
        "model_type": "siglip", "architectures": ["SiglipModel"], "text_config": _WORDS, "vision_config": _PICTURE,
    },
    "siglip-vision": {"model_type": "siglip_vision_model", "architectures": ["SiglipVisionModel"], **_PICTURE},
}  # fmt: skip

# by name; a name says which form it shrinks
SHRUNKEN: dict[str, dict[str, Any]] = {
    **DENSE, **OWN_PLANS, "deepseek_v4": DEEPSEEK_V4, "led": LED, **RECURRENT, **RECURRENT_EXPERTS, **TOWERS,
}  # fmt: skip
