"""MPNet: RoBERTa's positions, and one table of relative biases shared by every layer.

Mirrors transformers 5.23.0, models/mpnet/modeling_mpnet.py.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.bert import feed_forward, pooler, sizes, stack
from gpufit.facts.families.encoder_heads import classification_head, encoder, roberta_lm_head, token_head
from gpufit.facts.families.record import head_of, labels


def read(config: Config) -> Architecture:
    """MPNetConfig -> MPNetModel, MPNetForMaskedLM or a classifier."""
    model_class, head = head_of(config, "MPNet", "ForMaskedLM")
    s = sizes(config)
    buckets = config.size("relative_attention_num_buckets", 32)

    t = Tensors()
    base = t if head == "Model" else t.under("mpnet")
    base.embedding("embeddings.word_embeddings", s.vocab, s.hidden)
    base.embedding("embeddings.position_embeddings", s.positions, s.hidden)
    base.norm("embeddings.LayerNorm", s.hidden, bias=True)
    base.buffer("embeddings.position_ids", (1, s.positions), "int64", role="embedding")
    block = base.blocks("encoder.layer", s.layers)
    for name in "qkvo":
        block.linear(f"attention.attn.{name}", s.hidden, s.hidden, bias=True, role="attention")
    block.norm("attention.LayerNorm", s.hidden, bias=True)
    feed_forward(block, s.hidden, s.width)
    base.embedding("encoder.relative_attention_bias", buckets, s.heads, role="attention")

    output = None
    if head == "Model":
        pooler(base, s.hidden)
    elif head == "ForMaskedLM":
        word = "mpnet.embeddings.word_embeddings.weight" if s.tied else None
        output = roberta_lm_head(t, s.hidden, s.vocab, tied_to=word)
    elif head == "ForSequenceClassification":
        classification_head(t, s.hidden, labels(config))
    else:
        token_head(t, config, head, s.hidden, model_class)
    return encoder(
        config, t, model_class=model_class, stack=stack(config, s), vocab=s.vocab,
        max_context=max(s.positions - 2, 1), output=output,
    )  # fmt: skip
