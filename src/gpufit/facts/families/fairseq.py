"""XGLM and BioGPT: OPT's block with positions of their own (sinusoids; learned), tied output.

Mirrors transformers 5.23.0, models/{xglm,biogpt}/modeling_*.py.
"""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, Shape, body, causal_lm, multi_head, plain_mlp
from gpufit.facts.families.windows import stated_window

_PADDING = 2  # rows that fairseq reserves before the first position


def write_xglm(t: Tensors, config: Config) -> Body:
    """XGLMConfig -> XGLMModel: positions are a buffer."""
    if config.flag("add_cross_attention", False):
        raise Undecided("gpufit does not know XGLM with cross-attention")
    shape = multi_head(config.size("d_model"), config.layers("num_layers"), config.layers("attention_heads"))
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    positions = config.size("max_position_embeddings", 2048)
    t.buffer("embed_positions.weights", (positions + _PADDING, shape.hidden), "fp32", role="embedding")
    return _write_blocks(t, config, shape, config.size("ffn_dim"))


def write_biogpt(t: Tensors, config: Config) -> Body:
    """BioGptConfig -> BioGptModel."""
    shape = multi_head(
        config.size("hidden_size"), config.layers("num_hidden_layers"), config.layers("num_attention_heads")
    )
    t.embedding("embed_tokens", config.size("vocab_size"), shape.hidden)
    t.embedding("embed_positions", config.size("max_position_embeddings", 1024) + _PADDING, shape.hidden)
    return _write_blocks(t, config, shape, config.size("intermediate_size"))


def _write_blocks(t: Tensors, config: Config, shape: Shape, width: int) -> Body:
    block = t.blocks("layers", shape.layers)
    for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
        block.linear(f"self_attn.{name}", shape.hidden, shape.hidden, bias=True, role="attention")
    block.norm("self_attn_layer_norm", shape.hidden, bias=True)
    plain_mlp(block, "fc1", "fc2", shape.hidden, width)
    block.norm("final_layer_norm", shape.hidden, bias=True)
    t.norm("layer_norm", shape.hidden, bias=True)
    return body(config, shape, form="opt", width=width, gated=False, window=stated_window(config))


read_xglm = causal_lm(write_xglm, "XGLMForCausalLM", tied=True)
read_biogpt = causal_lm(write_biogpt, "BioGptForCausalLM", base="biogpt", head="output_projection", tied=True)
