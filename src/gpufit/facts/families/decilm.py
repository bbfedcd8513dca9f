"""Llama-Nemotron (``nemotron-nas``): a Llama pruned layer by layer; each block states what is left of it.

transformers 5.23.0 has no class for it. The layout follows the checkpoint's own modeling_decilm.py as publicly known
(nvidia/Llama-3_3-Nemotron-Super-49B-v1): an attention or MLP that is ``no_op`` is gone together with its norm, one
that is ``replace_with_linear`` is a single square Linear. Blocks that are alike are written together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpufit.errors import BadConfig, Undecided
from gpufit.facts.architecture import Attention, CacheLayers, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, Shape, attention, causal_lm, gated_mlp, head_size, rotary
from gpufit.facts.families.remote import NOTE

Alike = dict[int, list[int]]
"""A number of key-value heads, or an MLP width: the layers that have it."""

_GONE, _LINEAR = 0, -1  # what stands in place of a number of key-value heads or an MLP width


def write(t: Tensors, config: Config) -> Body:
    """DeciLMConfig -> DeciLMModel."""
    hidden = config.size("hidden_size")
    heads = config.layers("num_attention_heads")
    layers = config.layers("num_hidden_layers")
    head_dim = head_size(hidden, heads)
    bias, mlp_bias = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    attentions, mlps = _blocks(config, layers, heads, hidden)

    t.embedding("embed_tokens", config.size("vocab_size"), hidden)
    for kv_heads, where in attentions.items():
        block = t.blocks("layers", tuple(where))
        if kv_heads == _GONE:
            continue
        if kv_heads == _LINEAR:
            block.linear("self_attn.linear_attn", hidden, hidden, bias=bias, role="attention")
        else:
            shape = Shape(hidden=hidden, layers=len(where), heads=heads, kv_heads=kv_heads, head_dim=head_dim)
            attention(block, shape, bias=bias, out_bias=bias)
        block.norm("input_layernorm", hidden)
    for width, where in mlps.items():
        block = t.blocks("layers", tuple(where))
        if width == _GONE:
            continue
        if width == _LINEAR:
            block.linear("mlp.linear_mlp", hidden, hidden, bias=mlp_bias, role="mlp")
        else:
            gated_mlp(block, hidden, width, bias=mlp_bias)
        block.norm("post_attention_layernorm", hidden)
    t.norm("norm", hidden)
    rotary(t, head_dim)

    attending = {kv_heads: len(where) for kv_heads, where in attentions.items() if kv_heads > 0}
    widest = max(attending, default=heads)
    return Body(
        form="llama",
        # One record for unequal blocks: the largest of each part, which is what sets the peak.
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, mlp_width=max(0, *mlps), gated=True,
            attention=Attention(
                heads=heads, kv_heads=widest, head_dim=head_dim, value_dim=head_dim, rope_dim=head_dim
            ),
        ),
        vocab=config.size("vocab_size"),
        cache=tuple(
            CacheLayers(kind="full", layers=count, kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim)
            for kv_heads, count in attending.items()
        ),
        max_context_tokens=config.size("max_position_embeddings", None),
        notes=(NOTE, "its blocks differ: activations are those of the largest"),
    )  # fmt: skip


def _blocks(config: Config, layers: int, heads: int, hidden: int) -> tuple[Alike, Alike]:
    """Which layers have how many key-value heads, and which have which MLP width."""
    blocks = config.raw("block_configs")
    if not isinstance(blocks, list) or len(blocks) != layers:
        raise BadConfig(f"config key block_configs must list {layers} blocks")
    attentions, mlps = _group(blocks, "attention", _kv_heads, heads), _group(blocks, "ffn", _mlp_width, hidden)
    return attentions, mlps


def _group(blocks: list[Any], part: str, measure: Callable[[Config, int], int], whole: int) -> Alike:
    """Layers by what ``measure`` finds in their ``part``, reading each distinct part once: eighty blocks hold ten."""
    measured: dict[tuple[object, ...], int] = {}
    groups: Alike = {}
    for index, block in enumerate(blocks):
        raw = block.get(part) if isinstance(block, dict) else None
        if not isinstance(raw, dict):
            raise BadConfig(f"config key block_configs[{index}] has no section {part}")
        written = (*raw, *raw.values())
        try:
            size = measured[written]
        except KeyError:
            size = measured[written] = measure(Config(raw, path=f"block_configs[{index}].{part}."), whole)
        except TypeError:  # unhashable
            raise BadConfig(f"config key block_configs[{index}].{part} holds nested values") from None
        groups.setdefault(size, []).append(index)
    return groups


def _kv_heads(part: Config, heads: int) -> int:
    if part.flag("no_op", False):
        return _GONE
    if part.flag("replace_with_linear", False):
        return _LINEAR
    if "window_length" in part or "num_sink_tokens" in part:
        raise Undecided("gpufit does not know Llama-Nemotron blocks with a window or sink tokens")
    group = part.layers("n_heads_in_group")
    if heads % group:
        raise BadConfig(f"{heads} attention heads do not split into groups of {group}")
    return heads // int(group)


def _mlp_width(part: Config, hidden: int) -> int:
    if part.flag("no_op", False):
        return _GONE
    if part.flag("replace_with_linear", False):
        return _LINEAR
    multiple = part.number("ffn_mult")
    if not 0 < multiple <= 1024:
        raise BadConfig(f"config key {part.path}ffn_mult = {multiple} is not between 0 and 1024")
    width = int(2 * multiple * hidden / 3)  # _ffn_mult_to_intermediate_size
    return -(-width // 256) * 256


read = causal_lm(write, "DeciLMForCausalLM")
