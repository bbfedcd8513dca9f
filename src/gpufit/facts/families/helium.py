"""Helium and DiffLlama: Llama's block with an odd attention.

Mirrors transformers 5.23.0, models/{helium,diffllama}/modeling_*.py.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, causal_lm, grouped_query
from gpufit.facts.families.llama import write_like
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """HeliumConfig -> HeliumModel: the output projection is hidden × hidden and never has a bias."""
    shape = grouped_query(config, kv_heads=20, head_dim=128)
    if shape.query_width != shape.hidden:
        raise BadConfig(f"Helium needs heads × head_dim = hidden size, not {shape.query_width}")
    return write_like(
        t, config, shape, bias=config.flag("attention_bias", False),
        mlp_bias=config.flag("mlp_bias", False), window=stated_window(config),
    )  # fmt: skip


def write_diffllama(t: Tensors, config: Config) -> Body:
    """DiffLlamaConfig -> DiffLlamaModel: attention runs twice and subtracts, weighed by four vectors per layer."""
    shape = grouped_query(config)
    if shape.kv_heads % 2:
        raise BadConfig(f"DiffLlama needs an even number of key-value heads, not {shape.kv_heads}")
    bias = config.flag("attention_bias", False)
    block = t.blocks("layers", shape.layers)
    for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
        block.add(f"self_attn.{name}", (shape.head_dim,), "parameter", "attention")
    return write_like(
        t, config, shape, bias=bias, out_bias=bias, window=stated_window(config), form="diffllama"
    )  # fmt: skip


read = causal_lm(write, "HeliumForCausalLM")
read_diffllama = causal_lm(write_diffllama, "DiffLlamaForCausalLM")
