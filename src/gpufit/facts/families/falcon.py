"""Falcon: one fused projection, attention and MLP mostly side by side; three ways of sharing key-value heads.

Mirrors transformers 5.23.0, models/falcon/modeling_falcon.py (FalconForCausalLM). Two of its habits cost memory:
its linear layers are a subclass of torch.nn.Linear, which bitsandbytes' loader (``type(module) is nn.Linear``)
leaves in 16 bit; and the new decoder architecture (40B, 180B, 11B) spreads its key-value heads to one per query
head before it caches them.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, Shape, body, causal_lm, head_size, rotary, rotary_width
from gpufit.facts.families.windows import stated_window
from gpufit.facts.tensors import Role


def write(t: Tensors, config: Config) -> Body:
    """FalconConfig -> FalconModel. 7B: one key-value head (``multi_query``)."""
    hidden = config.size("n_embed", None) or config.size("hidden_size")
    layers = config.layers("num_hidden_layers")
    heads = config.layers("num_attention_heads")
    new = config.flag("new_decoder_architecture", False)
    shared = config.flag("multi_query", True)
    grouped = config.layers("num_kv_heads", heads)
    if heads % grouped:
        raise BadConfig(f"{heads} attention heads cannot share {grouped} key-value heads evenly")
    kv_heads = grouped if new else 1 if shared else heads
    shape = Shape(hidden=hidden, layers=layers, heads=heads, kv_heads=kv_heads, head_dim=head_size(hidden, heads))
    width = config.size("ffn_hidden_size", 4 * hidden)
    bias = config.flag("bias", False)
    rope = rotary_width(config, shape.head_dim)

    t.embedding("word_embeddings", config.size("vocab_size"), hidden)
    block = t.blocks("h", layers)
    _falcon_linear(block, "self_attention.query_key_value", hidden, hidden + 2 * shape.kv_width, bias, "attention")
    _falcon_linear(block, "self_attention.dense", hidden, hidden, bias, "attention")
    _falcon_linear(block, "mlp.dense_h_to_4h", hidden, width, bias, "mlp")
    _falcon_linear(block, "mlp.dense_4h_to_h", width, hidden, bias, "mlp")
    for name in _norms(config, new):
        block.norm(name, hidden, bias=True)
    t.norm("ln_f", hidden, bias=True)
    rotary(t, rope)  # there also under ALiBi, which does not use it
    alibi = config.flag("alibi", False)
    form = "falcon_alibi" if alibi else "falcon_two_norms" if "ln_mlp" in _norms(config, new) else "falcon"
    return body(
        config, shape, form=form, width=width, gated=False,
        rope=0 if alibi else rope, window=stated_window(config),
        embedding="word_embeddings", cached_heads=heads if new else kv_heads,
    )  # fmt: skip


def _norms(config: Config, new: bool) -> tuple[str, ...]:
    if not config.flag("parallel_attn", True):
        return ("post_attention_layernorm", "input_layernorm")
    if config.int("num_ln_in_parallel_attn", 2 if new else 1) == 2:
        return ("ln_attn", "ln_mlp")
    return ("input_layernorm",)


def _falcon_linear(block: Tensors, name: str, inputs: int, outputs: int, bias: bool, role: Role) -> None:
    block.add(f"{name}.weight", (outputs, inputs), "linear_kin", role)
    if bias:
        block.add(f"{name}.bias", (outputs,), "linear_kin", role)


read = causal_lm(write, "FalconForCausalLM", base="transformer", tied=True)
