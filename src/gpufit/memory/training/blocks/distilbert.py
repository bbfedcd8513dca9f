"""DistilBERT with a task head (transformers 5.23.0, models/distilbert/modeling_distilbert.py)."""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import attend, eager_plain
from gpufit.memory.training.blocks.gpt import heads_of
from gpufit.memory.training.blocks.inputs import Inputs, make_inputs
from gpufit.memory.training.loss import token_loss
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import run_layers
from gpufit.memory.training.tape.ops import add, dropout, size_of
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, reshape, select, transpose, view


def distilbert(model: Model) -> Tensor:
    """DistilBertForSequenceClassification.forward and DistilBertForMaskedLM.forward; the loss."""
    name = model.architecture.model_class
    if not name.endswith(("ForSequenceClassification", "ForMaskedLM")):
        raise Undecided(
            f"gpufit has no training form for {name}", hint="use a class with a task head: ...ForSequenceClassification"
        )
    classifies = name.endswith("ForSequenceClassification")
    given = make_inputs(model, (model.plan.micro_batch,) if classifies else None)
    hidden = model.part().run("distilbert", _model, model, given)
    model.tape.ledger.enter("loss")
    logits = (_classify if classifies else _predict)(model.part(), hidden)
    model.logits_bytes = size_of(logits)
    return token_loss(logits, given.labels)


def _model(model: Model, given: Inputs) -> Tensor:
    """DistilBertModel.forward."""
    part = model.part("distilbert.embeddings")
    hidden = part.run("embeddings", _embeddings, part, given)
    return run_layers(
        model, "distilbert.transformer.layer", ("full",) * model.architecture.stacks[0].layers,
        lambda part, _, x: _layer(part, x), lambda: hidden,
    )  # fmt: skip


def _embeddings(part: Part, given: Inputs) -> Tensor:
    words = part.embedding("word_embeddings", given.ids)
    positions = part.embedding("position_embeddings", part.tape.empty((1, given.ids.shape[1]), "int64"))
    embeddings = part.layer_norm("LayerNorm", add(words, positions))
    return dropout(embeddings, part.dropout.embedding)


def _layer(part: Part, hidden: Tensor) -> Tensor:
    """TransformerBlock.forward."""
    attended = part.run("attention", _attention, part.inside("attention"), hidden)
    attended = part.layer_norm("sa_layer_norm", add(attended, hidden))
    fed = part.run("ffn", _feed_forward, part.inside("ffn"), attended)
    return part.layer_norm("output_layer_norm", add(fed, attended))


def _attention(part: Part, hidden: Tensor) -> Tensor:
    """DistilBertSelfAttention.forward."""
    a, lead = heads_of(part.model), hidden.shape[:-1]
    query = transpose(view(part.linear("q_lin", hidden), *lead, -1, a.head_dim), 1, 2)
    key = transpose(view(part.linear("k_lin", hidden), *lead, -1, a.head_dim), 1, 2)
    value = transpose(view(part.linear("v_lin", hidden), *lead, -1, a.head_dim), 1, 2)
    output, _weights = attend(part, query, key, value, None, causal=False, eager=eager_plain)
    output = contiguous(reshape(output, *lead, -1))
    return part.linear("out_lin", output)


def _feed_forward(part: Part, x: Tensor) -> Tensor:
    """FFN.ff_chunk."""
    x = part.linear("lin1", x)
    x = part.run("activation", activate, "gelu", x)
    x = part.linear("lin2", x)
    return dropout(x, part.dropout.hidden)


def _classify(part: Part, hidden: Tensor) -> Tensor:
    pooled = activate("relu", part.linear("pre_classifier", select(hidden, 1)))
    return part.linear("classifier", dropout(pooled, part.dropout.hidden))


def _predict(part: Part, hidden: Tensor) -> Tensor:
    transformed = activate("gelu", part.linear("vocab_transform", hidden))
    return part.linear("vocab_projector", part.layer_norm("vocab_layer_norm", transformed))
