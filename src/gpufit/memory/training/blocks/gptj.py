"""GPT-J and CodeGen: attention and MLP side by side, scores in fp32, eager alone (transformers 5.23.0).

Mirrors models/gptj/modeling_gptj.py and models/codegen/modeling_codegen.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import Attended
from gpufit.memory.training.blocks.causal import causal_lm
from gpufit.memory.training.blocks.gpt import heads_of
from gpufit.memory.training.blocks.inputs import Inputs
from gpufit.memory.training.blocks.rotary import Tables, rotate
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import layer_kinds, run_layers
from gpufit.memory.training.tape.ops import add, cast, dropout, scale, softmax
from gpufit.memory.training.tape.products import matmul
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import cat, contiguous, narrow, permute, reshape, split, transpose, view

CODEGEN_PARTS = 4  # mp_num: how many processors the fused projection was laid out for


def gptj(model: Model) -> Tensor:
    """GPTJForCausalLM.forward and CodeGenForCausalLM.forward; their own code casts the logits."""
    return causal_lm(model, "transformer", _model)


def _model(model: Model, given: Inputs) -> Tensor:
    base = model.part("transformer")
    inputs_embeds = base.embedding("wte", given.ids)
    positions = model.tape.empty((1, given.ids.shape[1]), "int64")
    mask = causal_mask(model, inputs_embeds, eager=True)
    hidden = run_layers(
        model, "transformer.h", layer_kinds(model.architecture), lambda part, _, x: _layer(part, mask, positions, x),
        lambda: dropout(inputs_embeds, model.dropout.embedding),
    )  # fmt: skip
    return base.layer_norm("ln_f", hidden)


def _layer(part: Part, mask: Tensor | None, positions: Tensor, hidden: Tensor) -> Attended:
    """GPTJBlock.forward."""
    residual = hidden
    hidden = part.layer_norm("ln_1", hidden)
    attended, weights = part.run("attn", _attention, part.inside("attn"), mask, positions, hidden)
    fed = part.run("mlp", _mlp, part.inside("mlp"), hidden)
    hidden = add(add(attended, fed), residual)
    return hidden, weights


def _mlp(part: Part, hidden: Tensor) -> Tensor:
    hidden = part.linear("fc_in", hidden)
    hidden = part.run("act", activate, "gelu_new", hidden)
    hidden = part.linear("fc_out", hidden)
    return dropout(hidden, part.dropout.hidden)


def _attention(part: Part, mask: Tensor | None, positions: Tensor, hidden: Tensor) -> Attended:
    """GPTJAttention.forward: heads stay behind the tokens until they are rotated.

    What the code names, it keeps until it is done: the fused projection, the positions it gathered by.
    """
    together = part.has("qkv_proj.weight")
    fused = part.linear("qkv_proj", hidden) if together else None
    query, key, value = _heads(part, hidden) if fused is None else _cut_heads(part, fused)
    value = permute(value, 0, 2, 1, 3)
    tables, _named = _tables(part, positions, hidden.dtype, together)
    turned = heads_of(part.model).rope_dim
    rest = key.shape[-1] - turned
    key_rot, key_pass = narrow(key, -1, turned), narrow(key, -1, rest) if rest else None
    query_rot, query_pass = narrow(query, -1, turned), narrow(query, -1, rest) if rest else None
    key_rot, query_rot = _rotated(key_rot, tables), _rotated(query_rot, tables)
    key = permute(cat((key_rot, key_pass) if key_pass is not None else (key_rot,), -1), 0, 2, 1, 3)
    query = permute(cat((query_rot, query_pass) if query_pass is not None else (query_rot,), -1), 0, 2, 1, 3)
    output, weights = _attend(part, query, key, value, mask, scaled_after=together)
    output = contiguous(permute(output, 0, 2, 1, 3))
    output = part.linear("out_proj", view(output, *hidden.shape))
    output = dropout(output, part.dropout.hidden)
    return output, weights


def _heads(part: Part, hidden: Tensor) -> Iterator[Tensor]:
    """Queries, keys and values, (batch, tokens, heads, dim) each."""
    made = [part.linear(name, hidden) for name in ("q_proj", "k_proj", "v_proj")]
    for x in made:
        yield view(x, *x.shape[:-1], -1, heads_of(part.model).head_dim)


def _cut_heads(part: Part, fused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """CodeGenAttention: cut for four processors as (query, value, key) each."""
    a, lead = heads_of(part.model), fused.shape[:-1]
    each = a.heads * a.head_dim // CODEGEN_PARTS
    query, value, key = split(reshape(fused, *lead, CODEGEN_PARTS, -1), -1, (each,) * 3)
    shape = (*lead, a.heads, a.head_dim)
    apart = (*lead, CODEGEN_PARTS, a.heads // CODEGEN_PARTS, a.head_dim)
    query, key, value = (reshape(reshape(t, *apart), *shape) for t in (query, key, value))
    return query, key, value


def _tables(part: Part, positions: Tensor, dtype: str, together: bool) -> tuple[Tables, tuple[Tensor, ...]]:
    """Sines and cosines gathered from the layer's own buffer, and what GPT-J repeats for it; CodeGen stays in fp32."""
    tape, turned = part.tape, heads_of(part.model).rope_dim
    tokens = positions.shape[1]
    named: tuple[Tensor, ...] = ()
    if not together:
        longest = part.model.architecture.max_context_tokens or tokens
        named = tape.empty((1, longest, turned), "fp32"), tape.empty((1, tokens, turned), "int64")
    gathered = tape.empty((1, tokens, turned), "fp32")
    both = gathered if together else cast(gathered, dtype)
    sin, cos = split(both, -1, (turned // 2, turned // 2))
    return (cos, sin), named


def _rotated(x: Tensor, tables: Tables) -> Tensor:
    """apply_rotary_pos_emb: each call spreads the tables anew, two places to a number."""
    tape, (_, tokens, half) = x.tape, tables[0].shape
    sin = tape.empty((1, tokens, 1, 2 * half), tables[1].dtype)
    cos = tape.empty((1, tokens, 1, 2 * half), tables[0].dtype)
    return rotate(x, cos, sin)


def _attend(
    part: Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaled_after: bool
) -> Attended:
    """GPTJAttention._attn: scores in fp32; CodeGen divides them after the mask."""
    query, key = cast(query, "fp32"), cast(key, "fp32")
    weights = matmul(query, transpose(key, -1, -2))
    weights = weights if scaled_after else scale(weights)
    weights = weights if mask is None else add(weights, mask)
    weights = scale(weights) if scaled_after else weights
    weights = softmax(weights)
    weights = cast(weights, value.dtype)
    weights = dropout(weights, part.dropout.attention)
    return matmul(weights, value), weights
