"""BART and its kin, which normalize after each half of a layer or before it (transformers 5.23.0).

Mirrors models/{bart,mbart,pegasus,marian,m2m_100,blenderbot,blenderbot_small}/modeling_*.py. A norm at a stack's end
tells those that normalize before.
"""

from __future__ import annotations

from gpufit.facts.architecture import Attention, Stack
from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import Attended, attend, eager_plain
from gpufit.memory.training.blocks.inputs import make_inputs
from gpufit.memory.training.loss import token_loss
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import run_layers
from gpufit.memory.training.tape.ops import add, clamp, dropout, scale, shift, size_of
from gpufit.memory.training.tape.tensor import Shape, Tensor
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
    logits = model.part().linear("lm_head", hidden)
    if any(group.name == "final_logits_bias" for group in model.architecture.tensors.groups):
        logits = shift(logits)  # a buffer
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
    inputs_embeds = _words(base, ids)
    embed_pos = _positions(base, ids.shape, inputs_embeds)
    before = base.has("layer_norm.weight")
    hidden = run_layers(
        model, "model.encoder.layers", ("full",) * stack.layers,
        lambda part, _, x: _encoder_layer(part, stack, before, x), lambda: _begin(base, inputs_embeds, embed_pos),
    )  # fmt: skip
    return base.layer_norm("layer_norm", hidden) if before else hidden


def _words(base: Part, ids: Tensor) -> Tensor:
    """Words times a number: in the embedding's own class, or (Pegasus, Marian) by the stack."""
    positions = base.model.find("model.encoder.embed_positions.weight", ())
    if positions is not None and positions.group.module == "sines":
        return scale(base.embedding("embed_tokens", ids))
    return base.embedding("embed_tokens", ids, scaled=True)


def _positions(base: Part, shape: Shape, words: Tensor) -> Tensor:
    """A learned table, a frozen one of sines, or sines picked from a buffer for every token."""
    ids = base.tape.empty(shape, "int64")
    if base.has("embed_positions.weight"):
        return base.embedding("embed_positions", ids)
    return base.tape.empty(words.shape, words.dtype)


def _begin(base: Part, words: Tensor, positions: Tensor) -> Tensor:
    hidden = add(words, positions)
    if base.has("layernorm_embedding.weight"):
        hidden = base.layer_norm("layernorm_embedding", hidden)
    return dropout(hidden, base.dropout.embedding)


def _encoder_layer(part: Part, stack: Stack, before: bool, hidden: Tensor) -> Tensor:
    """BartEncoderLayer.forward; MBartEncoderLayer.forward, which cuts infinities in fp16, where ``before``."""
    residual = hidden
    if before:
        hidden = part.layer_norm("self_attn_layer_norm", hidden)
    hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), stack, hidden, hidden, None, False)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    if not before:
        hidden = part.layer_norm("self_attn_layer_norm", hidden)
    del residual  # which the code rebinds
    hidden = _feed_forward(part, before, hidden)
    return clamp(hidden) if hidden.dtype == "fp16" and before else hidden


def _feed_forward(part: Part, before: bool, hidden: Tensor) -> Tensor:
    residual = hidden
    if before:
        hidden = part.layer_norm("final_layer_norm", hidden)
    hidden = activate("gelu", part.linear("fc1", hidden))
    hidden = dropout(hidden, part.dropout.activation)
    hidden = part.linear("fc2", hidden)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    return hidden if before else part.layer_norm("final_layer_norm", hidden)


def _decoder(model: Model, ids: Tensor, encoded: Tensor) -> Tensor:
    """BartDecoder.forward."""
    base, stack = model.part("model.decoder"), _stack(model, "decoder")
    inputs_embeds = _words(base, ids)
    mask = causal_mask(model, inputs_embeds)
    positions = _positions(base, (1, ids.shape[1]), inputs_embeds)
    before = base.has("layer_norm.weight")
    hidden = run_layers(
        model, "model.decoder.layers", ("full",) * stack.layers,
        lambda part, _, x: _decoder_layer(part, stack, before, x, mask, encoded),
        lambda: _begin(base, inputs_embeds, positions),
    )  # fmt: skip
    return base.layer_norm("layer_norm", hidden) if before else hidden


def _decoder_layer(
    part: Part, stack: Stack, before: bool, hidden: Tensor, mask: Tensor | None, encoded: Tensor
) -> Tensor:
    """BartDecoderLayer.forward; MBartDecoderLayer.forward where ``before``."""
    residual = hidden
    if before:
        hidden = part.layer_norm("self_attn_layer_norm", hidden)
    hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), stack, hidden, hidden, mask, True)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    if not before:
        hidden = part.layer_norm("self_attn_layer_norm", hidden)
    residual = hidden
    if before:
        hidden = part.layer_norm("encoder_attn_layer_norm", hidden)
    hidden, _ = part.run("encoder_attn", _attention, part.inside("encoder_attn"), stack, hidden, encoded, None, False)
    hidden = dropout(hidden, part.dropout.hidden)
    hidden = add(residual, hidden)
    if not before:
        hidden = part.layer_norm("encoder_attn_layer_norm", hidden)
    del residual
    return _feed_forward(part, before, hidden)


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
