"""DistilBERT: BERT's blocks under other names, without token types or pooler.

Mirrors transformers 5.23.0, models/distilbert/modeling_distilbert.py.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.encoder_heads import dense, encoder, token_head
from gpufit.facts.families.record import even_attention, head_of, labels


def read(config: Config) -> Architecture:
    """DistilBertConfig -> DistilBertModel, DistilBertForMaskedLM or a classifier."""
    model_class, head = head_of(config, "DistilBert", "ForMaskedLM")
    vocab = config.size("vocab_size")
    dim = config.size("dim")
    layers = config.layers("n_layers")
    heads = config.layers("n_heads")
    width = config.size("hidden_dim")
    positions = config.size("max_position_embeddings", 512)
    tied = config.flag("tie_word_embeddings", True)

    t = Tensors()
    base = t if head == "Model" else t.under("distilbert")
    base.embedding("embeddings.word_embeddings", vocab, dim)
    base.embedding("embeddings.position_embeddings", positions, dim)
    base.norm("embeddings.LayerNorm", dim, bias=True)
    base.buffer("embeddings.position_ids", (1, positions), "int64", role="embedding")
    block = base.blocks("transformer.layer", layers)
    for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
        block.linear(f"attention.{name}", dim, dim, bias=True, role="attention")
    block.norm("sa_layer_norm", dim, bias=True)
    block.linear("ffn.lin1", dim, width, bias=True, role="mlp")
    block.linear("ffn.lin2", width, dim, bias=True, role="mlp")
    block.norm("output_layer_norm", dim, bias=True)

    output = None
    if head == "ForMaskedLM":
        dense(t, "vocab_transform", dim, dim)
        t.norm("vocab_layer_norm", dim, bias=True, role="head")
        word = "distilbert.embeddings.word_embeddings.weight" if tied else None
        t.linear("vocab_projector", dim, vocab, bias=True, role="output", tied_to=word)
        output = "vocab_projector.weight"
    elif head == "ForSequenceClassification":
        dense(t, "pre_classifier", dim, dim)
        dense(t, "classifier", dim, labels(config))
    elif head != "Model":
        token_head(t, config, head, dim, model_class)
    stack = Stack(
        role="encoder", layers=layers, hidden=dim, mlp_width=width, attention=even_attention(config, dim, heads)
    )
    return encoder(config, t, model_class=model_class, stack=stack, vocab=vocab, max_context=positions, output=output)
