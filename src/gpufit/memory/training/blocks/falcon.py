"""Falcon: one fused projection, three ways of sharing key-value heads, rotary or ALiBi (transformers 5.23.0).

Mirrors models/falcon/modeling_falcon.py. Its masks are always made whole, so no kernel is ever asked for causality.
"""

from __future__ import annotations

from gpufit.facts.architecture import Attention
from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import Attended, scaled_dot_product
from gpufit.memory.training.blocks.causal import causal_lm
from gpufit.memory.training.blocks.gpt import heads_of
from gpufit.memory.training.blocks.inputs import Inputs
from gpufit.memory.training.blocks.rotary import Tables, apply_rotary, rotary_tables
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import layer_kinds, run_layers
from gpufit.memory.training.tape.ops import add, add_into, cast, dropout, like, scale_into, softmax
from gpufit.memory.training.tape.products import matmul
from gpufit.memory.training.tape.routing import pick
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import expand, narrow, permute, reshape, select, transpose, view
from gpufit.records import record


@record
class Context:
    """What every layer is handed: ``alibi`` is (batch, heads, 1, tokens), or the rotary ``tables`` count."""

    mask: Tensor
    alibi: Tensor | None
    tables: Tables
    positions: Tensor


def falcon(model: Model) -> Tensor:
    """FalconForCausalLM.forward."""
    return causal_lm(model, "transformer", _model)


def _model(model: Model, given: Inputs) -> Tensor:
    """FalconModel.forward."""
    tape, a = model.tape, heads_of(model)
    batch, tokens = given.ids.shape
    base = model.part("transformer")
    inputs_embeds = base.embedding("word_embeddings", given.ids)
    positions = tape.empty((1, tokens), "int64")
    eager = model.plan.attention == "eager"
    mask = tape.empty((batch, 1, tokens, tokens), inputs_embeds.dtype if eager else "bool")
    alibi = None
    if not a.rope_dim:
        mask = mask if eager else like(mask, dtype=inputs_embeds.dtype)
        alibi = tape.empty((batch, a.heads, 1, tokens), inputs_embeds.dtype)
        mask = like(alibi, mask)  # masked_fill of what every head adds
    context = Context(
        mask=mask, alibi=alibi, positions=positions,
        tables=rotary_tables(tape, tokens, a.head_dim, inputs_embeds.dtype),
    )  # fmt: skip
    hidden = run_layers(
        model, "transformer.h", layer_kinds(model.architecture), lambda part, _, x: _layer(part, context, x),
        lambda: inputs_embeds,
    )  # fmt: skip
    return base.layer_norm("ln_f", hidden)


def _layer(part: Part, c: Context, hidden: Tensor) -> Attended:
    """FalconDecoderLayer.forward: with one norm or two, side by side or one after the other."""
    residual = hidden
    two = part.has("ln_attn.weight")
    attention_norm = part.layer_norm("ln_attn" if two else "input_layernorm", hidden)
    mlp_norm = part.layer_norm("ln_mlp", hidden) if two else attention_norm
    attended, weights = part.run("self_attention", _attention, part.inside("self_attention"), c, attention_norm)
    apart = part.has("post_attention_layernorm.weight")
    if apart:
        residual = add(residual, dropout(attended, part.dropout.attention))
        mlp_norm = part.layer_norm("post_attention_layernorm", residual)
    fed = part.run("mlp", _mlp, part.inside("mlp"), mlp_norm)
    if not apart:
        fed = add_into(fed, attended)
    output = add(residual, dropout(fed, part.dropout.hidden))
    return output, weights


def _mlp(part: Part, x: Tensor) -> Tensor:
    x = activate("gelu", part.linear("dense_h_to_4h", x, bias_apart=True))
    return part.linear("dense_4h_to_h", x, bias_apart=True)


def _split_heads(a: Attention, fused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """FalconAttention._split_heads: (batch, tokens, heads, dim) each; the new way copies keys to every head."""
    lead = fused.shape[:-1]
    if a.kv_heads == a.heads:
        whole = view(fused, *lead, a.heads, 3, a.head_dim)
        return select(whole, 3), select(whole, 3), select(whole, 3)
    if a.kv_heads == 1:
        whole = view(fused, *lead, a.heads + 2, a.head_dim)
        return narrow(whole, 2, a.heads), pick(whole, 2), pick(whole, 2)
    group = a.heads // a.kv_heads
    whole = view(fused, *lead, -1, group + 2, a.head_dim)
    query, key, value = narrow(whole, 3, group), pick(whole, 3), pick(whole, 3)
    key, value = expand(key, *query.shape), expand(value, *query.shape)
    flat = (*lead, a.heads, a.head_dim)
    return reshape(query, *flat), reshape(key, *flat), reshape(value, *flat)


def _attention(part: Part, c: Context, hidden: Tensor) -> Attended:
    """FalconAttention.forward."""
    a = heads_of(part.model)
    batch, tokens, width = hidden.shape
    fused = part.linear("query_key_value", hidden, bias_apart=True)
    query, key, value = (transpose(t, 1, 2) for t in _split_heads(a, fused))
    if c.alibi is None:
        query, key = apply_rotary(query, key, c.tables)
    if part.model.plan.attention != "eager":
        output = scaled_dot_product(part, query, key, value, c.mask, causal=False)
        output = reshape(transpose(output, 1, 2), batch, tokens, width)
        return part.linear("dense", output, bias_apart=True), None
    if c.alibi is None:
        scores = scale_into(matmul(query, transpose(key, -1, -2)))
        scores = softmax(add(scores, c.mask), hidden.dtype)
        output = matmul(scores, value)
        output = reshape(permute(output, 0, 2, 1, 3), batch, tokens, width)
        return part.linear("dense", output, bias_apart=True), scores
    product = matmul(query, transpose(key, -1, -2))  # a local of the code until its end, as the scores and logits are
    scores = cast(product, "fp32")
    logits = scale_into(add(scores, c.alibi))
    probabilities = dropout(softmax(add(logits, c.mask), hidden.dtype), part.dropout.attention)
    output = reshape(permute(matmul(probabilities, value), 0, 2, 1, 3), batch, tokens, width)
    output = part.linear("dense", output, bias_apart=True)
    return output, probabilities
