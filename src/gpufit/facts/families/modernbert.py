"""ModernBERT: rotary positions, gated MLP, and full attention in every third layer only.

Mirrors transformers 5.23.0, models/modernbert/modeling_modernbert.py.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.encoder_heads import dense, encoder
from gpufit.facts.families.record import even_attention, head_of, labels, unknown_class
from gpufit.records import replace

_HEADS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")


def read(config: Config) -> Architecture:
    """ModernBertConfig -> ModernBertModel, ModernBertForMaskedLM or a classifier."""
    model_class, head = head_of(config, "ModernBert", "ForMaskedLM")
    if head not in _HEADS:
        raise unknown_class(config, model_class)
    vocab = config.size("vocab_size", 50368)
    hidden = config.size("hidden_size", 768)
    layers = config.layers("num_hidden_layers", 22)
    width = config.size("intermediate_size", 1152)
    norm_bias = config.flag("norm_bias", False)
    attention_bias = config.flag("attention_bias", False)
    mlp_bias = config.flag("mlp_bias", False)
    attention = even_attention(config, hidden, config.layers("num_attention_heads", 12))

    t = Tensors()
    base = t if head == "Model" else t.under("model")
    base.embedding("embeddings.tok_embeddings", vocab, hidden)
    base.norm("embeddings.norm", hidden, bias=norm_bias)
    # the first block reads what the embedding's norm just wrote, so it has no norm of its own
    base.blocks("layers", tuple(range(1, layers))).norm("attn_norm", hidden, bias=norm_bias)
    block = base.blocks("layers", layers)
    block.linear("attn.Wqkv", hidden, 3 * hidden, bias=attention_bias, role="attention")
    block.linear("attn.Wo", hidden, hidden, bias=attention_bias, role="attention")
    block.norm("mlp_norm", hidden, bias=norm_bias)
    block.linear("mlp.Wi", hidden, 2 * width, bias=mlp_bias, role="mlp")
    block.linear("mlp.Wo", width, hidden, bias=mlp_bias, role="mlp")
    base.norm("final_norm", hidden, bias=norm_bias)
    for kind in sorted(set(_layer_kinds(config, layers))):
        base.buffer(f"rotary_emb.{kind}_inv_freq", (attention.head_dim // 2,), "fp32")
        base.buffer(f"rotary_emb.{kind}_original_inv_freq", (attention.head_dim // 2,), "fp32")

    output = None
    if head != "Model":
        t.linear("head.dense", hidden, hidden, bias=config.flag("classifier_bias", False), role="head")
        t.norm("head.norm", hidden, bias=norm_bias, role="head")
    if head == "ForMaskedLM":
        tied = config.flag("tie_word_embeddings", True)
        word = "model.embeddings.tok_embeddings.weight" if tied else None
        t.linear("decoder", hidden, vocab, bias=config.flag("decoder_bias", True), role="output", tied_to=word)
        output = "decoder.weight"
    elif head != "Model":
        dense(t, "classifier", hidden, labels(config))
    window = config.size("local_attention", 128)
    stack = Stack(
        role="encoder", layers=layers, hidden=hidden, mlp_width=width, gated=True,
        attention=replace(attention, rope_dim=attention.head_dim, window_tokens=window),
    )  # fmt: skip
    return encoder(
        config, t, model_class=model_class, stack=stack, vocab=vocab, form="modernbert", output=output,
        max_context=config.size("max_position_embeddings", 8192),
    )  # fmt: skip


def _layer_kinds(config: Config, layers: int) -> tuple[str, ...]:
    """``full_attention`` or ``sliding_attention`` for each layer."""
    every = config.size("global_attn_every_n_layers", 3)
    named = config.list("layer_types", None)
    kinds = named or tuple("sliding_attention" if i % every else "full_attention" for i in range(layers))
    return tuple(str(kind)[:40] for kind in kinds)
