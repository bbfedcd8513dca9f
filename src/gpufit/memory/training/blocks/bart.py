"""Encoder-decoders with learned positions: BART and mBART's kin (transformers 5.23.0, models/bart/modeling_bart.py)."""

from __future__ import annotations

from gpufit.facts.architecture import Attention, Stack
from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import Attended, attend, eager_plain
from gpufit.memory.training.blocks.inputs import make_inputs
from gpufit.memory.training.loss import token_loss
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import run_layers
from gpufit.memory.training.tape.ops import add, dropout, shift, size_of
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, reshape, transpose, view


def bart(model: Model) -> Tensor:
    """BartForConditionalGeneration.forward; the labels, shifted, are what the decoder reads."""
    plan, tape = model.plan, model.tape
    length = plan.labels_tokens or plan.seq
    given = make_inputs(model, (plan.micro_batch, length))
    shifted = tape.empty((plan.micro_batch, length), "int64")
    encoded = model.part().run("model.encoder", _encoder, model, given.ids)
    hidden = model.part().run("model.decoder", _decoder, model, shifted, encoded)
    tape.ledger.enter("loss")
    logits = shift(model.part().linear("lm_head", hidden))  # plus final_logits_bias, a buffer
    model.logits_bytes = size_of(logits)
    return token_loss(logits, given.labels)


def _stack(model: Model, role: str) -> Stack:
    found = model.architecture.stack("encoder" if role == "encoder" else "decoder")
    if found is None:
        raise ValueError(f"an encoder-decoder has an {role}")
    return found


def _encoder(model: Model, ids: Tensor) -> Tensor:
    """BartEncoder.forward."""
    base, stack = model.part("model.encoder"), _stack(model, "encoder")
    inputs_embeds = base.embedding("embed_tokens", ids, scaled=True)
    embed_pos = base.embedding("embed_positions", model.tape.empty(ids.shape, "int64"))
    return run_layers(
        model, "model.encoder.layers", ("full",) * stack.layers,
        lambda part, _, x: _encoder_layer(part, stack, x), lambda: _begin(base, inputs_embeds, embed_pos),
    )  # fmt: skip


def _begin(base: Part, words: Tensor, positions: Tensor) -> Tensor:
    return dropout(base.layer_norm("layernorm_embedding", add(words, positions)), base.dropout.embedding)


def _encoder_layer(part: Part, stack: Stack, hidden: Tensor) -> Tensor:
    """BartEncoderLayer.forward."""
    residual = hidden
    hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), stack, hidden, hidden, None, False)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    hidden = part.layer_norm("self_attn_layer_norm", hidden)
    del residual  # which the code rebinds
    return _feed_forward(part, hidden)


def _feed_forward(part: Part, hidden: Tensor) -> Tensor:
    residual = hidden
    hidden = activate("gelu", part.linear("fc1", hidden))
    hidden = dropout(hidden, part.dropout.activation)
    hidden = part.linear("fc2", hidden)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    return part.layer_norm("final_layer_norm", hidden)


def _decoder(model: Model, ids: Tensor, encoded: Tensor) -> Tensor:
    """BartDecoder.forward."""
    base, stack = model.part("model.decoder"), _stack(model, "decoder")
    inputs_embeds = base.embedding("embed_tokens", ids, scaled=True)
    mask = causal_mask(model, inputs_embeds)
    positions = base.embedding("embed_positions", model.tape.empty((1, ids.shape[1]), "int64"))
    return run_layers(
        model, "model.decoder.layers", ("full",) * stack.layers,
        lambda part, _, x: _decoder_layer(part, stack, x, mask, encoded),
        lambda: _begin(base, inputs_embeds, positions),
    )  # fmt: skip


def _decoder_layer(part: Part, stack: Stack, hidden: Tensor, mask: Tensor | None, encoded: Tensor) -> Tensor:
    """BartDecoderLayer.forward."""
    residual = hidden
    hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), stack, hidden, hidden, mask, True)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    hidden = part.layer_norm("self_attn_layer_norm", hidden)
    residual = hidden
    hidden, _ = part.run("encoder_attn", _attention, part.inside("encoder_attn"), stack, hidden, encoded, None, False)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    hidden = part.layer_norm("encoder_attn_layer_norm", hidden)
    del residual
    return _feed_forward(part, hidden)


def _attention(part: Part, stack: Stack, hidden: Tensor, states: Tensor, mask: Tensor | None, causal: bool) -> Attended:
    """BartAttention.forward over ``states``, its own or the encoder's."""
    a: Attention | None = stack.attention
    if a is None:
        raise ValueError("an encoder-decoder has attention")
    lead, over = hidden.shape[:-1], states.shape[:-1]
    query = transpose(view(part.linear("q_proj", hidden), *lead, -1, a.head_dim), 1, 2)
    key = part.linear("k_proj", states)
    value = part.linear("v_proj", states)
    key = transpose(view(key, *over, -1, a.head_dim), 1, 2)
    value = transpose(view(value, *over, -1, a.head_dim), 1, 2)
    output, weights = attend(part, query, key, value, mask, causal=causal, eager=eager_plain)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear("out_proj", output)
    return output, weights
