"""Decoders with learned or ALiBi positions and LayerNorm: GPT-2, OPT, BLOOM (transformers 5.23.0)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpufit.facts.architecture import Attention
from gpufit.memory.training.activations import activate, bloom_gelu
from gpufit.memory.training.attention import Attended, attend, eager_plain
from gpufit.memory.training.blocks.causal import causal_lm
from gpufit.memory.training.blocks.inputs import Inputs
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import Outputs, layer_kinds, run_layers
from gpufit.memory.training.tape.ops import add, cast, dropout, scale, softmax
from gpufit.memory.training.tape.products import baddbmm, bmm
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, permute, reshape, select, split, transpose, view


def heads_of(model: Model) -> Attention:
    """The decoder's attention."""
    found = model.architecture.stacks[0].attention
    if found is None:
        raise ValueError("a decoder has attention")
    return found


def gpt2(model: Model) -> Tensor:
    """GPT2LMHeadModel.forward."""
    return causal_lm(model, "transformer", _gpt2_model)


def _gpt2_model(model: Model, given: Inputs) -> Tensor:
    return learned_positions(
        model, given, layer_kinds(model.architecture),
        lambda part, mask, x: pre_norm_layer(part, mask, x, _gpt2_attention, gpt2_mlp),
    )  # fmt: skip


def learned_positions(
    model: Model, given: Inputs, kinds: Sequence[str], layer: Callable[[Part, Tensor | None, Tensor], Outputs],
    *, eager: bool = False,
) -> Tensor:  # fmt: skip
    """GPT2Model.forward and its kin's: words and learned positions, the layers, a norm."""
    base = model.part("transformer")
    inputs_embeds = base.embedding("wte", given.ids)
    positions = model.tape.empty((1, given.ids.shape[1]), "int64")
    mask = causal_mask(model, inputs_embeds, eager=eager)
    position_embeds = base.embedding("wpe", positions)
    hidden = run_layers(
        model, "transformer.h", kinds, lambda part, _, x: layer(part, mask, x),
        lambda: dropout(add(inputs_embeds, position_embeds), model.dropout.embedding),
    )  # fmt: skip
    return base.layer_norm("ln_f", hidden)


def pre_norm_layer(
    part: Part, mask: Tensor | None, hidden: Tensor,
    attention: Callable[[Part, Tensor | None, Tensor], Attended], mlp: Callable[[Part, Tensor], Tensor],
    *, hands_out: bool = False,
) -> Outputs:  # fmt: skip
    """GPT2Block.forward and GPTBigCodeBlock.forward; ``hands_out``: what attention gives beside its output as well."""
    residual = hidden
    hidden = part.layer_norm("ln_1", hidden)
    output, beside = part.run("attn", attention, part.inside("attn"), mask, hidden)
    hidden = add(output, residual)
    residual = hidden
    hidden = part.layer_norm("ln_2", hidden)
    fed = part.run("mlp", mlp, part.inside("mlp"), hidden)
    hidden = add(residual, fed)
    return (hidden, beside) if hands_out else hidden


def _gpt2_attention(part: Part, mask: Tensor | None, hidden: Tensor) -> Attended:
    a = heads_of(part.model)
    width = a.heads * a.head_dim
    query, key, value = split(part.linear("c_attn", hidden), 2, (width, width, width))
    lead = hidden.shape[:-1]
    key = transpose(view(key, *lead, -1, a.head_dim), 1, 2)
    value = transpose(view(value, *lead, -1, a.head_dim), 1, 2)
    query = transpose(view(query, *lead, -1, a.head_dim), 1, 2)
    output, weights = attend(part, query, key, value, mask, eager=eager_plain)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear("c_proj", output)
    output = dropout(output, part.dropout.hidden)
    return output, weights


def gpt2_mlp(part: Part, hidden: Tensor, activation: str = "gelu_new") -> Tensor:
    """GPT2MLP.forward, GPTBigCodeMLP.forward and GPTNeoMLP.forward."""
    hidden = part.linear("c_fc", hidden)
    hidden = part.run("act", activate, activation, hidden)
    hidden = part.linear("c_proj", hidden)
    return dropout(hidden, part.dropout.hidden)


def opt(model: Model) -> Tensor:
    """OPTForCausalLM.forward."""
    return causal_lm(model, "model", _opt_model)


def _opt_model(model: Model, given: Inputs) -> Tensor:
    base = model.part("model.decoder")
    inputs_embeds = base.embedding("embed_tokens", given.ids)
    positions = model.tape.empty(given.ids.shape, "int64")
    mask = causal_mask(model, inputs_embeds)
    position_embeds = base.embedding("embed_positions", model.tape.empty(given.ids.shape, "int64"))
    if base.has("project_in.weight"):
        inputs_embeds = base.linear("project_in", inputs_embeds)
    before = base.has("final_layer_norm.weight")  # do_layer_norm_before: OPT-350m alone lacks both
    hidden = run_layers(
        model, "model.decoder.layers", layer_kinds(model.architecture),
        lambda part, _, x: _opt_layer(part, mask, before, positions, x),
        lambda: add(inputs_embeds, position_embeds),
    )  # fmt: skip
    if before:
        hidden = base.layer_norm("final_layer_norm", hidden)
    if base.has("project_out.weight"):
        hidden = base.linear("project_out", hidden)
    return hidden


def _opt_layer(part: Part, mask: Tensor | None, before: bool, positions: Tensor, hidden: Tensor) -> Tensor:
    """OPTDecoderLayer.forward."""
    residual = hidden
    if before:
        hidden = part.layer_norm("self_attn_layer_norm", hidden)
    hidden, _ = part.run("self_attn", _opt_attention, part.inside("self_attn"), mask, hidden)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    if not before:
        hidden = part.layer_norm("self_attn_layer_norm", hidden)
    shape = hidden.shape
    hidden = reshape(hidden, -1, shape[-1])
    residual = hidden
    if before:
        hidden = part.layer_norm("final_layer_norm", hidden)
    hidden = part.linear("fc1", hidden)
    hidden = activate("relu", hidden)
    hidden = part.linear("fc2", hidden)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = view(add(residual, hidden), *shape)
    return hidden if before else part.layer_norm("final_layer_norm", hidden)


def _opt_attention(part: Part, mask: Tensor | None, hidden: Tensor) -> Attended:
    a = heads_of(part.model)
    lead = hidden.shape[:-1]
    query = scale(part.linear("q_proj", hidden))
    query = transpose(view(query, *lead, -1, a.head_dim), 1, 2)
    key = part.linear("k_proj", hidden)
    value = part.linear("v_proj", hidden)
    key = transpose(view(key, *lead, -1, a.head_dim), 1, 2)
    value = transpose(view(value, *lead, -1, a.head_dim), 1, 2)
    output, weights = attend(part, query, key, value, mask)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear("out_proj", output)
    return output, weights


def bloom(model: Model) -> Tensor:
    """BloomForCausalLM.forward."""
    return causal_lm(model, "transformer", _bloom_model)


def _bloom_model(model: Model, given: Inputs) -> Tensor:
    base = model.part("transformer")
    inputs_embeds = base.embedding("word_embeddings", given.ids)
    batch, tokens = given.ids.shape
    alibi = model.tape.empty((batch * heads_of(model).heads, 1, tokens), inputs_embeds.dtype)
    mask = causal_mask(model, inputs_embeds, eager=True)
    hidden = run_layers(
        model, "transformer.h", layer_kinds(model.architecture),
        lambda part, _, x: _bloom_layer(part, mask, alibi, x),
        lambda: base.layer_norm("word_embeddings_layernorm", inputs_embeds),
    )  # fmt: skip
    return base.layer_norm("ln_f", hidden)


def _bloom_layer(part: Part, mask: Tensor | None, alibi: Tensor, hidden: Tensor) -> Attended:
    """BloomBlock.forward, with the residual before the normalization."""
    normed = part.layer_norm("input_layernorm", hidden)
    residual = hidden
    attended, weights = part.run(
        "self_attention", _bloom_attention, part.inside("self_attention"), normed, residual, alibi, mask
    )
    normed = part.layer_norm("post_attention_layernorm", attended)
    residual = attended
    output = part.run("mlp", _bloom_mlp, part.inside("mlp"), normed, residual)
    return output, weights


def _bloom_attention(part: Part, hidden: Tensor, residual: Tensor, alibi: Tensor, mask: Tensor | None) -> Attended:
    a = heads_of(part.model)
    batch, tokens, _ = hidden.shape
    fused = part.linear("query_key_value", hidden)
    fused = view(fused, batch, tokens, a.heads, 3, a.head_dim)
    query, key, value = (transpose(select(fused, 3), 1, 2) for _ in range(3))
    query = reshape(query, batch * a.heads, -1, a.head_dim)
    key = transpose(reshape(key, batch * a.heads, -1, a.head_dim), -1, -2)
    value = reshape(value, batch * a.heads, -1, a.head_dim)
    scores = baddbmm(alibi, query, key)
    weights = view(scores, batch, a.heads, tokens, -1)
    if mask is not None:
        weights = add(weights, mask)
    probabilities = cast(softmax(weights, "fp32"), query.dtype)
    probabilities = dropout(probabilities, part.dropout.attention)
    reshaped = view(probabilities, batch * a.heads, tokens, -1)
    context = bmm(reshaped, value)
    context = reshape(permute(view(context, batch, a.heads, tokens, a.head_dim), 0, 2, 1, 3), batch, tokens, -1)
    output = part.linear("dense", context)
    output = dropout(output, part.dropout.hidden)
    output = add(residual, output)
    return output, probabilities


def _bloom_mlp(part: Part, hidden: Tensor, residual: Tensor) -> Tensor:
    hidden = part.run("gelu_impl", bloom_gelu, part.linear("dense_h_to_4h", hidden))
    fed = part.linear("dense_4h_to_h", hidden)
    output = dropout(fed, part.dropout.hidden)
    return add(residual, output)
