"""Decoders with their own code that keep GPT-2's names around Llama's parts: the first Qwen, EXAONE 3.

transformers 5.23.0 has no class for them. The layouts follow the checkpoints' own ``modeling_*.py`` as publicly known
(Qwen/Qwen-7B: 7 721 324 544 parameters; LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct: 7 818 448 896).
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, Shape, body, causal_lm, grouped_query
from gpufit.facts.families.remote import NOTE

_LOGN_POSITIONS = 32767  # modeling_qwen.py counts range(1, 32768), whatever the context


def write_qwen(t: Tensors, config: Config) -> Body:
    """modeling_qwen.py: ``intermediate_size`` counts gate and up together; only the fused projection has a bias."""
    heads = config.layers("num_attention_heads")
    shape = Shape(
        hidden=config.size("hidden_size"), layers=config.layers("num_hidden_layers"), heads=heads, kv_heads=heads,
        head_dim=config.size("kv_channels", 128),
    )  # fmt: skip
    hidden = shape.hidden
    width = config.int("intermediate_size", low=2) // 2
    bias = not config.flag("no_bias", True)
    t.embedding("wte", config.size("vocab_size"), hidden)
    t.buffer("rotary_emb.inv_freq", ((shape.head_dim + 1) // 2,), "fp32")
    block = t.blocks("h", shape.layers)
    block.norm("ln_1", hidden)
    block.linear("attn.c_attn", hidden, 3 * shape.query_width, bias=True, role="attention")
    block.linear("attn.c_proj", shape.query_width, hidden, bias=bias, role="attention")
    block.add("attn.logn_tensor", (1, _LOGN_POSITIONS, 1, 1), "buffer", "attention", saved=False)
    block.norm("ln_2", hidden)
    block.linear("mlp.w1", hidden, width, bias=bias, role="mlp")
    block.linear("mlp.w2", hidden, width, bias=bias, role="mlp")
    block.linear("mlp.c_proj", width, hidden, bias=bias, role="mlp")
    t.norm("ln_f", hidden)
    return body(
        config, shape, form="llama", width=width, gated=True, rope=shape.head_dim, embedding="wte",
        max_context="seq_length", notes=(NOTE,),
    )  # fmt: skip


def write_exaone(t: Tensors, config: Config) -> Body:
    """modeling_exaone.py: Llama's block with ``c_fc_0`` as gate and ``c_fc_1`` as up."""
    shape = grouped_query(config, layers="num_layers")
    hidden = shape.hidden
    width = config.size("intermediate_size")
    t.embedding("wte", config.size("vocab_size"), hidden)
    block = t.blocks("h", shape.layers)
    block.norm("ln_1", hidden)
    block.linear("attn.attention.q_proj", hidden, shape.query_width, role="attention")
    block.linear("attn.attention.k_proj", hidden, shape.kv_width, role="attention")
    block.linear("attn.attention.v_proj", hidden, shape.kv_width, role="attention")
    block.linear("attn.attention.out_proj", shape.query_width, hidden, role="attention")
    block.norm("ln_2", hidden)
    block.linear("mlp.c_fc_0", hidden, width, role="mlp")
    block.linear("mlp.c_fc_1", hidden, width, role="mlp")
    block.linear("mlp.c_proj", width, hidden, role="mlp")
    t.norm("ln_f", hidden)
    t.buffer("rotary.inv_freq", ((shape.head_dim + 1) // 2,), "fp32")
    return body(
        config, shape, form="llama", width=width, gated=True, rope=shape.head_dim, embedding="wte", notes=(NOTE,)
    )  # fmt: skip


read_qwen = causal_lm(write_qwen, "QWenLMHeadModel", base="transformer")
read_exaone = causal_lm(write_exaone, "ExaoneForCausalLM", base="transformer")
