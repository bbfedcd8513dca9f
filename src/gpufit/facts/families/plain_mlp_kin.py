"""Rotary decoders whose MLP has no gate: StarCoder2, Nemotron, Arcee, Jais 2.

Mirrors transformers 5.23.0, models/{starcoder2,nemotron,arcee,jais2}/modeling_*.py.
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
    grouped_query,
    plain_mlp,
    rotary,
    rotary_width,
)
from gpufit.facts.families.windows import stated_window


def write_starcoder2(t: Tensors, config: Config) -> Body:
    """Starcoder2Config -> Starcoder2Model: LayerNorm, one bias switch, every layer slides where a window is stated."""
    bias = config.flag("use_bias", True)
    return _write(
        t, config, grouped_query(config, kv_heads=2),
        form="starcoder2", bias=bias, mlp_bias=bias, norm_bias=True, names=("mlp.c_fc", "mlp.c_proj"),
    )  # fmt: skip


def write_nemotron(t: Tensors, config: Config) -> Body:
    """NemotronConfig -> NemotronModel: LayerNorm1P, squared ReLU, half of each head rotated."""
    return _write(
        t, config, grouped_query(config), form="nemotron", bias=config.flag("attention_bias", False),
        mlp_bias=config.flag("mlp_bias", False), norm_bias=True, rotated=0.5,
    )  # fmt: skip


def write_arcee(t: Tensors, config: Config) -> Body:
    """ArceeConfig -> ArceeModel: Llama with a squared ReLU in place of the gated MLP."""
    return _write(
        t, config, grouped_query(config), form="arcee", bias=config.flag("attention_bias", False),
        mlp_bias=config.flag("mlp_bias", False), norm_bias=False,
    )  # fmt: skip


def write_jais2(t: Tensors, config: Config) -> Body:
    """Jais2Config -> Jais2Model: Nemotron with plain LayerNorm, whole heads rotated and a bias everywhere."""
    return _write(
        t, config, grouped_query(config), form="nemotron", bias=config.flag("attention_bias", True),
        mlp_bias=config.flag("mlp_bias", True), norm_bias=True,
    )  # fmt: skip


def _write(
    t: Tensors,
    config: Config,
    shape: Shape,
    *,
    form: str,
    bias: bool,
    mlp_bias: bool,
    norm_bias: bool,
    rotated: float = 1.0,
    names: tuple[str, str] = ("mlp.up_proj", "mlp.down_proj"),
) -> Body:
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim, rotated)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=bias, out_bias=bias)
    plain_mlp(block, *names, shape.hidden, width, bias=mlp_bias)
    block.norm("input_layernorm", shape.hidden, bias=norm_bias)
    block.norm("post_attention_layernorm", shape.hidden, bias=norm_bias)
    t.norm("norm", shape.hidden, bias=norm_bias)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form=form, width=width, gated=False, rope=rope, window=window)


read_starcoder2 = causal_lm(write_starcoder2, "Starcoder2ForCausalLM", tied=True)
read_nemotron = causal_lm(write_nemotron, "NemotronForCausalLM")
read_arcee = causal_lm(write_arcee, "ArceeForCausalLM")
read_jais2 = causal_lm(write_jais2, "Jais2ForCausalLM")
