"""ALBERT: one layer (or one per group) run over and over, narrow embeddings.

Mirrors transformers 5.23.0, models/albert/modeling_albert.py.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.bert import embeddings, sizes, stack
from gpufit.facts.families.encoder_heads import dense, encoder, token_head
from gpufit.facts.families.record import head_of, labels


def read(config: Config) -> Architecture:
    """AlbertConfig -> AlbertModel, AlbertForMaskedLM, AlbertForPreTraining or a classifier."""
    model_class, head = head_of(config, "Albert", "ForMaskedLM")
    s = sizes(config, embedding=config.size("embedding_size", 128))
    groups = config.layers("num_hidden_groups", 1)
    inner = config.layers("inner_group_num", 1)

    t = Tensors()
    base = t if head == "Model" else t.under("albert")
    embeddings(base.under("embeddings"), s)
    base.linear("encoder.embedding_hidden_mapping_in", s.embedding, s.hidden, bias=True, role="embedding")
    block = base.blocks("encoder.albert_layer_groups", groups).blocks("albert_layers", inner)
    block.norm("full_layer_layer_norm", s.hidden, bias=True)
    for name in ("query", "key", "value", "dense"):
        block.linear(f"attention.{name}", s.hidden, s.hidden, bias=True, role="attention")
    block.norm("attention.LayerNorm", s.hidden, bias=True)
    block.linear("ffn", s.hidden, s.width, bias=True, role="mlp")
    block.linear("ffn_output", s.width, s.hidden, bias=True, role="mlp")
    if head in ("Model", "ForPreTraining", "ForSequenceClassification"):
        dense(base, "pooler", s.hidden, s.hidden)

    output = None
    if head in ("ForMaskedLM", "ForPreTraining"):
        output = "predictions.decoder.weight"
        t.add("predictions.bias", (s.vocab,), "parameter", "head")
        t.norm("predictions.LayerNorm", s.embedding, bias=True, role="head")
        dense(t, "predictions.dense", s.hidden, s.embedding)
        word = "albert.embeddings.word_embeddings.weight" if s.tied else None
        t.linear("predictions.decoder", s.embedding, s.vocab, role="output", tied_to=word)
        bias = "predictions.bias" if s.tied else None
        t.add("predictions.decoder.bias", (s.vocab,), "linear", "output", tied_to=bias)
        if head == "ForPreTraining":
            dense(t, "sop_classifier.classifier", s.hidden, labels(config))
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
