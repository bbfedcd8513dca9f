"""Llama and the decoders with its exact layout: RMSNorm, rotary embedding, gated MLP, grouped-query attention.

Mirrors transformers 5.23.0, models/llama/modeling_llama.py (LlamaForCausalLM); differences of siblings are arguments.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.tensors import TensorInventory


def read(config: Config) -> Architecture:
    """LlamaConfig -> LlamaForCausalLM."""
    hidden = config.size("hidden_size")
    layers = config.layers("num_hidden_layers")
    heads = config.layers("num_attention_heads")
    kv_heads = config.layers("num_key_value_heads", heads)
    head_dim = config.size("head_dim", hidden // heads)
    width = config.size("intermediate_size")
    vocab = config.size("vocab_size")
    bias = config.flag("attention_bias", False)
    mlp_bias = config.flag("mlp_bias", False)
    tied = config.flag("tie_word_embeddings", False)

    t = Tensors()
    t.embedding("model.embed_tokens", vocab, hidden)
    block = t.blocks("model.layers", layers)
    block.linear("self_attn.q_proj", hidden, heads * head_dim, bias=bias, role="attention")
    block.linear("self_attn.k_proj", hidden, kv_heads * head_dim, bias=bias, role="attention")
    block.linear("self_attn.v_proj", hidden, kv_heads * head_dim, bias=bias, role="attention")
    block.linear("self_attn.o_proj", heads * head_dim, hidden, bias=bias, role="attention")
    block.linear("mlp.gate_proj", hidden, width, bias=mlp_bias, role="mlp")
    block.linear("mlp.up_proj", hidden, width, bias=mlp_bias, role="mlp")
    block.linear("mlp.down_proj", width, hidden, bias=mlp_bias, role="mlp")
    block.norm("input_layernorm", hidden)
    block.norm("post_attention_layernorm", hidden)
    t.norm("model.norm", hidden)
    t.buffer("model.rotary_emb.inv_freq", (head_dim // 2,), "fp32")
    t.buffer("model.rotary_emb.original_inv_freq", (head_dim // 2,), "fp32")
    t.linear("lm_head", hidden, vocab, role="output", tied_to="model.embed_tokens.weight" if tied else None)

    return Architecture(
        model_type=config.text("model_type"),
        model_class=config.model_class("LlamaForCausalLM"),
        task="causal-lm",
        form="llama",
        stacks=(
            Stack(
                role="decoder", layers=layers, hidden=hidden, mlp_width=width, gated=True,
                attention=Attention(
                    heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=head_dim, rope_dim=head_dim
                ),
            ),
        ),
        vocab_size=vocab,
        tensors=TensorInventory(groups=tuple(t.groups), output="lm_head.weight"),
        cache=(CacheLayers(kind="full", layers=layers, kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim),),
        max_context_tokens=config.size("max_position_embeddings", None),
        dtype=config.text("dtype", config.text("torch_dtype", None)),
        provenance=tuple((key, str(value)) for key, value in config.seen.items()),
    )  # fmt: skip
