"""GGUF metadata as a configuration: a model written to GGUF and read back is the same Architecture.

Each case is a shrunken config.json and the metadata that convert_hf_to_gguf.py writes for it. The tensors are those of
our own inventory under the names that the gguf package maps them to, so both doors meet on shapes and caches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from written import write_gguf

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.architecture import Architecture
from gpufit.facts.gguf import GgufHeader
from gpufit.facts.gguf_config import _FAMILIES, gguf_to_config
from gpufit.facts.read import parse_config
from gpufit.facts.stored import StoredTensor
from gpufit.sources.resolve import resolve_path

BASE = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512, "tie_word_embeddings": False,
}  # fmt: skip
KEYS = {
    "block_count": 2, "embedding_length": 64, "feed_forward_length": 96, "attention.head_count": 4,
    "attention.head_count_kv": 2, "context_length": 512,
}  # fmt: skip
TIED = {"tie_word_embeddings": True}
WIDE = {"head_dim": 32}  # not hidden_size / heads
WIDE_KEYS = {"attention.key_length": 32, "attention.value_length": 32}
MOE_KEYS = {"expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 32}
MOE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
HYBRID = ["sliding_attention", "full_attention"]
SIX = {"num_hidden_layers": 7, "layer_types": ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]}
MLA = {
    "q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 12, "v_head_dim": 20,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32,
    "first_k_dense_replace": 1, "num_key_value_heads": 4, "num_hidden_layers": 3,
}  # fmt: skip
MLA_KEYS = {
    "attention.q_lora_rank": 24, "attention.kv_lora_rank": 16, "rope.dimension_count": 8,
    "expert_shared_count": 1, "leading_dense_block_count": 1, **MOE_KEYS, "block_count": 3,
}  # fmt: skip
OLD_MLA = {**MLA_KEYS, "attention.head_count_kv": 4, "attention.key_length": 20, "attention.value_length": 20}
NEW_MLA = {
    **MLA_KEYS, "attention.head_count_kv": 1, "attention.key_length": 24, "attention.value_length": 16,
    "attention.key_length_mla": 20, "attention.value_length_mla": 20,
}  # fmt: skip
SHARED = {
    "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32,
    "first_k_dense_replace": 1, "num_hidden_layers": 3,
}  # fmt: skip
SHARED_KEYS = {**MOE_KEYS, "expert_shared_count": 1, "leading_dense_block_count": 1, "block_count": 3}
DELTA = {
    "num_hidden_layers": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
}  # fmt: skip
DELTA_KEYS = {
    "block_count": 4, "ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.group_count": 2, "ssm.time_step_rank": 4,
    "ssm.inner_size": 64,
}  # fmt: skip
GRANITE = {
    "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_expand": 2, "mamba_d_state": 16, "mamba_d_conv": 4,
    "mamba_n_groups": 1,
}  # fmt: skip
GRANITE_KEYS = {
    "ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.group_count": 1, "ssm.time_step_rank": 8, "ssm.inner_size": 128,
}  # fmt: skip

# case: general.architecture, what the config adds, what the metadata adds, further tensors that tell
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "llama": ("llama", {"model_type": "llama"}, {}, ()),
    "llama, tied": ("llama", {"model_type": "llama", **TIED}, {}, ()),
    "llama, biased": ("llama", {"model_type": "llama", "attention_bias": True, "mlp_bias": True}, {}, ()),
    "mistral-nemo, wide heads": ("llama", {"model_type": "llama", **WIDE}, WIDE_KEYS, ()),
    "mixtral": (
        "llama", {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None},
        {"expert_count": 8, "expert_used_count": 2}, (),
    ),
    "qwen2": ("qwen2", {"model_type": "qwen2"}, {}, ()),
    "qwen2moe": (
        "qwen2moe", {"model_type": "qwen2_moe", **MOE, "shared_expert_intermediate_size": 48},
        {**MOE_KEYS, "expert_shared_feed_forward_length": 48}, (),
    ),
    "qwen3": ("qwen3", {"model_type": "qwen3", **WIDE}, WIDE_KEYS, ()),
    "qwen3moe": ("qwen3moe", {"model_type": "qwen3_moe", **MOE, **WIDE}, {**MOE_KEYS, **WIDE_KEYS}, ()),
    "gemma": ("gemma", {"model_type": "gemma", **WIDE, **TIED}, WIDE_KEYS, ()),
    "gemma2": (
        "gemma2", {"model_type": "gemma2", **WIDE, **TIED, "sliding_window": 64, "layer_types": HYBRID},
        {**WIDE_KEYS, "attention.sliding_window": 64}, (),
    ),
    "gemma3": (
        "gemma3", {"model_type": "gemma3_text", **WIDE, **TIED, "sliding_window": 64, **SIX},
        {**WIDE_KEYS, "attention.sliding_window": 64, "block_count": 7}, (),
    ),
    "phi2": ("phi2", {"model_type": "phi", "partial_rotary_factor": 0.5}, {"rope.dimension_count": 8}, ()),
    "phi3": ("phi3", {"model_type": "phi3"}, {}, ()),
    "deepseek2, before MLA caches": ("deepseek2", {"model_type": "deepseek_v2", **MLA}, OLD_MLA, ()),
    "deepseek2, with MLA caches": ("deepseek2", {"model_type": "deepseek_v2", **MLA}, NEW_MLA, ()),
    "deepseek3": ("deepseek2", {"model_type": "deepseek_v3", **MLA}, NEW_MLA, ("blk.1.exp_probs_b.bias",)),
    "gpt-oss": (
        "gpt-oss",
        {"model_type": "gpt_oss", **WIDE, "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 32,
         "sliding_window": 64, "layer_types": HYBRID, "attention_bias": True},
        {**WIDE_KEYS, **MOE_KEYS, "attention.sliding_window": 64}, (),
    ),
    "mamba": (
        "mamba", {"model_type": "mamba", "intermediate_size": 128, "expand": 2, "conv_kernel": 4, "state_size": 16,
                  "time_step_rank": 4, "use_conv_bias": True, "use_bias": False, **TIED},
        {"ssm.inner_size": 128, "ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.time_step_rank": 4},
        ("blk.0.ssm_conv1d.bias",),
    ),
    "falcon-7b": (
        "falcon", {"model_type": "falcon", "multi_query": True, "new_decoder_architecture": False,
                   "parallel_attn": True, "bias": False, "alibi": False, "ffn_hidden_size": 96, **TIED},
        {"attention.head_count_kv": 1}, ("output.weight",),
    ),
    "falcon-40b": (
        "falcon", {"model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 2,
                   "parallel_attn": True, "bias": False, "alibi": False, "ffn_hidden_size": 96, **TIED},
        {}, ("output.weight", "blk.0.attn_norm_2.weight"),
    ),
    "starcoder2": ("starcoder2", {"model_type": "starcoder2", "use_bias": True, **TIED}, {}, ()),
    "command-r": ("command-r", {"model_type": "cohere", **TIED}, {}, ()),
    "cohere2": (
        "cohere2", {"model_type": "cohere2", **TIED, "sliding_window": 64, "num_hidden_layers": 5,
                    "layer_types": ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"]},
        {"attention.sliding_window": 64, "block_count": 5}, (),
    ),
    "glm4": ("glm4", {"model_type": "glm4", "attention_bias": True, "head_dim": 16}, {}, ("blk.0.attn_q.bias",)),
    "olmo": ("olmo", {"model_type": "olmo"}, {}, ()),
    "olmo2": ("olmo2", {"model_type": "olmo2"}, {}, ()),
    "granite": ("granite", {"model_type": "granite"}, {}, ()),
    "nemotron": ("nemotron", {"model_type": "nemotron"}, {}, ()),
    "smollm3": ("smollm3", {"model_type": "smollm3", **TIED}, {}, ()),
    "gpt2": (
        "gpt2", {"model_type": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 64, "n_inner": 96, "n_positions": 512,
                 **TIED},
        {}, ("output.weight",),
    ),
    "starcoder": (
        "starcoder", {"model_type": "gpt_bigcode", "n_layer": 2, "n_head": 4, "n_embd": 64, "n_inner": 96,
                      "n_positions": 512, "multi_query": True, **TIED},
        {"attention.head_count_kv": 1}, (),
    ),
    "gptneox": ("gptneox", {"model_type": "gpt_neox", "rotary_pct": 0.25}, {"rope.dimension_count": 4}, ()),
    "bloom": ("bloom", {"model_type": "bloom", "intermediate_size": 256, **TIED}, {"feed_forward_length": 256}, ()),
    "stablelm": (
        "stablelm", {"model_type": "stablelm", "use_qkv_bias": True, "partial_rotary_factor": 0.25},
        {"rope.dimension_count": 4}, (),
    ),
    "stablelm, parallel": (
        "stablelm", {"model_type": "stablelm", "use_parallel_residual": True, "partial_rotary_factor": 0.25,
                     "qk_layernorm": True},
        {"rope.dimension_count": 4}, ("blk.0.attn_q_norm.weight",),
    ),
    "llama-embed": ("llama-embed", {"model_type": "llama"}, {}, ()),
    "qwen": ("qwen", {"model_type": "qwen", "seq_length": 512, "kv_channels": 16, "no_bias": True}, {}, ()),
    "qwen2vl, its text": ("qwen2vl", {"model_type": "qwen2"}, {}, ()),
    "qwen3vl, its text": ("qwen3vl", {"model_type": "qwen3", **WIDE}, WIDE_KEYS, ()),
    "qwen3vlmoe, its text": ("qwen3vlmoe", {"model_type": "qwen3_moe", **MOE, **WIDE}, {**MOE_KEYS, **WIDE_KEYS}, ()),
    "arcee": ("arcee", {"model_type": "arcee"}, {}, ()),
    "apertus": ("apertus", {"model_type": "apertus"}, {}, ()),
    "seed_oss": (
        "seed_oss", {"model_type": "seed_oss", "attention_bias": True, "attention_out_bias": False, "mlp_bias": False},
        {}, (),
    ),
    "ernie4_5": ("ernie4_5", {"model_type": "ernie4_5", "use_bias": False, **TIED}, {}, ()),
    "hunyuan-dense": ("hunyuan-dense", {"model_type": "hunyuan_v1_dense", **WIDE, **TIED}, WIDE_KEYS, ()),
    "jais2": ("jais2", {"model_type": "jais2", "num_key_value_heads": 4}, {"attention.head_count_kv": 4}, ()),
    "internlm2": ("internlm2", {"model_type": "internlm2", "bias": False}, {}, ()),
    "orion": ("orion", {"model_type": "orion"}, {}, ()),
    "minicpm": ("minicpm", {"model_type": "minicpm"}, {}, ()),
    "exaone": ("exaone", {"model_type": "exaone", "num_layers": 2}, {}, ()),
    "exaone4": ("exaone4", {"model_type": "exaone4", "sliding_window": None}, {}, ()),
    "granitemoe": (
        "granitemoe", {"model_type": "granitemoe", "num_local_experts": 8, "num_experts_per_tok": 2, **TIED},
        {"expert_count": 8, "expert_used_count": 2}, (),
    ),
    "olmoe": (
        "olmoe", {"model_type": "olmoe", "num_experts": 8, "num_experts_per_tok": 2},
        {"expert_count": 8, "expert_used_count": 2}, (),
    ),
    "phimoe": (
        "phimoe", {"model_type": "phimoe", "num_local_experts": 8, "num_experts_per_tok": 2, "attention_bias": True,
                   "lm_head_bias": True},
        {"expert_count": 8, "expert_used_count": 2}, ("blk.0.attn_q.bias", "output.bias"),
    ),
    "minimax-m2": (
        "minimax-m2", {"model_type": "minimax_m2", "num_local_experts": 8, "num_experts_per_tok": 2, **WIDE,
                       "intermediate_size": 32, "rotary_dim": 16},
        {**WIDE_KEYS, **MOE_KEYS, "rope.dimension_count": 16}, (),
    ),
    "glm4moe": (
        "glm4moe", {"model_type": "glm4_moe", **SHARED, **WIDE, "attention_bias": True, "use_qk_norm": True},
        {**SHARED_KEYS, **WIDE_KEYS, "rope.dimension_count": 16, "nextn_predict_layers": 1, "block_count": 4}, (),
    ),
    "dots1": ("dots1", {"model_type": "dots1", **SHARED, "num_hidden_layers": 3}, SHARED_KEYS, ()),
    "ernie4_5-moe": (
        "ernie4_5-moe", {"model_type": "ernie4_5_moe", "moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 32,
                         "moe_num_shared_experts": 2, "moe_layer_start_index": 1, **TIED},
        {**MOE_KEYS, "expert_shared_feed_forward_length": 64, "leading_dense_block_count": 1,
         "interleave_moe_layer_step": 1}, (),
    ),
    "mamba2": (
        "mamba2", {"model_type": "mamba2", "expand": 2, "num_heads": 8, "head_dim": 16, "conv_kernel": 4,
                   "state_size": 16, "n_groups": 2, "use_conv_bias": True, "use_bias": False},
        {"ssm.inner_size": 128, "ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.time_step_rank": 8,
         "ssm.group_count": 2}, ("blk.0.ssm_conv1d.bias",),
    ),
    "qwen3next": (
        "qwen3next", {"model_type": "qwen3_next", **MOE, **WIDE, **DELTA, "shared_expert_intermediate_size": 48},
        {**MOE_KEYS, **WIDE_KEYS, **DELTA_KEYS, "expert_shared_feed_forward_length": 48}, (),
    ),
    "qwen35": ("qwen35", {"model_type": "qwen3_5_text", **WIDE, **DELTA}, {**WIDE_KEYS, **DELTA_KEYS}, ()),
    "qwen35, told layer by layer": (
        "qwen35", {"model_type": "qwen3_5_text", **WIDE, **DELTA,
                   "layer_types": ["full_attention", "linear_attention"] * 2},
        {**WIDE_KEYS, **DELTA_KEYS, "attention.recurrent_layers": [False, True, False, True]}, (),
    ),
    "qwen35moe": (
        "qwen35moe", {"model_type": "qwen3_5_moe_text", **MOE, **WIDE, **DELTA, "shared_expert_intermediate_size": 48},
        {**MOE_KEYS, **WIDE_KEYS, **DELTA_KEYS, "expert_shared_feed_forward_length": 48}, (),
    ),
    "lfm2": (
        "lfm2", {"model_type": "lfm2", "num_hidden_layers": 3, "full_attn_idxs": [2], "conv_L_cache": 3,
                 "block_auto_adjust_ff_dim": False, **TIED},
        {"block_count": 3, "attention.head_count_kv": [0, 0, 2], "shortconv.l_cache": 3}, (),
    ),
    "granitehybrid": (
        "granitehybrid", {"model_type": "granitemoehybrid", "layer_types": ["mamba", "attention"], **GRANITE,
                          "num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 96, **TIED},
        {"attention.head_count_kv": [0, 2], **GRANITE_KEYS}, (),
    ),
    "granitehybrid, experts": (
        "granitehybrid", {"model_type": "granitemoehybrid", "layer_types": ["mamba", "attention"], **GRANITE,
                          "num_local_experts": 8, "num_experts_per_tok": 2, "shared_intermediate_size": 48, **TIED},
        {"attention.head_count_kv": [0, 2], **GRANITE_KEYS, "expert_count": 8, "expert_used_count": 2,
         "expert_shared_feed_forward_length": 48}, (),
    ),
    "deepseek": ("deepseek", {"model_type": "deepseek", **SHARED}, SHARED_KEYS, ()),
    "llama4, its text": (
        "llama4", {"model_type": "llama4_text", **WIDE, "num_local_experts": 8, "num_experts_per_tok": 1,
                   "intermediate_size": 32, "intermediate_size_mlp": 96, "interleave_moe_layer_step": 2,
                   "num_hidden_layers": 4, "attention_chunk_size": 8192},
        {**WIDE_KEYS, **MOE_KEYS, "expert_used_count": 1, "block_count": 4, "interleave_moe_layer_step": 2}, (),
    ),
    "bert": ("bert", {"model_type": "bert", "architectures": ["BertModel"], **TIED}, {}, ()),
    "nomic-bert": (
        "nomic-bert", {"model_type": "nomic_bert", "architectures": ["NomicBertModel"], **TIED}, {}, (),
    ),
}  # fmt: skip


def gguf_tensors(architecture: Architecture, name: str, layers: int) -> list[tuple[str, tuple[int, ...], str]]:
    """The inventory under GGUF names. Fused experts become one stacked tensor each for gate, up and down."""
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    kind = next(number for number, text in gguf.MODEL_ARCH_NAMES.items() if text == name)
    names = gguf.get_tensor_name_map(kind, layers)
    found: list[tuple[str, tuple[int, ...], str]] = []
    for group in architecture.tensors.groups:
        if group.module == "buffer" or group.tied_to:
            continue
        for full in group.names():
            translated = names.get_name(full, try_suffixes=(".weight", ".bias"))
            if translated is not None:
                found.append((translated, group.shape, "F32" if len(group.shape) < 2 else "F16"))
    return found


def raw_case(case: str) -> tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]:
    name, config, keys, telling = CASES[case]
    return name, {**BASE, **config}, {f"{name}.{key}": value for key, value in {**KEYS, **keys}.items()}, telling


@pytest.mark.parametrize("case", CASES)
def test_a_model_written_to_gguf_and_read_back_is_the_same(case: str, tmp_path: Path) -> None:
    name, config, keys, telling = raw_case(case)
    wanted = parse_config(config)
    tensors = gguf_tensors(wanted, name, keys[f"{name}.block_count"])
    there = {tensor[0] for tensor in tensors}
    assert "token_embd.weight" in there
    tensors += [(extra, (4,), "F32") for extra in telling if extra not in there]
    write_gguf(tmp_path / "m.gguf", name, keys, tensors)
    found = resolve_path(tmp_path / "m.gguf").architecture
    assert found.tensors.shapes() == wanted.tensors.shapes()
    assert [g.tied_to for g in found.tensors.groups] == [g.tied_to for g in wanted.tensors.groups]
    assert found.cache == wanted.cache
    assert found.max_context_tokens == wanted.max_context_tokens
    assert (found.model_type, found.vocab_size) == (config["model_type"], 100)


def test_every_translation_has_a_case() -> None:
    assert {name for name, *_ in CASES.values()} == set(_FAMILIES)


def header(metadata: dict[str, Any], *tensors: StoredTensor) -> GgufHeader:
    return GgufHeader(version=3, metadata=metadata, array_lengths={}, tensors=tensors, data_start=0)


@pytest.mark.parametrize("metadata", [{}, {"general.architecture": "rwkv99"}, {"general.architecture": 3}])
def test_an_unknown_architecture_is_undecided(metadata: dict[str, Any]) -> None:
    with pytest.raises(UnknownFamily):
        gguf_to_config(header(metadata))


def test_per_layer_widths_that_differ_are_refused_and_equal_ones_taken() -> None:
    _, _, keys, _ = raw_case("llama")
    keys["general.architecture"] = "llama"
    embedding = StoredTensor("token_embd.weight", (100, 64), "F16", 12_800)
    equal = header({**keys, "llama.attention.head_count_kv": (2, 2)}, embedding)
    assert parse_config(gguf_to_config(equal)).cache[0].kv_heads == 2
    with pytest.raises(BadConfig):
        parse_config(gguf_to_config(header({**keys, "llama.attention.head_count_kv": (2, 4)}, embedding)))


def test_a_gguf_without_embedding_takes_the_vocabularys_length_or_says_so() -> None:
    _, _, keys, _ = raw_case("llama")
    with pytest.raises(BadConfig, match="vocabulary"):
        gguf_to_config(header({**keys, "general.architecture": "llama"}))
