"""BERT and the encoders built of its blocks: RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA.

Mirrors transformers 5.23.0, models/bert/modeling_bert.py, models/roberta/modeling_roberta.py (whose classes
XLM-RoBERTa and CamemBERT copy) and models/electra/modeling_electra.py.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.encoder_heads import (
    bert_lm_head,
    classification_head,
    dense,
    encoder,
    roberta_lm_head,
    token_head,
)
from gpufit.facts.families.record import even_attention, head_of, labels
from gpufit.records import record


@record
class Sizes:
    """The dimensions that BERT's descendants name alike."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    width: int
    positions: int
    token_types: int
    embedding: int
    tied: bool


def read(config: Config) -> Architecture:
    """BertConfig -> BertModel, BertForMaskedLM, BertForPreTraining or a classifier."""
    model_class, head = head_of(config, "Bert", "ForMaskedLM")
    s = sizes(config)
    t = Tensors()
    base = t if head == "Model" else t.under("bert")
    embeddings(base.under("embeddings"), s)
    blocks(base, s)
    output = None
    if head in ("Model", "ForPreTraining", "ForSequenceClassification"):
        pooler(base, s.hidden)
    if head in ("ForMaskedLM", "ForPreTraining"):
        word = "bert.embeddings.word_embeddings.weight" if s.tied else None
        output = bert_lm_head(t, "cls", s.hidden, s.hidden, s.vocab, tied_to=word)
        if head == "ForPreTraining":
            dense(t, "cls.seq_relationship", s.hidden, 2)
    elif head == "ForSequenceClassification":
        dense(t, "classifier", s.hidden, labels(config))
    elif head != "Model":
        token_head(t, config, head, s.hidden, model_class)
    return encoder(
        config,
        t,
        model_class=model_class,
        stack=stack(config, s),
        vocab=s.vocab,
        max_context=s.positions,
        output=output,
    )


def read_roberta(config: Config) -> Architecture:
    """RobertaConfig -> RobertaModel, RobertaForMaskedLM or a classifier."""
    return _roberta(config, "Roberta", head_first=False)


def read_xlm_roberta(config: Config) -> Architecture:
    """XLMRobertaConfig -> the same layout under its own class names; its classes create the head first."""
    return _roberta(config, "XLMRoberta", head_first=True)


def read_camembert(config: Config) -> Architecture:
    """CamembertConfig -> the same layout under its own class names; its classes create the head first."""
    return _roberta(config, "Camembert", head_first=True)


def _roberta(config: Config, family: str, *, head_first: bool) -> Architecture:
    """Positions start behind the padding index, so the first rows of the table are never used."""
    model_class, head = head_of(config, family, "ForMaskedLM")
    s = sizes(config)
    t = Tensors()
    if head == "Model" or not head_first:
        _roberta_body(t if head == "Model" else t.under("roberta"), s)
    output = None
    if head == "Model":
        pooler(t, s.hidden)
    elif head == "ForMaskedLM":
        word = "roberta.embeddings.word_embeddings.weight" if s.tied else None
        output = roberta_lm_head(t, s.hidden, s.vocab, tied_to=word)
    elif head == "ForSequenceClassification":
        classification_head(t, s.hidden, labels(config))
    else:
        token_head(t, config, head, s.hidden, model_class)
    if head != "Model" and head_first:
        _roberta_body(t.under("roberta"), s)
    padding = config.int("pad_token_id", 1)
    return encoder(
        config, t, model_class=model_class, stack=stack(config, s), vocab=s.vocab,
        max_context=max(s.positions - padding - 1, 1), output=output,
    )  # fmt: skip


def _roberta_body(t: Tensors, s: Sizes) -> None:
    embeddings(t.under("embeddings"), s, positions_last=True)
    blocks(t, s)


def read_electra(config: Config) -> Architecture:
    """ElectraConfig -> ElectraModel, ElectraForPreTraining (discriminator), ElectraForMaskedLM (generator)."""
    model_class, head = head_of(config, "Electra", "ForPreTraining")
    s = sizes(config, embedding=config.size("embedding_size", 128))
    t = Tensors()
    base = t if head == "Model" else t.under("electra")
    embeddings(base.under("embeddings"), s)
    if s.embedding != s.hidden:
        base.linear("embeddings_project", s.embedding, s.hidden, bias=True, role="embedding")
    blocks(base, s)
    output = None
    if head == "ForPreTraining":
        dense(t, "discriminator_predictions.dense", s.hidden, s.hidden)
        dense(t, "discriminator_predictions.dense_prediction", s.hidden, 1)
    elif head == "ForMaskedLM":
        t.norm("generator_predictions.LayerNorm", s.embedding, bias=True, role="head")
        dense(t, "generator_predictions.dense", s.hidden, s.embedding)
        word = "electra.embeddings.word_embeddings.weight" if s.tied else None
        t.linear("generator_lm_head", s.embedding, s.vocab, bias=True, role="output", tied_to=word)
        output = "generator_lm_head.weight"
    elif head == "ForSequenceClassification":
        classification_head(t, s.hidden, labels(config))
    elif head != "Model":
        token_head(t, config, head, s.hidden, model_class)
    return encoder(
        config,
        t,
        model_class=model_class,
        stack=stack(config, s),
        vocab=s.vocab,
        max_context=s.positions,
        output=output,
    )


def sizes(config: Config, *, embedding: int | None = None, token_types: int = 2) -> Sizes:
    """Read what BERT's descendants name alike; ``embedding`` is its width where it is not the hidden size."""
    width = config.size("hidden_size")
    return Sizes(
        vocab=config.size("vocab_size"),
        hidden=width,
        layers=config.layers("num_hidden_layers"),
        heads=config.layers("num_attention_heads"),
        width=config.size("intermediate_size"),
        positions=config.size("max_position_embeddings", 512),
        token_types=config.int("type_vocab_size", token_types),
        embedding=embedding or width,
        tied=config.flag("tie_word_embeddings", True),
    )


def stack(config: Config, s: Sizes) -> Stack:
    """One bidirectional stack."""
    return Stack(
        role="encoder", layers=s.layers, hidden=s.hidden, mlp_width=s.width,
        attention=even_attention(config, s.hidden, s.heads),
    )  # fmt: skip


def embeddings(t: Tensors, s: Sizes, *, positions_last: bool = False) -> None:
    """Word, position and token-type tables and their norm; RoBERTa's class creates the positions last."""
    t.embedding("word_embeddings", s.vocab, s.embedding)
    if not positions_last:
        t.embedding("position_embeddings", s.positions, s.embedding)
    t.embedding("token_type_embeddings", s.token_types, s.embedding)
    t.norm("LayerNorm", s.embedding, bias=True)
    if positions_last:
        t.embedding("position_embeddings", s.positions, s.embedding)
    t.buffer("position_ids", (1, s.positions), "int64", role="embedding")
    t.buffer("token_type_ids", (1, s.positions), "int64", role="embedding")


def blocks(t: Tensors, s: Sizes) -> None:
    """BertLayer × layers."""
    block = t.blocks("encoder.layer", s.layers)
    for name in ("query", "key", "value"):
        block.linear(f"attention.self.{name}", s.hidden, s.hidden, bias=True, role="attention")
    block.linear("attention.output.dense", s.hidden, s.hidden, bias=True, role="attention")
    block.norm("attention.output.LayerNorm", s.hidden, bias=True)
    feed_forward(block, s.hidden, s.width)


def feed_forward(block: Tensors, hidden: int, width: int) -> None:
    """BertIntermediate and BertOutput."""
    block.linear("intermediate.dense", hidden, width, bias=True, role="mlp")
    block.linear("output.dense", width, hidden, bias=True, role="mlp")
    block.norm("output.LayerNorm", hidden, bias=True)


def pooler(t: Tensors, hidden: int) -> None:
    """BertPooler: one dense layer over the first token."""
    dense(t, "pooler.dense", hidden, hidden)
