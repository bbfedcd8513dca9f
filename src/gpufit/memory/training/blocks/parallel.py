"""Decoders with partial rotary whose attention and MLP may stand side by side: GPT-NeoX, Phi, StableLM.

Mirrors transformers 5.23.0, models/{gpt_neox,phi,stablelm}/modeling_*.py.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import Attended, attend
from gpufit.memory.training.blocks.causal import causal_lm
from gpufit.memory.training.blocks.experts import gated
from gpufit.memory.training.blocks.gpt import heads_of
from gpufit.memory.training.blocks.inputs import Inputs
from gpufit.memory.training.blocks.rotary import Tables, partial_rotary, rotary_tables
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import layer_kinds, run_layers
from gpufit.memory.training.tape.ops import add, dropout
from gpufit.memory.training.tape.products import layer_norm
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import cat, contiguous, reshape, split, transpose, view

Layer = Callable[[Part, Tensor | None, Tables, Tensor, Tensor], Tensor]


def gpt_neox(model: Model) -> Tensor:
    """GPTNeoXForCausalLM.forward, with use_parallel_residual."""
    return causal_lm(model, "gpt_neox", _neox_model)


def _neox_model(model: Model, given: Inputs) -> Tensor:
    base = model.part("gpt_neox")
    inputs_embeds = base.embedding("embed_in", given.ids)
    positions = model.tape.empty((1, given.ids.shape[1]), "int64")
    mask = causal_mask(model, inputs_embeds)
    tables = rotary_tables(model.tape, given.ids.shape[1], heads_of(model).rope_dim, inputs_embeds.dtype)
    hidden = run_layers(
        model, "gpt_neox.layers", layer_kinds(model.architecture),
        lambda part, _, x: _neox_layer(part, mask, tables, positions, x),
        lambda: dropout(inputs_embeds, model.dropout.hidden),
    )  # fmt: skip
    return base.layer_norm("final_layer_norm", hidden)


def _neox_layer(part: Part, mask: Tensor | None, tables: Tables, positions: Tensor, hidden: Tensor) -> Tensor:
    """GPTNeoXLayer.forward."""
    attended, _ = part.run(
        "attention", _neox_attention, part.inside("attention"), mask, tables, part.layer_norm("input_layernorm", hidden)
    )
    attended = dropout(attended, part.dropout.hidden)
    fed = part.run("mlp", _neox_mlp, part.inside("mlp"), part.layer_norm("post_attention_layernorm", hidden))
    fed = dropout(fed, part.dropout.hidden)
    return add(add(fed, attended), hidden)


def _neox_mlp(part: Part, hidden: Tensor) -> Tensor:
    hidden = part.linear("dense_h_to_4h", hidden)
    hidden = part.run("act", activate, "gelu", hidden)
    return part.linear("dense_4h_to_h", hidden)


def _neox_attention(part: Part, mask: Tensor | None, tables: Tables, hidden: Tensor) -> Attended:
    a = heads_of(part.model)
    lead = hidden.shape[:-1]
    fused = transpose(view(part.linear("query_key_value", hidden), *lead, -1, 3 * a.head_dim), 1, 2)
    query, key, value = split(fused, -1, (a.head_dim,) * 3)
    query, key, _ = partial_rotary(query, key, tables)
    del _
    output, weights = attend(part, query, key, value, mask)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear("dense", output)
    return output, weights


def phi(model: Model) -> Tensor:
    """PhiForCausalLM.forward."""
    return causal_lm(model, "model", _phi_model)


def _phi_model(model: Model, given: Inputs) -> Tensor:
    return _rotary_model(model, given, _phi_layer, "final_layernorm")


def _rotary_model(model: Model, given: Inputs, layer: Layer, norm: str) -> Tensor:
    """PhiModel.forward and StableLmModel.forward, which drops none of its embeddings."""
    base = model.part("model")
    inputs_embeds = base.embedding("embed_tokens", given.ids)
    positions = model.tape.empty((1, given.ids.shape[1]), "int64")
    mask = causal_mask(model, inputs_embeds)
    inputs_embeds = dropout(inputs_embeds, model.dropout.embedding)
    tables = rotary_tables(model.tape, given.ids.shape[1], heads_of(model).rope_dim, inputs_embeds.dtype)
    hidden = run_layers(
        model, "model.layers", layer_kinds(model.architecture),
        lambda part, _, x: layer(part, mask, tables, positions, x), lambda: inputs_embeds,
    )  # fmt: skip
    return base.layer_norm(norm, hidden)


def _phi_layer(part: Part, mask: Tensor | None, tables: Tables, positions: Tensor, hidden: Tensor) -> Tensor:
    """PhiDecoderLayer.forward."""
    residual = hidden
    hidden = part.layer_norm("input_layernorm", hidden)
    attended, _ = part.run("self_attn", _phi_attention, part.inside("self_attn"), mask, tables, hidden)
    attended = dropout(attended, part.dropout.hidden)
    fed = dropout(part.run("mlp", _phi_mlp, part.inside("mlp"), hidden), part.dropout.hidden)
    return add(add(attended, fed), residual)


def _phi_mlp(part: Part, hidden: Tensor) -> Tensor:
    hidden = part.linear("fc1", hidden)
    hidden = part.run("activation_fn", activate, "gelu_new", hidden)
    return part.linear("fc2", hidden)


def _phi_attention(part: Part, mask: Tensor | None, tables: Tables, hidden: Tensor) -> Attended:
    a = heads_of(part.model)
    lead = hidden.shape[:-1]
    query = transpose(view(part.linear("q_proj", hidden), *lead, -1, a.head_dim), 1, 2)
    key = transpose(view(part.linear("k_proj", hidden), *lead, -1, a.head_dim), 1, 2)
    value = transpose(view(part.linear("v_proj", hidden), *lead, -1, a.head_dim), 1, 2)
    query, key, _parts = partial_rotary(query, key, tables)  # locals of PhiAttention.forward until it is done
    output, weights = attend(part, query, key, value, mask)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear("dense", output)
    return output, weights


def stablelm(model: Model) -> Tensor:
    """StableLmForCausalLM.forward."""
    return causal_lm(model, "model", _stablelm_model)


def _stablelm_model(model: Model, given: Inputs) -> Tensor:
    return _rotary_model(model, given, _stablelm_layer, "norm")


def _stablelm_layer(part: Part, mask: Tensor | None, tables: Tables, positions: Tensor, hidden: Tensor) -> Tensor:
    """StableLmDecoderLayer.forward, with use_parallel_residual or without."""
    residual = hidden
    hidden = part.layer_norm("input_layernorm", hidden)
    attended, _ = part.run("self_attn", _stablelm_attention, part.inside("self_attn"), mask, tables, hidden)
    if not part.has("post_attention_layernorm.weight"):
        fed = dropout(part.run("mlp", gated, part.inside("mlp"), hidden), part.dropout.hidden)
        return add(add(residual, attended), fed)
    residual = add(residual, attended)
    fed = part.run("mlp", gated, part.inside("mlp"), part.layer_norm("post_attention_layernorm", residual))
    fed = dropout(fed, part.dropout.hidden)
    return add(residual, fed)


def _stablelm_attention(part: Part, mask: Tensor | None, tables: Tables, hidden: Tensor) -> Attended:
    a = heads_of(part.model)
    lead = hidden.shape[:-1]
    query, key, value = (part.linear(name, hidden) for name in ("q_proj", "k_proj", "v_proj"))
    query, key, value = (transpose(view(t, *lead, -1, a.head_dim), 1, 2) for t in (query, key, value))
    if part.has("q_layernorm.norms.{}.weight"):
        query, key = _norm_per_head(part, "q_layernorm", query), _norm_per_head(part, "k_layernorm", key)
    query, key, _parts = partial_rotary(query, key, tables)  # locals of StableLmAttention.forward until it is done
    output, weights = attend(part, query, key, value, mask)
    output = part.linear("o_proj", reshape(output, *lead, -1))
    return output, weights


def _norm_per_head(part: Part, name: str, x: Tensor) -> Tensor:
    """StableLmLayerNormPerHead.forward: a LayerNorm without bias for every head, joined again."""
    weight = part.weight(f"{name}.norms.{{}}.weight")
    heads = split(x, 1, (1,) * x.shape[1])
    return cat(tuple(layer_norm(head, weight, None) for head in heads), 1)
