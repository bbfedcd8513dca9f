"""GPT-2's kin with Linear layers: GPT BigCode (SantaCoder, StarCoder) and GPT-Neo (transformers 5.23.0)."""

from __future__ import annotations

from functools import partial

from gpufit.memory.training.attention import Attended, attend
from gpufit.memory.training.blocks.causal import causal_lm
from gpufit.memory.training.blocks.gpt import gpt2_mlp, heads_of, learned_positions, pre_norm_layer
from gpufit.memory.training.blocks.inputs import Inputs
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import layer_kinds
from gpufit.memory.training.tape.ops import add, cast, dropout, softmax, where
from gpufit.memory.training.tape.products import matmul
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, permute, reshape, split, transpose, unsqueeze, view


def gpt_bigcode(model: Model) -> Tensor:
    """GPTBigCodeForCausalLM.forward."""
    return causal_lm(model, "transformer", _bigcode_model)


def _bigcode_model(model: Model, given: Inputs) -> Tensor:
    mlp = partial(gpt2_mlp, activation="gelu_pytorch_tanh")
    return learned_positions(
        model, given, layer_kinds(model.architecture),
        lambda part, mask, x: pre_norm_layer(part, mask, x, _bigcode_attention, mlp, hands_out=model.keeps_caches),
    )  # fmt: skip


def _bigcode_attention(part: Part, mask: Tensor | None, hidden: Tensor) -> Attended:
    """GPTBigCodeAttention.forward: one key head for all queries, or a head's three parts side by side.

    Where it hands its keys and values out (4.52.4:242-247) they are a look at the whole product, queries included.
    """
    a = heads_of(part.model)
    lead = hidden.shape[:-1]
    fused = part.linear("c_attn", hidden)
    shared = a.kv_heads == 1
    fused = unsqueeze(fused, 1) if shared else transpose(view(fused, *lead, a.heads, -1), 1, 2)
    queries, present = a.heads * a.head_dim if shared else a.head_dim, None
    if part.model.keeps_caches:
        query, present = split(fused, 3, (queries, 2 * a.head_dim))
        key, value = split(present, 3, (a.head_dim, a.head_dim))
    else:
        query, key, value = split(fused, 3, (queries, a.head_dim, a.head_dim))
    if shared:
        query = transpose(view(query, *lead, -1, a.head_dim), 1, 2)
    del fused
    output, weights = attend(part, query, key, value, mask)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear("c_proj", output)
    output = dropout(output, part.dropout.hidden)
    return output, weights if present is None else present


def gpt_neo(model: Model) -> Tensor:
    """GPTNeoForCausalLM.forward: scores in fp32, eager alone."""
    return causal_lm(model, "transformer", _neo_model)


def _neo_model(model: Model, given: Inputs) -> Tensor:
    return learned_positions(model, given, ("full",) * model.architecture.stacks[0].layers, _neo_layer, eager=True)


def _neo_layer(part: Part, mask: Tensor | None, hidden: Tensor) -> Attended:
    """GPTNeoBlock.forward."""
    residual = hidden
    hidden = part.layer_norm("ln_1", hidden)
    output, weights = part.run("attn.attention", _neo_attention, part.inside("attn.attention"), mask, hidden)
    hidden = add(output, residual)
    residual = hidden
    hidden = part.layer_norm("ln_2", hidden)
    fed = part.run("mlp", gpt2_mlp, part.inside("mlp"), hidden)
    hidden = add(residual, fed)
    return hidden, weights


def _neo_attention(part: Part, mask: Tensor | None, hidden: Tensor) -> Attended:
    """GPTNeoSelfAttention.forward."""
    a = heads_of(part.model)
    lead = hidden.shape[:-1]
    query, key, value = (part.linear(name, hidden) for name in ("q_proj", "k_proj", "v_proj"))
    query, key, value = (permute(view(t, *lead, -1, a.head_dim), 0, 2, 1, 3) for t in (query, key, value))
    output, weights = _neo_attend(part, query, key, value, mask)
    output = view(contiguous(permute(output, 0, 2, 1, 3)), *hidden.shape)
    output = part.linear("out_proj", output)
    output = dropout(output, part.dropout.hidden)
    return output, weights


def _neo_attend(part: Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Attended:
    """GPTNeoSelfAttention._attn: the layer's own mask is a slice of its buffer."""
    query, key = cast(query, "fp32"), cast(key, "fp32")
    weights = matmul(query, transpose(key, -1, -2))
    own = part.tape.resident((1, 1, *weights.shape[-2:]), "bool")
    weights = where(own, weights)
    weights = weights if mask is None else add(weights, mask)
    weights = softmax(weights)
    weights = cast(weights, value.dtype)
    weights = dropout(weights, part.dropout.attention)
    return matmul(weights, value), weights
