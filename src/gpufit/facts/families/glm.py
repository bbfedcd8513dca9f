"""GLM-4 and GLM-4-0414: one projection for gate and up, rotation of half of each head; the later has four norms.

Mirrors transformers 5.23.0, models/{glm,glm4}/modeling_*.py.
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, attention, body, causal_lm, grouped_query, rotary, rotary_width
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """GlmConfig -> GlmModel."""
    return _write(t, config, "glm", ())


def write_glm4(t: Tensors, config: Config) -> Body:
    """Glm4Config -> Glm4Model."""
    return _write(t, config, "glm4", ("post_self_attn_layernorm", "post_mlp_layernorm"))


def _write(t: Tensors, config: Config, form: str, later_norms: tuple[str, ...]) -> Body:
    shape = grouped_query(config, kv_heads=2, head_dim=128)
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim, 0.5)
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    block = t.blocks("layers", shape.layers)
    attention(block, shape, bias=config.flag("attention_bias", True))
    block.linear("mlp.gate_up_proj", shape.hidden, 2 * width, role="mlp")
    block.linear("mlp.down_proj", width, shape.hidden, role="mlp")
    for name in ("input_layernorm", "post_attention_layernorm", *later_norms):
        block.norm(name, shape.hidden)
    t.norm("norm", shape.hidden)
    rotary(t, rope)
    window = stated_window(config)
    return body(config, shape, form=form, width=width, gated=True, rope=rope, window=window)


read = causal_lm(write, "GlmForCausalLM")
read_glm4 = causal_lm(write_glm4, "Glm4ForCausalLM")
