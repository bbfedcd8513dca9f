"""Families whose tree is Llama's and whose defaults are their own.

Mirrors transformers 5.23.0: models/{mistral,ministral,ministral3,qwen2,granite,smollm3,seed_oss,ernie4_5,cwm}/ and
models/internlm3/configuration_internlm3.py, which runs on Llama's classes. MiniCPM's tree is in ``remote``.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, causal_lm, grouped_query
from gpufit.facts.families.llama import write_like
from gpufit.facts.families.windows import FULL, SLIDING, layer_kinds, stated_window


def write_mistral(t: Tensors, config: Config) -> Body:
    """MistralConfig: every layer slides unless ``sliding_window`` is null (v0.1: 4096; later versions: null)."""
    return write_like(t, config, grouped_query(config, kv_heads=8), window=stated_window(config, 4096))


def write_ministral(t: Tensors, config: Config) -> Body:
    """MinistralConfig: as Mistral, with ``layer_types``."""
    shape = grouped_query(config, kv_heads=8)
    window = stated_window(config, 4096)
    kinds = layer_kinds(config, shape.layers, (FULL if window is None else SLIDING,) * shape.layers)
    return write_like(t, config, shape, window=window, kinds=kinds)


def write_ministral3(t: Tensors, config: Config) -> Body:
    """Ministral3Config: as Mistral, 128-wide heads and no window by default."""
    return write_like(t, config, grouped_query(config, kv_heads=8, head_dim=128), window=stated_window(config))


def upper_layers_slide(config: Config, layers: int) -> tuple[int | None, tuple[str, ...]]:
    """Window and layer kinds of Qwen2 and Qwen3: with ``use_sliding_window`` the layers from ``max_window_layers`` on.

    >>> upper_layers_slide(Config({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}), 2)
    (8, ('full_attention', 'sliding_attention'))
    """
    window = stated_window(config, 4096) if config.flag("use_sliding_window", False) else None
    first = config.int("max_window_layers", 28)
    return window, layer_kinds(
        config, layers, tuple(SLIDING if window is not None and i >= first else FULL for i in range(layers))
    )


def write_qwen2(t: Tensors, config: Config) -> Body:
    """Qwen2Config: query, key and value projections have a bias."""
    shape = grouped_query(config, kv_heads=32)
    window, kinds = upper_layers_slide(config, shape.layers)
    return write_like(t, config, shape, bias=True, window=window, kinds=kinds)


def write_granite(t: Tensors, config: Config) -> Body:
    """GraniteConfig: Llama with four scalar multipliers."""
    bias = config.flag("attention_bias", False)
    return write_like(
        t, config, grouped_query(config),
        bias=bias, out_bias=bias, mlp_bias=config.flag("mlp_bias", False), window=stated_window(config),
    )  # fmt: skip


def write_smollm3(t: Tensors, config: Config) -> Body:
    """SmolLM3Config: every fourth layer has no rotary embedding, and slides if sliding is on."""
    shape = grouped_query(config, kv_heads=4)
    window = stated_window(config)
    interval = config.size("no_rope_layer_interval", 4)
    rotated = config.list("no_rope_layers", tuple(int((i + 1) % interval != 0) for i in range(shape.layers)))
    if len(rotated) < shape.layers:
        raise BadConfig(f"config key no_rope_layers has {len(rotated)} entries for {shape.layers} layers")
    slides = config.flag("use_sliding_window", False) and window is not None
    kinds = layer_kinds(
        config, shape.layers, tuple(SLIDING if slides and not rotated[i] else FULL for i in range(shape.layers))
    )
    bias = config.flag("attention_bias", False)
    return write_like(
        t, config, shape,
        bias=bias, out_bias=bias, mlp_bias=config.flag("mlp_bias", False), window=window, kinds=kinds,
    )  # fmt: skip


def write_internlm3(t: Tensors, config: Config) -> Body:
    """InternLM3Config: Llama's classes; ``qkv_bias`` and ``bias`` are other names of its two bias switches."""
    bias = config.flag("qkv_bias", config.flag("attention_bias", False))
    mlp_bias = config.flag("bias", config.flag("mlp_bias", False))
    return write_like(
        t, config, grouped_query(config, kv_heads=2, head_dim=128),
        bias=bias, out_bias=bias, mlp_bias=mlp_bias, window=stated_window(config),
    )  # fmt: skip


def write_seed_oss(t: Tensors, config: Config) -> Body:
    """SeedOssConfig: bias on query, key and value, its own switch on the output projection."""
    return write_like(
        t, config, grouped_query(config, kv_heads=8, head_dim=128),
        bias=config.flag("attention_bias", True), out_bias=config.flag("attention_out_bias", False),
        mlp_bias=config.flag("mlp_bias", False), window=stated_window(config),
    )  # fmt: skip


def write_ernie(t: Tensors, config: Config) -> Body:
    """Ernie4_5Config: one bias switch for all projections."""
    bias = config.flag("use_bias", False)
    shape = grouped_query(config, kv_heads=2, head_dim=128)
    return write_like(t, config, shape, bias=bias, out_bias=bias, mlp_bias=bias, window=stated_window(config))


def write_cwm(t: Tensors, config: Config) -> Body:
    """CwmConfig: one full layer, then three sliding ones, over and over."""
    shape = grouped_query(config, kv_heads=8, head_dim=128)
    kinds = layer_kinds(config, shape.layers, tuple(SLIDING if i % 4 else FULL for i in range(shape.layers)))
    return write_like(
        t, config, shape,
        mlp_bias=config.flag("mlp_bias", False), window=stated_window(config, 8192), kinds=kinds,
    )  # fmt: skip


read_mistral = causal_lm(write_mistral, "MistralForCausalLM")
read_ministral = causal_lm(write_ministral, "MinistralForCausalLM")
read_ministral3 = causal_lm(write_ministral3, "Ministral3ForCausalLM")
read_qwen2 = causal_lm(write_qwen2, "Qwen2ForCausalLM")
read_granite = causal_lm(write_granite, "GraniteForCausalLM")
read_smollm3 = causal_lm(write_smollm3, "SmolLM3ForCausalLM", tied=True)
read_internlm3 = causal_lm(write_internlm3, "LlamaForCausalLM")
read_seed_oss = causal_lm(write_seed_oss, "SeedOssForCausalLM")
read_ernie = causal_lm(write_ernie, "Ernie4_5ForCausalLM", tied=True)
read_cwm = causal_lm(write_cwm, "CwmForCausalLM")
