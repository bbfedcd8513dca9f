"""GPT-J and CodeGen: attention and MLP side by side after one LayerNorm; a rotary table kept in every layer.

Mirrors transformers 5.23.0, models/{gptj,codegen}/modeling_*.py.
"""

from __future__ import annotations

from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, body, causal_lm, multi_head, plain_mlp
from gpufit.facts.families.windows import stated_window


def write(t: Tensors, config: Config) -> Body:
    """GPTJConfig -> GPTJModel."""
    return _write(t, config, ("k_proj", "v_proj", "q_proj"), "gptj")


def write_codegen(t: Tensors, config: Config) -> Body:
    """CodeGenConfig -> CodeGenModel: GPT-J with one projection for query, key and value."""
    return _write(t, config, ("qkv_proj",), "codegen")


def _write(t: Tensors, config: Config, projections: tuple[str, ...], form: str) -> Body:
    shape = multi_head(config.size("n_embd"), config.layers("n_layer"), config.layers("n_head"))
    hidden = shape.hidden
    width = config.size("n_inner", 4 * hidden)
    positions = config.size("n_positions", 2048)
    rope = config.int("rotary_dim", 64) or hidden  # 0 rotates by a table as wide as the model
    t.embedding("wte", config.size("vocab_size"), hidden)
    block = t.blocks("h", shape.layers)
    block.norm("ln_1", hidden, bias=True)
    for name in projections:
        block.linear(f"attn.{name}", hidden, 3 * hidden // len(projections), role="attention")
    block.linear("attn.out_proj", hidden, hidden, role="attention")
    block.buffer("attn.embed_positions", (positions, 2 * ((rope + 1) // 2)), "fp32")
    plain_mlp(block, "mlp.fc_in", "mlp.fc_out", hidden, width)
    t.norm("ln_f", hidden, bias=True)
    return body(
        config, shape, form=form, width=width, gated=False, rope=min(rope, shape.head_dim),
        window=stated_window(config), max_context="n_positions", embedding="wte",
    )  # fmt: skip


read = causal_lm(write, "GPTJForCausalLM", base="transformer", head_bias=True)
read_codegen = causal_lm(write_codegen, "CodeGenForCausalLM", base="transformer", head_bias=True)
