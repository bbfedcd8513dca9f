"""Nomic BERT: BERT with rotary positions and a gated MLP.

Mirrors transformers 5.23.0, models/nomic_bert/modeling_nomic_bert.py.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.bert import pooler, sizes, stack
from gpufit.facts.families.encoder_heads import bert_lm_head, dense, encoder, token_head
from gpufit.facts.families.record import head_of, labels
from gpufit.records import replace


def read(config: Config) -> Architecture:
    """NomicBertConfig -> NomicBertModel, NomicBertForMaskedLM or a classifier."""
    model_class, head = head_of(config, "NomicBert", "ForMaskedLM")
    s = sizes(config)
    head_dim = config.size("head_dim", max(s.hidden // s.heads, 1))
    inner = s.heads * head_dim

    t = Tensors()
    base = t if head == "Model" else t.under("nomic_bert")
    base.embedding("embeddings.word_embeddings", s.vocab, s.hidden)
    base.embedding("embeddings.token_type_embeddings", s.token_types, s.hidden)
    base.norm("embeddings.LayerNorm", s.hidden, bias=True)
    base.buffer("embeddings.position_ids", (1, s.positions), "int64", role="embedding")
    base.buffer("embeddings.token_type_ids", (1, s.positions), "int64", role="embedding")
    if head == "ForSequenceClassification":
        pooler(base, s.hidden)
    block = base.blocks("layers", s.layers)
    block.norm("post_attention_layernorm", s.hidden, bias=True)
    block.linear("mlp.gate_proj", s.hidden, s.width, role="mlp")
    block.linear("mlp.up_proj", s.hidden, s.width, role="mlp")
    block.linear("mlp.down_proj", s.width, s.hidden, role="mlp")
    for name in ("q_proj", "k_proj", "v_proj"):
        block.linear(f"self_attn.{name}", s.hidden, inner, role="attention")
    block.linear("self_attn.o_proj", inner, s.hidden, role="attention")
    block.norm("post_mlp_layernorm", s.hidden, bias=True)
    base.buffer("rotary_emb.inv_freq", (head_dim // 2,), "fp32")
    base.buffer("rotary_emb.original_inv_freq", (head_dim // 2,), "fp32")

    output = None
    if head == "ForMaskedLM":
        word = "nomic_bert.embeddings.word_embeddings.weight" if s.tied else None
        output = bert_lm_head(t, "cls", s.hidden, s.hidden, s.vocab, tied_to=word, norm="layer_norm")
    elif head == "ForSequenceClassification":
        dense(t, "classifier", s.hidden, labels(config))
    elif head != "Model":
        token_head(t, config, head, s.hidden, model_class)
    attention = Attention(heads=s.heads, kv_heads=s.heads, head_dim=head_dim, value_dim=head_dim, rope_dim=head_dim)
    return encoder(
        config, t, model_class=model_class, stack=replace(stack(config, s), attention=attention, gated=True),
        vocab=s.vocab, max_context=s.positions, form="nomic_bert", output=output,
    )  # fmt: skip
