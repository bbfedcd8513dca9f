"""Llama-like decoders whose modelling code lives beside the checkpoint: InternLM 2, MiniCPM, Orion, Baichuan.

transformers 5.23.0 has no class for them. The layouts follow the checkpoints' own ``modeling_*.py`` as publicly known
(internlm/internlm2-chat-7b, openbmb/MiniCPM-2B-128k, OrionStarAI/Orion-14B-Chat, baichuan-inc/Baichuan2-*); parameter
totals are held against the published ones where there are any (not for MiniCPM and Orion). Their rotary code is of the
time when every layer kept its own table.
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import (
    Body,
    Shape,
    attention,
    body,
    causal_lm,
    gated_mlp,
    grouped_query,
    multi_head,
)

_BESIDE = "its code lies beside the checkpoint, and transformers has no class for it: "
_NEAREST = "cache and activations are those of the nearest family that transformers has, and could not be replayed"
NOTE = f"{_BESIDE}the published parameter count is met; {_NEAREST}"
UNPROVED = f"{_BESIDE}no published parameter count was at hand to prove the layout; {_NEAREST}"


def write_internlm2(t: Tensors, config: Config) -> Body:
    """modeling_internlm2.py: Llama under other names, one projection ``wqkv`` grouped by key-value head."""
    shape = grouped_query(config)
    width = config.size("intermediate_size")
    bias = config.flag("bias", False)
    t.embedding("tok_embeddings", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    block.linear(
        "attention.wqkv", shape.hidden, shape.query_width + 2 * shape.kv_width, bias=bias, role="attention"
    )  # fmt: skip
    block.linear("attention.wo", shape.query_width, shape.hidden, bias=bias, role="attention")
    block.buffer("attention.rotary_emb.inv_freq", ((shape.head_dim + 1) // 2,), "fp32")
    block.linear("feed_forward.w1", shape.hidden, width, role="mlp")
    block.linear("feed_forward.w3", shape.hidden, width, role="mlp")
    block.linear("feed_forward.w2", width, shape.hidden, role="mlp")
    block.norm("attention_norm", shape.hidden)
    block.norm("ffn_norm", shape.hidden)
    t.norm("norm", shape.hidden)
    return body(
        config, shape, form="llama", width=width, gated=True, rope=shape.head_dim, embedding="tok_embeddings",
        notes=(NOTE,),
    )  # fmt: skip


def write_minicpm(t: Tensors, config: Config) -> Body:
    """modeling_minicpm.py: Llama with scaled residuals; cosines and sines of every position kept in fp32."""
    return _write(t, config, grouped_query(config), norm_bias=False, table_dtype="fp32")


def write_orion(t: Tensors, config: Config) -> Body:
    """modeling_orion.py: Llama with LayerNorm; cosines and sines of every position kept in the model's dtype."""
    return _write(t, config, grouped_query(config), norm_bias=True, table_dtype=None)


def _write(t: Tensors, config: Config, shape: Shape, *, norm_bias: bool, table_dtype: str | None) -> Body:
    width = config.size("intermediate_size")
    bias = config.flag("attention_bias", False)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=bias)
    table = (config.size("max_position_embeddings"), shape.head_dim)
    block.buffer("self_attn.rotary_emb.inv_freq", ((shape.head_dim + 1) // 2,), "fp32")
    for name in ("cos_cached", "sin_cached"):
        block.add(f"self_attn.rotary_emb.{name}", table, "buffer", "attention", dtype=table_dtype, saved=False)
    gated_mlp(block, shape.hidden, width)
    block.norm("input_layernorm", shape.hidden, bias=norm_bias)
    block.norm("post_attention_layernorm", shape.hidden, bias=norm_bias)
    t.norm("norm", shape.hidden, bias=norm_bias)
    return body(config, shape, form="llama", width=width, gated=True, rope=shape.head_dim, notes=(UNPROVED,))


def write_baichuan(t: Tensors, config: Config) -> Body:
    """modeling_baichuan.py: one projection ``W_pack``, every query head with its own keys and values.

    The 7B rotates and states ``max_position_embeddings``; the 13B has ALiBi, states only ``model_max_length``, and
    at its first forward keeps the bias of that many positions squared for every head, in the model's dtype.
    """
    shape = multi_head(
        config.size("hidden_size"), config.layers("num_hidden_layers"), config.layers("num_attention_heads")
    )
    width = config.size("intermediate_size")
    rotates = "max_position_embeddings" in config
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    block.linear("self_attn.W_pack", shape.hidden, 3 * shape.hidden, role="attention")
    block.linear("self_attn.o_proj", shape.hidden, shape.hidden, role="attention")
    gated_mlp(block, shape.hidden, width)
    block.norm("input_layernorm", shape.hidden)
    block.norm("post_attention_layernorm", shape.hidden)
    t.norm("norm", shape.hidden)
    if not rotates:
        positions = config.size("model_max_length", 4096)
        t.add("future_mask", (shape.heads, positions, positions), "buffer", "attention", saved=False)
    return body(
        config, shape, form="llama", width=width, gated=True, rope=shape.head_dim if rotates else 0,
        max_context="max_position_embeddings" if rotates else "model_max_length", notes=(NOTE,),
    )  # fmt: skip


read_internlm2 = causal_lm(write_internlm2, "InternLM2ForCausalLM", head="output")
read_minicpm = causal_lm(write_minicpm, "MiniCPMForCausalLM", tied=True)
read_orion = causal_lm(write_orion, "OrionForCausalLM")
read_baichuan = causal_lm(write_baichuan, "BaichuanForCausalLM")
