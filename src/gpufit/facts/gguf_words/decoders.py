"""Decoders without experts."""

from __future__ import annotations

from gpufit.facts.config import Config
from gpufit.facts.gguf_words import Facts, Shapes, Translation, plain, rotary_share, windowed, with_flags


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


def _cohere(model_type: str, model_class: str, normed: bool) -> Translation:
    def translate(meta: Config, shapes: Shapes) -> Facts:
        facts: Facts = {"model_type": model_type, "architectures": [model_class], "tie_word_embeddings": True}
        if normed:
            return facts | {"use_qk_norm": "blk.0.attn_q_norm.weight" in shapes}
        return facts | windowed(model_type, model_class, 4)(meta, shapes)

    return translate


def _gpt2(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "tie_word_embeddings": True,
        "n_layer": meta.layers("block_count"), "n_head": meta.layers("attention.head_count"),
        "n_embd": meta.size("embedding_length"), "n_inner": meta.size("feed_forward_length", None),
        "n_positions": meta.size("context_length"),
    }  # fmt: skip


def _starcoder(meta: Config, shapes: Shapes) -> Facts:
    """GPTBigCode: the converter writes one key head where the model has one."""
    facts = _gpt2(meta, shapes) | {"model_type": "gpt_bigcode", "architectures": ["GPTBigCodeForCausalLM"]}
    return facts | {"multi_query": meta.layers("attention.head_count_kv", 1) == 1}


def _gptneox(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "rotary_pct": rotary_share(meta),
        "attention_bias": "blk.0.attn_qkv.bias" in shapes,
    }  # fmt: skip


def _stablelm(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "stablelm", "architectures": ["StableLmForCausalLM"],
        "use_qkv_bias": "blk.0.attn_q.bias" in shapes, "qk_layernorm": "blk.0.attn_q_norm.weight" in shapes,
        "use_parallel_residual": "blk.0.ffn_norm.weight" not in shapes, "partial_rotary_factor": rotary_share(meta),
    }  # fmt: skip


def _bloom(meta: Config, shapes: Shapes) -> Facts:
    return {"model_type": "bloom", "architectures": ["BloomForCausalLM"], "tie_word_embeddings": True}


def _exaone4(meta: Config, shapes: Shapes) -> Facts:
    """Only the larger one, of 64 layers, has windows (exaone4.cpp)."""
    pattern = 4 if meta.layers("block_count") == 64 else 1
    return windowed("exaone4", "Exaone4ForCausalLM", pattern)(meta, shapes)


def _qwen(meta: Config, shapes: Shapes) -> Facts:
    """The first Qwen: its ``intermediate_size`` counts gate and up together."""
    return {
        "model_type": "qwen", "architectures": ["QWenLMHeadModel"], "seq_length": meta.size("context_length"),
        "kv_channels": meta.size("embedding_length") // meta.layers("attention.head_count"), "no_bias": True,
    }  # fmt: skip


def _exaone(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "exaone", "architectures": ["ExaoneForCausalLM"], "num_layers": meta.layers("block_count"),
    }  # fmt: skip


_LLAMA_BIAS = {"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_up.bias"}

DECODERS: dict[str, Translation] = {
    "llama": _llama,
    "llama-embed": _llama,
    "qwen": _qwen,
    "qwen2": plain("qwen2", "Qwen2ForCausalLM"),
    "qwen2vl": plain("qwen2", "Qwen2ForCausalLM"),  # the picture tower lies in a file of its own
    "qwen3": plain("qwen3", "Qwen3ForCausalLM"),
    "qwen3vl": plain("qwen3", "Qwen3ForCausalLM"),
    "gemma": plain("gemma", "GemmaForCausalLM"),
    "gemma2": windowed("gemma2", "Gemma2ForCausalLM", 2),
    "gemma3": windowed("gemma3_text", "Gemma3ForCausalLM", 6),
    "phi2": _phi2,
    "phi3": plain("phi3", "Phi3ForCausalLM"),
    "falcon": _falcon,
    "starcoder": _starcoder,
    "starcoder2": _starcoder2,
    "command-r": _cohere("cohere", "CohereForCausalLM", normed=True),
    "cohere2": _cohere("cohere2", "Cohere2ForCausalLM", normed=False),
    "glm4": plain("glm4", "Glm4ForCausalLM"),
    "olmo": plain("olmo", "OlmoForCausalLM"),
    "olmo2": plain("olmo2", "Olmo2ForCausalLM"),
    "granite": plain("granite", "GraniteForCausalLM"),
    "nemotron": plain("nemotron", "NemotronForCausalLM"),
    "smollm3": plain("smollm3", "SmolLM3ForCausalLM"),
    "gpt2": _gpt2,
    "gptneox": _gptneox,
    "bloom": _bloom,
    "stablelm": _stablelm,
    "arcee": with_flags(plain("arcee", "ArceeForCausalLM"), **_LLAMA_BIAS),
    "apertus": plain("apertus", "ApertusForCausalLM"),
    "seed_oss": with_flags(
        plain("seed_oss", "SeedOssForCausalLM"),
        attention_bias="blk.0.attn_q.bias", attention_out_bias="blk.0.attn_output.bias", mlp_bias="blk.0.ffn_up.bias",
    ),
    "ernie4_5": with_flags(plain("ernie4_5", "Ernie4_5ForCausalLM"), use_bias="blk.0.attn_q.bias"),
    "hunyuan-dense": with_flags(plain("hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM"), **_LLAMA_BIAS),
    "jais2": plain("jais2", "Jais2ForCausalLM"),
    "internlm2": with_flags(plain("internlm2", "InternLM2ForCausalLM"), bias="blk.0.attn_q.bias"),
    "orion": plain("orion", "OrionForCausalLM"),
    "minicpm": plain("minicpm", "MiniCPMForCausalLM"),
    "exaone": _exaone,
    "exaone4": _exaone4,
}  # fmt: skip
