"""Shrunken configurations of every dense decoder.

Their dimensions are all different, so that a head size, a key-value head count, a bias or a tie taken from the wrong
key shows.
"""

from __future__ import annotations

from typing import Any

Case = tuple[str, dict[str, Any], dict[str, Any]]
"""model_type, the base configuration, and what this case changes in it."""

DENSE = (
    "llama", "mistral", "ministral", "ministral3", "qwen2", "granite", "smollm3", "internlm3", "seed_oss", "ernie4_5",
    "helium", "diffllama", "qwen3", "hunyuan_v1_dense", "exaone4", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2",
    "olmo3", "cohere", "cohere2", "glm", "glm4", "phi", "phi3", "starcoder2", "nemotron", "arcee", "stablelm", "gpt2",
    "gpt_bigcode", "gptj", "codegen", "gpt_neo", "gpt_neox", "opt", "bloom", "mpt", "falcon",
    "cwm", "jais2", "apertus", "persimmon", "xglm", "biogpt",
)  # fmt: skip
REMOTE = ("internlm2", "minicpm", "orion", "baichuan", "chatglm", "qwen", "exaone", "nemotron-nas", "phi3_v")

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "vocab_size": 101, "max_position_embeddings": 64, "rope_theta": 10000.0, **IDS,
}  # fmt: skip
BIASED = {"attention_bias": True, "mlp_bias": True}
GPT = {"n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 40, "vocab_size": 101, **IDS}
NEO = {"hidden_size": 48, "num_layers": 4, "num_heads": 6, "max_position_embeddings": 40, "vocab_size": 101, **IDS}
OPT = {
    "hidden_size": 48, "ffn_dim": 80, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": 101,
    "max_position_embeddings": 40, **IDS,
}  # fmt: skip
FALCON = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": 101, **IDS}
XGLM = {
    "d_model": 48, "ffn_dim": 80, "num_layers": 3, "attention_heads": 6, "vocab_size": 101,
    "max_position_embeddings": 40, **IDS,
}  # fmt: skip
BARE = {key: LLAMA[key] for key in LLAMA if key != "num_key_value_heads"}  # the family's own default of heads

CASES: list[Case] = [
    ("llama", LLAMA, {}),
    ("llama", LLAMA, {**BIASED, "tie_word_embeddings": True, "head_dim": 10}),
    ("llama", LLAMA, {"num_key_value_heads": None, "head_dim": None}),
    ("llama", LLAMA, {"architectures": ["LlamaModel"]}),
    ("llama", LLAMA, {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}),
    ("llama", LLAMA, {"sliding_window": 5}),
    ("mistral", LLAMA, {"sliding_window": 5}),
    ("mistral", BARE, {"num_attention_heads": 16, "sliding_window": None, "head_dim": 10}),
    ("mistral", LLAMA, {}),
    ("ministral", LLAMA, {"layer_types": ["sliding_attention", "full_attention", "full_attention"], "head_dim": 10}),
    ("ministral", LLAMA, {"sliding_window": 5, "head_dim": 8}),
    ("ministral3", LLAMA, {}),
    ("ministral3", LLAMA, {"head_dim": 10, "sliding_window": 5}),
    ("qwen2", LLAMA, {"sliding_window": 5}),
    ("qwen2", LLAMA, {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    ("qwen2", LLAMA, {"tie_word_embeddings": True, "architectures": ["Qwen2Model"]}),
    ("granite", LLAMA, BIASED),
    ("granite", LLAMA, {"tie_word_embeddings": True}),
    ("smollm3", LLAMA, {}),
    ("smollm3", LLAMA, {**BIASED, "use_sliding_window": True, "sliding_window": 5, "no_rope_layers": [1, 0, 1]}),
    ("internlm3", LLAMA, {"head_dim": 10}),
    ("internlm3", LLAMA, {"qkv_bias": True, "bias": True}),
    ("seed_oss", LLAMA, {"head_dim": 10}),
    ("seed_oss", LLAMA, {"attention_bias": False, "attention_out_bias": True, "mlp_bias": True}),
    ("ernie4_5", LLAMA, {"head_dim": 10}),
    ("ernie4_5", LLAMA, {"use_bias": True, "tie_word_embeddings": False}),
    ("helium", LLAMA, {"head_dim": 8, **BIASED}),
    ("diffllama", LLAMA, {"head_dim": 8}),
    ("diffllama", LLAMA, {"attention_bias": True}),
    ("qwen3", LLAMA, {}),
    ("qwen3", LLAMA, {"head_dim": 10, "attention_bias": True, "tie_word_embeddings": True}),
    ("qwen3", LLAMA, {"architectures": ["Qwen3Model"]}),
    ("hunyuan_v1_dense", LLAMA, {"head_dim": 10, "attention_bias": True}),
    ("exaone4", LLAMA, {"sliding_window": 5, "sliding_window_pattern": 2}),
    ("exaone4", LLAMA, {"sliding_window": None, "layer_types": ["full_attention"] * 3}),
    ("gemma", LLAMA, {"head_dim": 10}),
    ("gemma", LLAMA, {"attention_bias": True, "tie_word_embeddings": False}),
    ("gemma2", LLAMA, {"head_dim": 10, "num_hidden_layers": 4, "sliding_window": 5}),
    ("gemma3_text", LLAMA, {"head_dim": 10, "sliding_window": 5, "sliding_window_pattern": 3}),
    ("gemma3_text", LLAMA, {"head_dim": 10, "sliding_window": 7, "use_bidirectional_attention": True}),
    ("olmo", LLAMA, {"attention_bias": True}),
    ("olmo2", LLAMA, {"attention_bias": True}),
    ("olmo3", LLAMA, {"num_hidden_layers": 4, "sliding_window": 5}),
    ("cohere", LLAMA, {}),
    ("cohere", LLAMA, {"use_qk_norm": True, "attention_bias": True}),
    ("cohere2", LLAMA, {"num_hidden_layers": 4, "sliding_window": 5, "head_dim": 10}),
    ("cohere2", LLAMA, {"sliding_window": 5, "sliding_window_pattern": 2, "attention_bias": True}),
    ("glm", LLAMA, {"head_dim": 10}),
    ("glm", LLAMA, {"attention_bias": False, "partial_rotary_factor": 0.25}),
    (
        "glm",
        LLAMA,
        {
            "partial_rotary_factor": 0.5,
            "rope_scaling": {"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.25},
        },
    ),
    ("glm", LLAMA, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75}}),
    ("glm4", LLAMA, {"head_dim": 10, "tie_word_embeddings": True}),
    ("phi", LLAMA, {}),
    ("phi", LLAMA, {"qk_layernorm": True, "partial_rotary_factor": 0.25}),
    ("phi3", LLAMA, {"sliding_window": 5}),
    ("phi3", LLAMA, {"partial_rotary_factor": 0.75, "tie_word_embeddings": True}),
    ("starcoder2", LLAMA, {"sliding_window": 5}),
    ("starcoder2", LLAMA, {"use_bias": False, "tie_word_embeddings": False}),
    ("nemotron", LLAMA, {"head_dim": 10}),
    ("nemotron", LLAMA, BIASED),
    ("arcee", LLAMA, {"head_dim": 10, **BIASED}),
    ("stablelm", LLAMA, {"use_qkv_bias": True}),
    ("stablelm", LLAMA, {"qk_layernorm": True, "use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    ("gpt2", GPT, {}),
    ("gpt2", GPT, {"n_inner": 72, "tie_word_embeddings": False}),
    ("gpt2", GPT, {"architectures": ["GPT2Model"]}),
    ("gpt2", GPT, {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 3}),
    ("gpt_bigcode", GPT, {}),
    ("gpt_bigcode", GPT, {"multi_query": False, "n_inner": 72}),
    ("gptj", GPT, {"rotary_dim": 4}),
    ("codegen", GPT, {"rotary_dim": 4, "n_head": 4}),
    ("gpt_neo", NEO, {"attention_types": [[["global", "local"], 2]], "window_size": 5}),
    ("gpt_neox", LLAMA, {"rotary_pct": 0.5}),
    ("gpt_neox", LLAMA, {"attention_bias": False, "tie_word_embeddings": True}),
    ("opt", OPT, {}),
    ("opt", OPT, {"word_embed_proj_dim": 24, "do_layer_norm_before": False}),
    ("opt", OPT, {"enable_bias": False, "layer_norm_elementwise_affine": False}),
    ("opt", OPT, {"architectures": ["OPTForSequenceClassification"], "word_embed_proj_dim": 24}),
    ("bloom", {"hidden_size": 48, "n_layer": 3, "n_head": 6, "vocab_size": 101, **IDS}, {"seq_length": 64}),
    ("mpt", {"d_model": 48, "n_layers": 3, "n_heads": 6, "vocab_size": 101, "max_seq_len": 64, **IDS}, {}),
    ("falcon", FALCON, {}),
    ("falcon", FALCON, {"multi_query": False, "bias": True, "alibi": True, "parallel_attn": False}),
    ("falcon", FALCON, {"new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 72}),
    ("falcon", FALCON, {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    ("cwm", LLAMA, {"num_hidden_layers": 6, "head_dim": 10, "mlp_bias": True, "sliding_window": 5}),
    ("jais2", LLAMA, {}),
    ("jais2", LLAMA, {"attention_bias": False, "mlp_bias": False, "head_dim": 10}),
    ("apertus", LLAMA, {"attention_bias": True, "head_dim": 10}),
    ("persimmon", LLAMA, {}),
    ("persimmon", LLAMA, {"qk_layernorm": False, "partial_rotary_factor": 0.25}),
    ("xglm", XGLM, {}),
    ("biogpt", BARE, {}),
]


def raw_config(model_type: str, base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    return {"model_type": model_type, **base, **extra}


def case_id(case: Case) -> str:
    return f"{case[0]}-{'-'.join(case[2]) or 'plain'}"


NAS_BLOCK = {"attention": {"n_heads_in_group": 3, "no_op": False}, "ffn": {"ffn_mult": 1.5, "no_op": False}}
NAS = {
    **raw_config("nemotron-nas", LLAMA, {"num_key_value_heads": None, "intermediate_size": None}),
    "block_configs": [
        NAS_BLOCK,
        {"attention": {"no_op": True}, "ffn": {"replace_with_linear": True}},
        {"attention": {"replace_with_linear": True}, "ffn": {"no_op": True}},
    ],
}

CHATGLM = {
    "hidden_size": 48, "num_attention_heads": 6, "num_layers": 3, "kv_channels": 8, "seq_length": 64,
    "ffn_hidden_size": 80, "padded_vocab_size": 101, "multi_query_attention": True, "multi_query_group_num": 2,
}  # fmt: skip
VISION = {
    "img_processor": {"name": "clip_vision_model", "image_dim_out": 1024},
    "embd_layer": {"projection_cls": "mlp", "use_hd_transform": True},
}
REMOTE_CASES: list[Case] = [
    ("internlm2", LLAMA, {}),
    ("minicpm", LLAMA, {}),
    ("orion", LLAMA, {}),
    ("baichuan", LLAMA, {}),
    ("qwen", LLAMA, {}),
    ("exaone", LLAMA, {"num_layers": 3}),
    ("nemotron-nas", NAS, {}),
    ("chatglm", CHATGLM, {}),
    ("phi3_v", LLAMA, VISION),
]
