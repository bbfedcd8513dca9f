"""Qwen3 and the others that normalize each query and key head: EXAONE 4, Hunyuan dense.

Mirrors transformers 5.23.0, models/{qwen3,exaone4,hunyuan_v1_dense}/modeling_*.py.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
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
    rotary,
    rotary_width,
)
from gpufit.facts.families.llama_kin import upper_layers_slide
from gpufit.facts.families.windows import FULL, SLIDING, layer_kinds, stated_window


def write(t: Tensors, config: Config) -> Body:
    """Qwen3Config -> Qwen3Model: Llama's block with a norm over each query and key head."""
    shape = grouped_query(config, kv_heads=32, head_dim=128)
    window, kinds = upper_layers_slide(config, shape.layers)
    return _write(
        t, config, shape,
        bias=config.flag("attention_bias", False), norms=("q_norm", "k_norm"), window=window, kinds=kinds,
    )  # fmt: skip


def write_hunyuan(t: Tensors, config: Config) -> Body:
    """HunYuanDenseV1Config -> HunYuanDenseV1Model: the same, normalized after the rotation."""
    return _write(
        t, config, grouped_query(config), bias=config.flag("attention_bias", False),
        norms=("query_layernorm", "key_layernorm"), window=stated_window(config),
    )  # fmt: skip


def write_exaone4(t: Tensors, config: Config) -> Body:
    """Exaone4Config -> Exaone4Model: norms after attention and MLP, not before; sliding layers by a pattern."""
    shape = grouped_query(config, kv_heads=32)
    window = stated_window(config, 4096)
    return _write(
        t, config, shape,
        bias=False, norms=("q_norm", "k_norm"), window=window, kinds=_exaone4_kinds(config, shape.layers, window),
        form="exaone4", block_norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    )  # fmt: skip


def _exaone4_kinds(config: Config, layers: int, window: int | None) -> tuple[str, ...]:
    if "layer_types" in config:
        return layer_kinds(config, layers, ())
    pattern = config.raw("sliding_window_pattern")
    if window is None or pattern == 0:
        # transformers divides by this zero; the published checkpoints without a window state layer_types
        return (FULL,) * layers
    if isinstance(pattern, str):
        raise BadConfig("config has a sliding_window_pattern in letters", hint="state layer_types instead")
    n = config.size("sliding_window_pattern", 4)
    return tuple(SLIDING if (i + 1) % n else FULL for i in range(layers))


def _write(
    t: Tensors,
    config: Config,
    shape: Shape,
    *,
    bias: bool,
    norms: tuple[str, str],
    window: int | None,
    kinds: tuple[str, ...] | None = None,
    form: str = "qwen3",
    block_norms: tuple[str, str] = ("input_layernorm", "post_attention_layernorm"),
) -> Body:
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=bias)
    for name in norms:
        block.norm(f"self_attn.{name}", shape.head_dim)
    gated_mlp(block, shape.hidden, width)
    for name in block_norms:
        block.norm(name, shape.hidden)
    t.norm("norm", shape.hidden)
    rotary(t, rope)
    return body(config, shape, form=form, width=width, gated=True, rope=rope, window=window, kinds=kinds)


read = causal_lm(write, "Qwen3ForCausalLM")
read_hunyuan = causal_lm(write_hunyuan, "HunYuanDenseV1ForCausalLM")
read_exaone4 = causal_lm(write_exaone4, "Exaone4ForCausalLM")
