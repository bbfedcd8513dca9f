"""Encoder-decoders with relative positions: T5, Flan-T5, mT5 (transformers 5.23.0, models/t5/modeling_t5.py)."""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.facts.architecture import Attention, Stack
from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import scaled_dot_product
from gpufit.memory.training.blocks.inputs import make_inputs
from gpufit.memory.training.loss import token_loss
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part, rsqrt
from gpufit.memory.training.stack import run_layers
from gpufit.memory.training.tape.graph import Tape
from gpufit.memory.training.tape.ops import (
    add,
    cast,
    clamp,
    dropout,
    mean,
    mul,
    power,
    scale,
    shift,
    size_of,
    softmax,
    where,
)
from gpufit.memory.training.tape.products import matmul
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, permute, reshape, transpose, unsqueeze, view

Biases = list[Tensor | None]  # of self-attention and of attention to the encoder: the first layer's, used by all


def t5(model: Model) -> Tensor:
    """T5ForConditionalGeneration.forward; the labels, shifted, are what the decoder reads."""
    plan, tape = model.plan, model.tape
    if not model.architecture.model_class.endswith("ForConditionalGeneration"):
        raise Undecided(
            f"gpufit has no training form for {model.architecture.model_class}",
            hint="use a class with a task head: ...ForConditionalGeneration",
        )
    length = plan.labels_tokens or plan.seq
    given = make_inputs(model, (plan.micro_batch, length))
    encoded = model.part().run("encoder", _stack, model, "encoder", given.ids, None)
    shifted = tape.empty((plan.micro_batch, length), "int64")
    hidden = outputs = model.part().run("decoder", _stack, model, "decoder", shifted, encoded)
    tape.ledger.enter("loss")
    head = model.find("lm_head.weight", ())
    if head is not None and head.group.tied_to:  # config.scale_decoder_outputs
        hidden = scale(hidden)
    logits = model.part().linear("lm_head", hidden)
    model.logits_bytes = size_of(logits)
    loss = token_loss(logits, given.labels)
    del outputs  # the code names them until here, before and after they are scaled
    return loss


def _stack(model: Model, role: str, ids: Tensor, encoded: Tensor | None) -> Tensor:
    """T5Stack.forward."""
    base = model.part(role)
    stack = model.architecture.stack("encoder" if role == "encoder" else "decoder")
    if stack is None:
        raise ValueError(f"an encoder-decoder has an {role}")
    inputs_embeds = base.embedding("embed_tokens", ids)
    mask = causal_mask(model, inputs_embeds) if role == "decoder" else None
    biases: Biases = [None, None]

    def layer(part: Part, _: str, hidden: Tensor, bias: Tensor | None, crossed: Tensor | None) -> Tensor:
        hidden, *made = _block(part, stack, hidden, mask, bias, crossed, encoded)
        if part.tape.running_ahead:
            biases[:] = made
        return hidden

    hidden = run_layers(
        model, f"{role}.block", ("first", *("later",) * (stack.layers - 1)), layer,
        lambda: dropout(inputs_embeds, model.dropout.hidden), lambda: tuple(biases),
    )  # fmt: skip
    hidden = dropout(t5_norm(base, "final_layer_norm", hidden), model.dropout.hidden)
    biases.clear()  # locals of the code until here; from here on checkpoints alone keep them
    return hidden


def _block(
    part: Part, stack: Stack, hidden: Tensor, mask: Tensor | None, bias: Tensor | None, crossed: Tensor | None,
    encoded: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """T5Block.forward."""
    hidden, bias, _ = part.run("layer.0", _attend, part.inside("layer.0"), "SelfAttention", stack, hidden, None, mask,
                               bias, encoded is not None)  # fmt: skip
    hidden = _clamped(hidden)
    if encoded is not None:
        hidden, crossed, _ = part.run("layer.1", _attend, part.inside("layer.1"), "EncDecAttention", stack, hidden,
                                      encoded, None, crossed, False)  # fmt: skip
        hidden = _clamped(hidden)
    last = "layer.1" if encoded is None else "layer.2"
    return _clamped(part.run(last, _feed_forward, part.inside(last), stack, hidden)), bias, crossed


def _clamped(hidden: Tensor) -> Tensor:
    """fp16 alone: infinities are cut to the largest number."""
    return clamp(hidden) if hidden.dtype == "fp16" else hidden


def _attend(
    part: Part, name: str, stack: Stack, hidden: Tensor, states: Tensor | None, mask: Tensor | None,
    bias: Tensor | None, causal: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """T5LayerSelfAttention.forward and T5LayerCrossAttention.forward."""
    normed = t5_norm(part, "layer_norm", hidden)
    output, bias, weights = part.run(
        name, _attention, part.inside(name), stack, normed, normed if states is None else states, mask, bias, causal
    )
    return add(hidden, dropout(output, part.dropout.hidden)), bias, weights


def _attention(
    part: Part, stack: Stack, hidden: Tensor, states: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """T5Attention.forward."""
    a: Attention | None = stack.attention
    if a is None:
        raise ValueError("an encoder-decoder has attention")
    lead, over = hidden.shape[:-1], states.shape[:-1]
    query = transpose(view(part.linear("q", hidden), *lead, -1, a.head_dim), 1, 2)
    key = transpose(view(part.linear("k", states), *over, -1, a.head_dim), 1, 2)
    value = transpose(view(part.linear("v", states), *over, -1, a.head_dim), 1, 2)
    if bias is None:
        bias = _make_bias(part, a.heads, lead[1], over[1], query.dtype)
    if part.model.plan.attention == "eager":
        output, weights = _eager(part, query, key, value, mask, bias)
    else:
        output, weights = _sdpa(part, query, key, value, bias, causal), None
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear("o", output)
    return output, bias, weights


def _make_bias(part: Part, heads: int, tokens: int, keys: int, dtype: str) -> Tensor:
    """compute_bias where the layer has a table, else zeros, which checkpointing makes a leaf with a gradient."""
    tape = part.tape
    if not part.has("relative_attention_bias.weight"):
        zeros = tape.empty((1, heads, tokens, keys), dtype)
        if tape.recording and part.model.plan.checkpointing != "none":
            tape.leaf(zeros, kept=tape.running_ahead)
        return zeros
    values = part.embedding("relative_attention_bias", _buckets(tape, tokens, keys))
    return unsqueeze(permute(values, 2, 0, 1), 0)


def _buckets(tape: Tape, tokens: int, keys: int) -> Tensor:
    """_relative_position_bucket: the widest instant is where the logarithm's branch is cut to the last bucket."""
    square = (tokens, keys)
    relative, buckets, distance = (tape.empty(square, "int64") for _ in range(3))
    small = tape.empty(square, "bool")
    large = [tape.empty(square, "int64") for _ in range(3)]  # the branch, full_like, their minimum
    del relative, distance, small, large
    return buckets


def _eager(
    part: Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """modeling_t5.py, eager_attention_forward."""
    weights = scale(matmul(query, transpose(key, 2, 3)))
    weights = add(weights, bias)
    if mask is not None:
        weights = add(weights, mask)
    weights = softmax(weights)
    weights = dropout(weights, part.dropout.attention)
    output = matmul(weights, value)
    return contiguous(transpose(output, 1, 2)), weights


def _sdpa(part: Part, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, causal: bool) -> Tensor:
    """sdpa_attention.py, create_position_bias_mask: the bias, cut to the past where causal, is the kernel's mask."""
    mask = contiguous(where(part.tape.empty((1, 1, *bias.shape[-2:]), "bool"), bias) if causal else bias)
    output = scaled_dot_product(part, query, key, value, mask, causal=False)
    return contiguous(transpose(output, 1, 2))


def _feed_forward(part: Part, stack: Stack, hidden: Tensor) -> Tensor:
    """T5LayerFF.forward."""
    normed = t5_norm(part, "layer_norm", hidden)
    normed = part.run("DenseReluDense", _dense, part.inside("DenseReluDense"), stack, normed)
    return add(hidden, dropout(normed, part.dropout.hidden))


def _dense(part: Part, stack: Stack, hidden: Tensor) -> Tensor:
    """T5DenseGatedActDense.forward and T5DenseActDense.forward; ``wo`` may be kept in fp32."""
    if stack.gated:
        gate = part.run("act", activate, "gelu_new", part.linear("wi_0", hidden))
        straight = part.linear("wi_1", hidden)
        hidden = mul(gate, straight)
    else:
        hidden = part.run("act", activate, "relu", part.linear("wi", hidden))
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = cast(hidden, part.weight("wo.weight").dtype)
    return part.linear("wo", hidden)


def t5_norm(part: Part, name: str, x: Tensor) -> Tensor:
    """T5LayerNorm.forward: the variance alone is fp32, and so is all of it until the weight's own format."""
    return part.run(name, _t5_norm, x, part.weight(f"{name}.weight"))


def _t5_norm(x: Tensor, weight: Tensor) -> Tensor:
    variance = mean(power(cast(x, "fp32")))
    x = mul(x, rsqrt(shift(variance)))
    if weight.dtype != "fp32":
        x = cast(x, weight.dtype)
    return mul(weight, x)
