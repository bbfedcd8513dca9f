"""Recurrent mixers, hybrids of them with attention, and encoders."""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.config import Config
from gpufit.facts.gguf_words import Facts, Shapes, Translation


def _mamba(meta: Config, shapes: Shapes) -> Facts:
    inner, hidden = meta.size("ssm.inner_size"), meta.size("embedding_length")
    return {
        "model_type": "mamba", "architectures": ["MambaForCausalLM"], "intermediate_size": inner,
        "expand": inner / hidden, "conv_kernel": meta.size("ssm.conv_kernel"),
        "state_size": meta.size("ssm.state_size"),
        "time_step_rank": meta.size("ssm.time_step_rank"),
        "use_conv_bias": "blk.0.ssm_conv1d.bias" in shapes, "use_bias": "blk.0.ssm_in.bias" in shapes,
    }  # fmt: skip


def _mamba2(meta: Config, shapes: Shapes) -> Facts:
    """``ssm.time_step_rank`` is the number of heads here (mamba2.cpp)."""
    inner, hidden, heads = meta.size("ssm.inner_size"), meta.size("embedding_length"), meta.layers("ssm.time_step_rank")
    return {
        "model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"], "expand": inner / hidden, "num_heads": heads,
        "head_dim": max(1, inner // heads), "conv_kernel": meta.size("ssm.conv_kernel"),
        "state_size": meta.size("ssm.state_size"), "n_groups": meta.layers("ssm.group_count"),
        "use_conv_bias": "blk.0.ssm_conv1d.bias" in shapes, "use_bias": "blk.0.ssm_in.bias" in shapes,
    }  # fmt: skip


def _delta_net(meta: Config) -> Facts:
    """Gated delta networks: llama.cpp gives keys and values one head width, the state's (qwen3next.cpp)."""
    width = meta.size("ssm.state_size")
    facts: Facts = {
        "linear_conv_kernel_dim": meta.size("ssm.conv_kernel"), "linear_key_head_dim": width,
        "linear_value_head_dim": width, "linear_num_key_heads": meta.layers("ssm.group_count"),
        "linear_num_value_heads": meta.layers("ssm.time_step_rank"),
        "full_attention_interval": meta.layers("full_attention_interval", 4),
    }  # fmt: skip
    if recurrent := meta.list("attention.recurrent_layers", None):
        facts["layer_types"] = ["linear_attention" if layer else "full_attention" for layer in recurrent]
    return facts


def _shared_experts(meta: Config) -> Facts:
    return {
        "num_experts": meta.layers("expert_count"), "num_experts_per_tok": meta.layers("expert_used_count"),
        "moe_intermediate_size": meta.size("expert_feed_forward_length"),
        "shared_expert_intermediate_size": meta.size("expert_shared_feed_forward_length"),
    }  # fmt: skip


def _qwen3next(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "qwen3_next", "architectures": ["Qwen3NextForCausalLM"], **_delta_net(meta),
        **_shared_experts(meta),
    }  # fmt: skip


def _qwen35(meta: Config, shapes: Shapes) -> Facts:
    return {"model_type": "qwen3_5_text", "architectures": ["Qwen3_5ForCausalLM"], **_delta_net(meta)}


def _qwen35moe(meta: Config, shapes: Shapes) -> Facts:
    return {
        "model_type": "qwen3_5_moe_text", "architectures": ["Qwen3_5MoeForCausalLM"], **_delta_net(meta),
        **_shared_experts(meta),
    }  # fmt: skip


def _lfm2(meta: Config, shapes: Shapes) -> Facts:
    """A layer without key heads is a short convolution; the MLP's width is written as it is."""
    listed = _heads_by_layer(meta, "lfm2")
    attending = [index for index, heads in enumerate(listed) if heads]
    if not attending:
        raise BadConfig("lfm2.attention.head_count_kv names no layer that attends")
    return {
        "model_type": "lfm2", "architectures": ["Lfm2ForCausalLM"], "full_attn_idxs": attending,
        "num_key_value_heads": listed[attending[0]], "conv_L_cache": meta.size("shortconv.l_cache"),
        "block_auto_adjust_ff_dim": False, "conv_bias": False, "tie_embedding": True,
    }  # fmt: skip


def _granitehybrid(meta: Config, shapes: Shapes) -> Facts:
    """Granite 4: a layer without key heads is a Mamba-2 mixer; mixtures of experts have a shared expert beside them."""
    listed = _heads_by_layer(meta, "granitehybrid")
    inner, heads = meta.size("ssm.inner_size"), meta.layers("ssm.time_step_rank")
    experts = meta.int("expert_count", 0)
    shared = meta.size("expert_shared_feed_forward_length", None) or meta.size("feed_forward_length")
    return {
        "model_type": "granitemoehybrid", "architectures": ["GraniteMoeHybridForCausalLM"],
        "layer_types": ["attention" if kv_heads else "mamba" for kv_heads in listed],
        "num_key_value_heads": max(1, *listed, 1), "mamba_n_heads": heads, "mamba_d_head": max(1, inner // heads),
        "mamba_expand": inner / meta.size("embedding_length"), "mamba_d_state": meta.size("ssm.state_size"),
        "mamba_d_conv": meta.size("ssm.conv_kernel"), "mamba_n_groups": meta.layers("ssm.group_count"),
        "num_local_experts": experts, "num_experts_per_tok": meta.int("expert_used_count", 0),
        "shared_intermediate_size": shared, "intermediate_size": meta.size("feed_forward_length"),
    }  # fmt: skip


def _heads_by_layer(meta: Config, name: str) -> list[int]:
    """Key-value heads of each layer, 0 where it does not attend."""
    listed = meta.raw("attention.head_count_kv")
    if not isinstance(listed, list) or any(type(heads) is not int for heads in listed):
        raise BadConfig(f"{name}.attention.head_count_kv does not say which layers attend")
    return listed


def _encoder(model_type: str, model_class: str) -> Translation:
    """An encoder as llama.cpp runs it: no head, no cache."""

    def translate(meta: Config, shapes: Shapes) -> Facts:
        types = shapes.get("token_types.weight")
        return {
            "model_type": model_type, "architectures": [model_class], "type_vocab_size": types[0] if types else 1,
            "tie_word_embeddings": True,
        }  # fmt: skip

    return translate


OTHERS: dict[str, Translation] = {
    "mamba": _mamba,
    "mamba2": _mamba2,
    "qwen3next": _qwen3next,
    "qwen35": _qwen35,
    "qwen35moe": _qwen35moe,
    "lfm2": _lfm2,
    "granitehybrid": _granitehybrid,
    "bert": _encoder("bert", "BertModel"),
    "nomic-bert": _encoder("nomic_bert", "NomicBertModel"),
}
