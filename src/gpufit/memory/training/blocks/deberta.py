"""DeBERTa v2 and v3 with a task head (transformers 5.23.0, models/deberta_v2/modeling_deberta_v2.py).

Its disentangled attention is written out: there is no other implementation than this one.
"""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.memory.training.activations import activate
from gpufit.memory.training.blocks.bert import feed_forward, output_layer, predict
from gpufit.memory.training.blocks.gpt import heads_of
from gpufit.memory.training.blocks.inputs import Inputs, make_inputs
from gpufit.memory.training.loss import token_loss
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import run_layers
from gpufit.memory.training.tape.indexing import gather, masked_fill, repeat
from gpufit.memory.training.tape.ops import add, add_into, cast, dropout, like, mul, scale, shift, size_of, softmax
from gpufit.memory.training.tape.products import bmm
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, expand, permute, select, transpose, unsqueeze, view


def deberta(model: Model) -> Tensor:
    """DebertaV2ForSequenceClassification.forward and DebertaV2ForMaskedLM.forward; the loss."""
    name = model.architecture.model_class
    part = model.part()
    if part.has("deberta.encoder.conv.conv.weight"):
        raise Undecided(
            "gpufit has no training form for the convolution of DeBERTa v2-xlarge and larger",
            hint="gpufit replay --train runs the real code instead",
        )
    if name.endswith("ForSequenceClassification"):
        given = make_inputs(model, (model.plan.micro_batch,))
        return _classify(model, part.run("deberta", _model, model, given), given.labels)
    if name.endswith("ForMaskedLM") and part.has("cls.predictions.transform.dense.weight"):
        given = make_inputs(model)
        return predict(model, part.run("deberta", _model, model, given), given.labels)
    raise Undecided(
        f"gpufit has no training form for {name}", hint="use a class with a task head: ...ForSequenceClassification"
    )


def _model(model: Model, given: Inputs) -> Tensor:
    """DebertaV2Model.forward with DebertaV2Encoder.forward, which names every layer's output until it is done."""
    tape, tokens = model.tape, given.ids.shape[1]
    kinds = tape.empty(given.ids.shape, "int64")  # token types, zeros that few checkpoints embed
    part = model.part("deberta.embeddings")
    hidden = part.run("embeddings", _embeddings, part, given, kinds)
    mask = tape.empty((given.ids.shape[0], 1, tokens, tokens), "int64")
    encoder = model.part("deberta.encoder")
    relative = positions = None
    if encoder.has("rel_embeddings.weight"):
        positions = tape.empty((1, tokens, tokens), "int64")
        relative = encoder.weight("rel_embeddings.weight")
        if encoder.has("LayerNorm.weight"):
            relative = encoder.layer_norm("LayerNorm", relative)
    outputs = [hidden]

    def layer(part: Part, _: str, hidden: Tensor) -> Tensor:
        hidden = _layer(part, mask, positions, relative, hidden)
        if tape.running_ahead:
            outputs.append(hidden)
        return hidden

    # whole: frozen layers keep their outputs for this function alone, not for backward
    hidden = run_layers(
        model, "deberta.encoder.layer", ("full",) * model.architecture.stacks[0].layers, layer, lambda: hidden,
        whole=model.plan.trains_adapters,
    )  # fmt: skip
    outputs.clear()
    del kinds
    return hidden


def _embeddings(part: Part, given: Inputs, kinds: Tensor) -> Tensor:
    """DebertaV2Embeddings.forward; without position_biased_input positions are zeros that nobody adds."""
    tape = part.tape
    embeddings = part.embedding("word_embeddings", given.ids)
    if part.has("position_embeddings.weight"):
        positions = part.embedding("position_embeddings", tape.empty((1, given.ids.shape[1]), "int64"))
        embeddings = add(embeddings, positions)
    else:
        positions = tape.empty(embeddings.shape, embeddings.dtype)
    if part.has("token_type_embeddings.weight"):
        embeddings = add(embeddings, part.embedding("token_type_embeddings", kinds))
    if part.has("embed_proj.weight"):
        embeddings = part.linear("embed_proj", embeddings)
    embeddings = part.layer_norm("LayerNorm", embeddings)
    embeddings = mul(embeddings, cast(unsqueeze(given.attention_mask, 2), embeddings.dtype))
    return dropout(embeddings, part.dropout.embedding)


def _layer(part: Part, mask: Tensor, positions: Tensor | None, relative: Tensor | None, hidden: Tensor) -> Tensor:
    """DebertaV2Layer.forward."""
    attended = part.run("attention", _attention, part.inside("attention"), mask, positions, relative, hidden)
    return feed_forward(part, attended)


def _attention(part: Part, mask: Tensor, positions: Tensor | None, relative: Tensor | None, hidden: Tensor) -> Tensor:
    output = part.run("self", _self_attention, part.inside("self"), mask, positions, relative, hidden)
    return part.run("output", output_layer, part.inside("output"), output, hidden)


def _heads(part: Part, x: Tensor) -> Tensor:
    """transpose_for_scores: (batch · heads, tokens, dim), each head's rows together."""
    heads = heads_of(part.model).heads
    swapped = contiguous(permute(view(x, *x.shape[:-1], heads, -1), 0, 2, 1, 3))
    return view(swapped, -1, *swapped.shape[2:])


def _self_attention(
    part: Part, mask: Tensor, positions: Tensor | None, relative: Tensor | None, hidden: Tensor
) -> Tensor:
    """DisentangledSelfAttention.forward."""
    batch, tokens, width = hidden.shape
    query = _heads(part, part.linear("query_proj", hidden))
    key = _heads(part, part.linear("key_proj", hidden))
    value = _heads(part, part.linear("value_proj", hidden))
    scores = bmm(query, scale(transpose(key, -1, -2), "div"))
    bias = None
    if relative is not None and positions is not None:
        relative = dropout(relative, part.dropout.hidden)
        bias = _position_bias(part, query, key, positions, relative, batch)
        if bias is not None:
            scores = add(scores, bias)
    scores = view(scores, batch, -1, tokens, tokens)
    mask = cast(mask, "bool")
    scores = masked_fill(scores, _inverted(mask))
    probabilities = softmax(scores)
    probabilities = dropout(probabilities, part.dropout.attention)
    context = bmm(view(probabilities, -1, tokens, tokens), value)
    context = contiguous(permute(view(context, batch, -1, tokens, context.shape[-1]), 0, 2, 1, 3))
    return view(context, batch, tokens, width)


def _inverted(mask: Tensor) -> Tensor:
    return mask.tape.empty(mask.shape, "bool")


def _position_bias(
    part: Part, query: Tensor, key: Tensor, positions: Tensor, relative: Tensor, batch: int
) -> Tensor | None:
    """disentangled_attention_bias: content to position (c2p), then position to content (p2c).

    Of kinds with projections of their own the inventory says which there are; shared ones have both, as published.
    """
    rows = unsqueeze(relative, 0)
    own = part.has("pos_key_proj.weight") or part.has("pos_query_proj.weight")
    position_key = position_query = None
    if not own:
        position_query = repeat(_heads(part, part.linear("query_proj", rows)), batch)
        position_key = repeat(_heads(part, part.linear("key_proj", rows)), batch)
    elif part.has("pos_key_proj.weight"):
        position_key = repeat(_heads(part, part.linear("pos_key_proj", rows)), batch)
    if own and part.has("pos_query_proj.weight"):
        position_query = repeat(_heads(part, part.linear("pos_query_proj", rows)), batch)
    score = None
    if position_key is not None:
        index = _clamped(positions)
        to_position = bmm(query, transpose(position_key, -1, -2))
        to_position = gather(to_position, expand(index, query.shape[0], *positions.shape[1:]))
        score = _added_to_zero(scale(to_position, "div"))
    if position_query is not None:
        their_index = _clamped(positions, negated=True)
        to_content = bmm(key, transpose(position_query, -1, -2))
        to_content = transpose(gather(to_content, expand(their_index, key.shape[0], *positions.shape[1:])), -1, -2)
        divided = scale(to_content, "div")
        score = _added_to_zero(divided) if score is None else add_into(score, divided)
    return score


def _added_to_zero(x: Tensor) -> Tensor:
    """``score = 0; score += x``: the number takes no tensor, the sum is one."""
    return shift(x)


def _clamped(positions: Tensor, *, negated: bool = False) -> Tensor:
    """torch.clamp(relative_pos + att_span, 0, att_span * 2 - 1), int64."""
    turned = like(positions) if negated else positions
    shifted = like(turned)
    del turned
    return like(shifted)


def _classify(model: Model, hidden: Tensor, labels: Tensor) -> Tensor:
    """ContextPooler over the first token, dropout, classifier; labelled rows are gathered before the loss."""
    model.tape.ledger.enter("loss")
    part = model.part()
    pooled = activate("gelu", part.inside("pooler").linear("dense", select(hidden, 1)))
    pooled = dropout(pooled, part.dropout.hidden)
    logits = part.linear("classifier", pooled)
    model.logits_bytes = size_of(logits)
    index = expand(model.tape.empty((labels.shape[0], 1), "int64"), *logits.shape)
    return token_loss(cast(gather(logits, index), "fp32"), labels)
