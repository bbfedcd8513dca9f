"""GGUF metadata into the words of a config.json, so that the same family readers serve both.

The keys are those of docs/gguf.md and gguf-py 0.19 (``Keys``); what each converter wrote into them is read from
convert_hf_to_gguf.py of llama.cpp. What the metadata leaves open (biases, tied output, head width, vocabulary) is read
off the tensors themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.config import Config
from gpufit.facts.gguf import GgufHeader

Shapes = Mapping[str, tuple[int, ...]]
Facts = dict[str, Any]
Extra = Callable[[Config, Shapes], Facts]

_COMMON = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "context_length": "max_position_embeddings",
}


def gguf_to_config(header: GgufHeader) -> dict[str, Any]:
    """The config.json that this header stands for.

    Raises UnknownFamily for an architecture without a translation, BadConfig for missing or absurd values.
    """
    family = header.architecture
    translation = _FAMILIES.get(family)
    if translation is None:
        raise UnknownFamily(family or "(no general.architecture)", hint="this GGUF architecture has no reader yet")
    prefix = f"{family}."
    raw = {k.removeprefix(prefix): _uniform(k, v) for k, v in header.metadata.items() if k.startswith(prefix)}
    meta = Config(raw, path=prefix)
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    config: Facts = {ours: raw[theirs] for theirs, ours in _COMMON.items() if theirs in raw}
    config["vocab_size"] = _vocabulary(header, shapes, meta)
    config["tie_word_embeddings"] = "output.weight" not in shapes
    head = _head_dim(meta, shapes)
    if head:
        config["head_dim"] = head
    config.update(translation(meta, shapes))
    return config


def _uniform(key: str, value: Any) -> Any:
    """One number for arrays that say the same for every layer; gpufit's readers take no per-layer widths from GGUF."""
    if not isinstance(value, tuple):
        return value
    if value and all(item == value[0] for item in value) and type(value[0]) is int:
        return value[0]
    return list(value)


def _vocabulary(header: GgufHeader, shapes: Shapes, meta: Config) -> int:
    """Rows of the embedding; a header without tensors falls back on the vocabulary's length."""
    if shape := shapes.get("token_embd.weight"):
        return shape[0]
    size = header.array_lengths.get("tokenizer.ggml.tokens") or meta.size("vocab_size", None)
    if not size:
        raise BadConfig("the GGUF has neither token_embd.weight nor a vocabulary")
    return int(size)


def _head_dim(meta: Config, shapes: Shapes) -> int | None:
    """The key length where it is stated, else what the query projection's rows give."""
    stated = meta.size("attention.key_length", None)
    if stated:
        return int(stated)
    query, heads = shapes.get("blk.0.attn_q.weight"), meta.layers("attention.head_count", None)
    return query[0] // heads if query and heads and len(query) == 2 else None


def _plain(model_type: str, model_class: str, **fixed: Any) -> Extra:
    """A family that the common keys describe, with what its GGUF leaves unsaid."""

    def translate(meta: Config, shapes: Shapes) -> Facts:
        return {"model_type": model_type, "architectures": [model_class], **fixed}

    return translate


def _llama(meta: Config, shapes: Shapes) -> Facts:
    """Llama, Mistral, Mixtral and every other model converted to their layout."""
    biases = {
        "attention_bias": "blk.0.attn_q.bias" in shapes,
        "mlp_bias": "blk.0.ffn_up.bias" in shapes,
    }
    experts = meta.layers("expert_count", None) if meta.int("expert_count", 0) else None
    if not experts:
        return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **biases}
    return {
        "model_type": "mixtral", "architectures": ["MixtralForCausalLM"],
        "num_local_experts": experts, "num_experts_per_tok": meta.layers("expert_used_count"),
    }  # fmt: skip


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


def _windowed(model_type: str, model_class: str, pattern: int) -> Extra:
    """Every ``pattern``-th layer attends fully, the others within the window."""

    def translate(meta: Config, shapes: Shapes) -> Facts:
        layers = meta.layers("block_count")
        window = meta.size("attention.sliding_window", None)
        kinds = [
            "full_attention" if not window or (i + 1) % pattern == 0 else "sliding_attention" for i in range(layers)
        ]
        facts: Facts = {"model_type": model_type, "architectures": [model_class], "layer_types": kinds}
        return facts | ({"sliding_window": window} if window else {})

    return translate


def _gpt_oss(meta: Config, shapes: Shapes) -> Facts:
    return {
        **_windowed("gpt_oss", "GptOssForCausalLM", 2)(meta, shapes),
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


def _mamba(meta: Config, shapes: Shapes) -> Facts:
    inner, hidden = meta.size("ssm.inner_size"), meta.size("embedding_length")
    return {
        "model_type": "mamba", "architectures": ["MambaForCausalLM"], "intermediate_size": inner,
        "expand": inner / hidden, "conv_kernel": meta.size("ssm.conv_kernel"),
        "state_size": meta.size("ssm.state_size"),
        "time_step_rank": meta.size("ssm.time_step_rank"),
        "use_conv_bias": "blk.0.ssm_conv1d.bias" in shapes, "use_bias": "blk.0.ssm_in.bias" in shapes,
    }  # fmt: skip


def _falcon(meta: Config, shapes: Shapes) -> Facts:
    """Falcon-7B has one key head and one norm, 40B and later grouped heads and two norms."""
    kv_heads = meta.layers("attention.head_count_kv", 1)
    return {
        "model_type": "falcon", "architectures": ["FalconForCausalLM"], "num_kv_heads": kv_heads,
        "multi_query": kv_heads == 1, "new_decoder_architecture": "blk.0.attn_norm_2.weight" in shapes or kv_heads > 1,
        "parallel_attn": True, "bias": "blk.0.attn_qkv.bias" in shapes, "alibi": False,
        "ffn_hidden_size": meta.size("feed_forward_length", 4 * meta.size("embedding_length")),
        "tie_word_embeddings": True,  # the converter writes the shared matrix twice
    }  # fmt: skip


def _starcoder2(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "starcoder2", "architectures": ["Starcoder2ForCausalLM"],
        "use_bias": "blk.0.attn_q.bias" in shapes,
    }  # fmt: skip


def _phi2(meta: Config, shapes: Shapes) -> Facts:
    head = max(1, meta.size("embedding_length") // meta.layers("attention.head_count"))
    return {
        "model_type": "phi", "architectures": ["PhiForCausalLM"],
        "partial_rotary_factor": meta.size("rope.dimension_count", head) / head, "tie_word_embeddings": False,
    }  # fmt: skip


def _cohere(model_type: str, model_class: str, normed: bool) -> Extra:
    def translate(meta: Config, shapes: Shapes) -> Facts:
        facts: Facts = {"model_type": model_type, "architectures": [model_class], "tie_word_embeddings": True}
        if normed:
            return facts | {"use_qk_norm": "blk.0.attn_q_norm.weight" in shapes}
        return facts | _windowed(model_type, model_class, 4)(meta, shapes)

    return translate


def _gpt2(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "tie_word_embeddings": True,
        "n_layer": meta.layers("block_count"), "n_head": meta.layers("attention.head_count"),
        "n_embd": meta.size("embedding_length"), "n_inner": meta.size("feed_forward_length", None),
        "n_positions": meta.size("context_length"),
    }  # fmt: skip


_FAMILIES: dict[str, Extra] = {
    "llama": _llama,
    "qwen2": _plain("qwen2", "Qwen2ForCausalLM"),
    "qwen2moe": _qwen2moe,
    "qwen3": _plain("qwen3", "Qwen3ForCausalLM"),
    "qwen3moe": _qwen3moe,
    "gemma": _plain("gemma", "GemmaForCausalLM"),
    "gemma2": _windowed("gemma2", "Gemma2ForCausalLM", 2),
    "gemma3": _windowed("gemma3_text", "Gemma3ForCausalLM", 6),
    "phi2": _phi2,
    "phi3": _plain("phi3", "Phi3ForCausalLM"),
    "deepseek2": _deepseek2,
    "gpt-oss": _gpt_oss,
    "mamba": _mamba,
    "falcon": _falcon,
    "starcoder2": _starcoder2,
    "command-r": _cohere("cohere", "CohereForCausalLM", normed=True),
    "cohere2": _cohere("cohere2", "Cohere2ForCausalLM", normed=False),
    "glm4": _plain("glm4", "Glm4ForCausalLM"),
    "olmo": _plain("olmo", "OlmoForCausalLM"),
    "olmo2": _plain("olmo2", "Olmo2ForCausalLM"),
    "granite": _plain("granite", "GraniteForCausalLM"),
    "nemotron": _plain("nemotron", "NemotronForCausalLM"),
    "smollm3": _plain("smollm3", "SmolLM3ForCausalLM"),
    "gpt2": _gpt2,
}
"""``general.architecture`` -> translation. Source of the names: ``MODEL_ARCH_NAMES``, gguf-py 0.19 constants.py."""
