"""Encoders with a task head: BERT, RoBERTa and their kin (transformers 5.23.0, models/bert/modeling_bert.py)."""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import Attended, attend, eager_plain
from gpufit.memory.training.blocks.gpt import heads_of
from gpufit.memory.training.blocks.inputs import Inputs, make_inputs
from gpufit.memory.training.loss import token_loss
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import run_layers
from gpufit.memory.training.tape.ops import add, dropout, size_of
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, reshape, select, transpose, view


def bert(model: Model) -> Tensor:
    """BertForSequenceClassification.forward, BertForMaskedLM.forward and their namesakes; the loss."""
    name = model.architecture.model_class
    bases = ("bert", "roberta", "electra")
    base = next((n for n in bases if model.part(f"{n}.embeddings.word_embeddings").has("weight")), "")
    if name.endswith("ForSequenceClassification"):
        given = make_inputs(model, (model.plan.micro_batch,))
        hidden = model.part().run(base, _bert_model, model, base, given)
        return _classify(model, base, hidden, given.labels)
    if name.endswith("ForMaskedLM"):
        given = make_inputs(model)
        hidden = model.part().run(base, _bert_model, model, base, given)
        return predict(model, hidden, given.labels)
    raise Undecided(
        f"gpufit has no training form for {name}", hint="use a class with a task head: ...ForSequenceClassification"
    )


def _bert_model(model: Model, base: str, given: Inputs) -> Tensor:
    """BertModel.forward."""
    part = model.part(f"{base}.embeddings")
    hidden = part.run("embeddings", _embeddings, part, given)
    if model.part(base).has("embeddings_project.weight"):  # ELECTRA
        hidden = model.part(base).linear("embeddings_project", hidden)
    return run_layers(
        model, f"{base}.encoder.layer", ("full",) * model.architecture.stacks[0].layers,
        lambda part, _, x: _layer(part, None, x), lambda: hidden,
    )  # fmt: skip


def _embeddings(part: Part, given: Inputs) -> Tensor:
    tape = part.tape
    words = part.embedding("word_embeddings", given.ids)
    kinds = part.embedding("token_type_embeddings", tape.empty((1, given.ids.shape[1]), "int64"))
    embeddings = add(words, kinds)
    positions = part.embedding("position_embeddings", tape.empty((1, given.ids.shape[1]), "int64"))
    embeddings = add(embeddings, positions)
    embeddings = part.layer_norm("LayerNorm", embeddings)
    return dropout(embeddings, part.dropout.embedding)


def _layer(part: Part, mask: Tensor | None, hidden: Tensor) -> Tensor:
    """BertLayer.forward."""
    attended, _ = part.run("attention", _attention, part.inside("attention"), mask, hidden)
    output = attended
    return feed_forward(part, output)


def _attention(part: Part, mask: Tensor | None, hidden: Tensor) -> Attended:
    output, weights = part.run("self", _self_attention, part.inside("self"), mask, hidden)
    output = part.run("output", output_layer, part.inside("output"), output, hidden)
    return output, weights


def _self_attention(part: Part, mask: Tensor | None, hidden: Tensor) -> Attended:
    a = heads_of(part.model)
    lead = hidden.shape[:-1]
    query = transpose(view(part.linear("query", hidden), *lead, -1, a.head_dim), 1, 2)
    key = transpose(view(part.linear("key", hidden), *lead, -1, a.head_dim), 1, 2)
    value = transpose(view(part.linear("value", hidden), *lead, -1, a.head_dim), 1, 2)
    output, weights = attend(part, query, key, value, mask, causal=False, eager=eager_plain)
    output = contiguous(reshape(output, *lead, -1))
    return output, weights


def output_layer(part: Part, hidden: Tensor, residual: Tensor) -> Tensor:
    """BertSelfOutput.forward and BertOutput.forward."""
    hidden = part.linear("dense", hidden)
    hidden = dropout(hidden, part.dropout.hidden)
    return part.layer_norm("LayerNorm", add(hidden, residual))


def feed_forward(part: Part, attended: Tensor) -> Tensor:
    """BertIntermediate.forward and BertOutput.forward."""
    hidden = part.run("intermediate", _intermediate, part.inside("intermediate"), attended)
    return part.run("output", output_layer, part.inside("output"), hidden, attended)


def _intermediate(part: Part, hidden: Tensor) -> Tensor:
    hidden = part.linear("dense", hidden)
    return part.run("intermediate_act_fn", activate, "gelu", hidden)


def _classify(model: Model, base: str, hidden: Tensor, labels: Tensor) -> Tensor:
    """The pooler's dense layer and classifier, or RoBERTa's head of two layers."""
    part = model.part()
    model.tape.ledger.enter("loss")
    if part.has("classifier.dense.weight"):
        head = part.inside("classifier")
        pooled = dropout(select(hidden, 1), part.dropout.hidden)
        pooled = dropout(activate("tanh", head.linear("dense", pooled)), part.dropout.hidden)
        logits = head.linear("out_proj", pooled)
    else:
        pooler = part.inside(f"{base}.pooler")
        pooled = activate("tanh", pooler.linear("dense", select(hidden, 1)))
        pooled = dropout(pooled, part.dropout.hidden)
        logits = part.linear("classifier", pooled)
    model.logits_bytes = size_of(logits)
    return token_loss(logits, labels)


def predict(model: Model, hidden: Tensor, labels: Tensor) -> Tensor:
    """The masked-language-model head and its loss."""
    model.tape.ledger.enter("loss")
    logits = _prediction_scores(model.part(), hidden)
    model.logits_bytes = size_of(logits)
    return token_loss(logits, labels)


def _prediction_scores(part: Part, hidden: Tensor) -> Tensor:
    """BertOnlyMLMHead or RobertaLMHead: transform, LayerNorm, decoder."""
    if part.has("lm_head.dense.weight"):
        head = part.inside("lm_head")
        hidden = head.layer_norm("layer_norm", activate("gelu", head.linear("dense", hidden)))
        return head.linear("decoder", hidden)
    transform = part.inside("cls.predictions.transform")
    hidden = transform.layer_norm("LayerNorm", activate("gelu", transform.linear("dense", hidden)))
    return part.linear("cls.predictions.decoder", hidden)
