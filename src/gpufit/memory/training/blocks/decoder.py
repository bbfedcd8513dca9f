"""Decoders with rotary embeddings: Llama and its siblings (transformers 5.23.0, modeling_<family>.py)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gpufit.facts.architecture import Attention, Stack
from gpufit.memory.training.attention import Attended, attend
from gpufit.memory.training.blocks.causal import causal_lm
from gpufit.memory.training.blocks.families import Family, family_of
from gpufit.memory.training.blocks.inputs import Inputs
from gpufit.memory.training.blocks.rotary import Tables, rotary_tables
from gpufit.memory.training.kernels import turn_in_place
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import layer_kinds, run_layers
from gpufit.memory.training.tape.ops import add, scale
from gpufit.memory.training.tape.tensor import Shape, Tensor
from gpufit.memory.training.tape.views import contiguous, narrow, reshape, transpose, view
from gpufit.records import record


@record
class Context:
    """What every layer of one forward pass is handed."""

    family: Family
    stack: Stack
    masks: dict[str, Tensor | None]
    tables: dict[str, Tables]
    positions: Tensor


def decoder(model: Model) -> Tensor:
    """LlamaForCausalLM.forward with labels; the loss."""
    family = family_of(model.architecture)
    return causal_lm(
        model, "model", partial(_model, family), capped=family.capped_logits, scaled=family.scaled_logits
    )  # fmt: skip


def _model(family: Family, model: Model, given: Inputs) -> Tensor:
    """LlamaModel.forward."""
    stack = model.architecture.stacks[0]
    base = model.part("model")
    inputs_embeds = base.embedding("embed_tokens", given.ids, scaled=family.scaled_embedding)
    if family.multiplied:
        inputs_embeds = scale(inputs_embeds)
    kinds = layer_kinds(model.architecture)
    positions = model.tape.empty((1, given.ids.shape[1]), "int64")
    eager_only = family.eager_only
    spare = causal_mask(model, inputs_embeds, "sliding") if family.both_masks else None
    masks = {kind: causal_mask(model, inputs_embeds, kind, eager=eager_only) for kind in dict.fromkeys(kinds)}
    dim = stack.attention.rope_dim if stack.attention else 0
    format_ = "fp32" if family.fp32_tables else inputs_embeds.dtype
    shared = rotary_tables(model.tape, given.ids.shape[1], dim, format_)
    tables = dict.fromkeys(masks, shared)
    if family.tables > 1:
        for kind in list(masks)[1:]:
            tables[kind] = rotary_tables(model.tape, given.ids.shape[1], dim, inputs_embeds.dtype)
    context = Context(family=family, stack=stack, masks=masks, tables=tables, positions=positions)
    hidden = run_layers(
        model, "model.layers", kinds, lambda part, kind, x: _layer(part, context, kind, x), lambda: inputs_embeds
    )
    hidden = family.norm(base, "norm", hidden)
    del spare
    return hidden


def _layer(part: Part, c: Context, kind: str, hidden: Tensor) -> Tensor:
    """LlamaDecoderLayer.forward; Gemma2DecoderLayer.forward where norms stand on both sides."""
    family = c.family
    residual = hidden
    if family.norms_after:
        hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), c, kind, hidden)
        hidden = family.norm(part, family.norms[0], hidden)
        hidden = residual = add(residual, hidden)
        hidden = part.run("mlp", family.mlp, part.inside("mlp"), hidden)
        hidden = family.norm(part, family.norms[1], hidden)
        return add(residual, hidden)
    hidden = family.norm(part, family.norms[0], hidden)
    if family.side_by_side:
        attended, _ = part.run("self_attn", _attention, part.inside("self_attn"), c, kind, hidden)
        fed = part.run(family.mlp_name, family.mlp, part.inside(family.mlp_name), hidden)
        return add(add(residual, attended), fed)
    hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), c, kind, hidden)
    if family.sandwich:
        hidden = family.norm(part, family.norms[1], hidden)
    hidden = add(residual, scale(hidden) if family.multiplied else hidden)
    residual = hidden
    hidden = family.norm(part, family.norms[2 if family.sandwich else 1], hidden)
    hidden = part.run(family.mlp_name, family.mlp, part.inside(family.mlp_name), hidden)
    if family.sandwich:
        hidden = family.norm(part, family.norms[3], hidden)
    return add(residual, scale(hidden) if family.multiplied else hidden)


def _attention(part: Part, c: Context, kind: str, hidden: Tensor) -> Attended:
    """LlamaAttention.forward."""
    a, family = c.stack.attention, c.family
    if a is None:
        raise ValueError("a decoder has attention")
    lead = hidden.shape[:-1]
    query, key, value = (
        transpose(x, 1, 2) for x in (_fused_heads if family.fused else _heads)(part, family, a, lead, hidden)
    )
    if family.query_norm == "after":
        query = family.norm(part, "q_norm", query)
        key = family.norm(part, "k_norm", key)
    if kind != family.unrotated:
        if part.model.plan.fused_kernels != "none" and not family.fused:
            query, key = turn_in_place(query), turn_in_place(key)
        else:
            query, key = family.rotary(query, key, c.tables[kind])
    output, weights = attend(part, query, key, value, c.masks[kind], eager=family.eager, eager_only=family.eager_only)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear(family.output, output)
    return output, weights


def _heads(part: Part, family: Family, a: Attention, lead: Shape, hidden: Tensor) -> Iterator[Tensor]:
    """Queries, keys and values, (batch, tokens, heads, dim) each."""
    for name, norm in (("q_proj", "q_norm"), ("k_proj", "k_norm"), ("v_proj", "")):
        made = part.linear(name, hidden)
        if family.query_norm == "whole" and norm:
            made = family.norm(part, norm, made)
        made = view(made, *lead, -1, a.head_dim)
        if family.query_norm == "before" and norm and part.has(f"{norm}.weight"):
            made = family.norm(part, norm, made)
        yield made
        del made


def _fused_heads(part: Part, family: Family, a: Attention, lead: Shape, hidden: Tensor) -> Iterator[Tensor]:
    """... cut out of one projection, each by a slice of its own."""
    whole = part.linear("qkv_proj", hidden)
    for heads in (a.heads, a.kv_heads, a.kv_heads):
        yield view(narrow(whole, -1, heads * a.head_dim), *lead, -1, a.head_dim)
