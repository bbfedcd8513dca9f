"""DeBERTa and DeBERTa-v2/v3: content and position attend to each other through a table of relative positions.

Mirrors transformers 5.23.0, models/deberta/modeling_deberta.py and models/deberta_v2/modeling_deberta_v2.py.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.bert import Sizes, feed_forward, sizes, stack
from gpufit.facts.families.encoder_heads import bert_lm_head, dense, encoder, token_head
from gpufit.facts.families.record import head_of, labels


def read_v2(config: Config) -> Architecture:
    """DebertaV2Config (v2 and v3) -> DebertaV2Model, DebertaV2ForMaskedLM or a classifier."""
    return _deberta(config, "DebertaV2")


def read(config: Config) -> Architecture:
    """DebertaConfig -> DebertaModel, DebertaForMaskedLM or a classifier."""
    return _deberta(config, "Deberta")


def _deberta(config: Config, family: str) -> Architecture:
    model_class, head = head_of(config, family, "Model")
    s = _sizes(config)
    hidden = s.hidden
    relative = config.flag("relative_attention", False)
    kinds = _attention_kinds(config) if relative else ()
    reach = config.int("max_relative_positions", -1, low=-1)
    reach = reach if reach > 0 else s.positions

    t = Tensors()
    base = t if head == "Model" else t.under("deberta")
    _embeddings(base.under("embeddings"), config, s)
    block = base.blocks("encoder.layer", s.layers)
    if family == "DebertaV2":
        buckets = config.int("position_buckets", -1, low=-1)
        reach = buckets if buckets > 0 else reach
        _attention_v2(block.under("attention.self"), hidden, () if config.flag("share_att_key", False) else kinds)
    else:
        _attention(block.under("attention.self"), config, hidden, kinds)
    block.linear("attention.output.dense", hidden, hidden, bias=True, role="attention")
    block.norm("attention.output.LayerNorm", hidden, bias=True)
    feed_forward(block, hidden, s.width)
    if relative:
        base.embedding("encoder.rel_embeddings", 2 * reach, hidden, role="attention")
    if family == "DebertaV2":
        _after_blocks_v2(base.under("encoder"), config, hidden)

    output = None
    if head == "ForMaskedLM" and config.flag("legacy", True):
        word = "deberta.embeddings.word_embeddings.weight" if s.tied else None
        output = bert_lm_head(t, "cls", hidden, s.embedding, s.vocab, tied_to=word)
    elif head == "ForMaskedLM":
        t.add("lm_predictions.lm_head.bias", (s.vocab,), "parameter", "head")
        dense(t, "lm_predictions.lm_head.dense", hidden, hidden)
        t.norm("lm_predictions.lm_head.LayerNorm", hidden, bias=True, role="head")
        # the words themselves are the output matrix; the class names this layer for want of one
        output = "lm_predictions.lm_head.dense.weight"
    elif head == "ForSequenceClassification":
        pooled = config.size("pooler_hidden_size", hidden)
        dense(t, "pooler.dense", pooled, pooled)
        dense(t, "classifier", pooled, labels(config))
    elif head != "Model":
        token_head(t, config, head, hidden, model_class)
    return encoder(
        config, t, model_class=model_class, stack=stack(config, s), vocab=s.vocab, max_context=s.positions,
        form="deberta", output=output,
    )  # fmt: skip


def _sizes(config: Config) -> Sizes:
    return sizes(config, embedding=config.size("embedding_size", config.size("hidden_size")), token_types=0)


def _attention_kinds(config: Config) -> tuple[str, ...]:
    """``pos_att_type``: a list, or in old configurations one text with bars."""
    kinds = config.raw("pos_att_type")
    if kinds is None:
        return ()
    if isinstance(kinds, str):
        return tuple(part.strip() for part in kinds[:200].lower().split("|"))
    found = config.list("pos_att_type")
    if not all(isinstance(kind, str) for kind in found):
        raise BadConfig("config key pos_att_type is not a list of names")
    return tuple(found)


def _embeddings(t: Tensors, config: Config, s: Sizes) -> None:
    t.embedding("word_embeddings", s.vocab, s.embedding)
    if config.flag("position_biased_input", True):
        t.embedding("position_embeddings", s.positions, s.embedding)
    if s.token_types:
        t.embedding("token_type_embeddings", s.token_types, s.embedding)
    if s.embedding != s.hidden:
        t.linear("embed_proj", s.embedding, s.hidden, role="embedding")
    t.norm("LayerNorm", s.hidden, bias=True)
    t.buffer("position_ids", (1, s.positions), "int64", role="embedding")


def _attention_v2(t: Tensors, hidden: int, kinds: tuple[str, ...]) -> None:
    """v2 projects positions with the content's own weights where ``share_att_key`` is set (``kinds`` is then empty)."""
    for name in ("query_proj", "key_proj", "value_proj"):
        t.linear(name, hidden, hidden, bias=True, role="attention")
    if "c2p" in kinds:
        t.linear("pos_key_proj", hidden, hidden, bias=True, role="attention")
    if "p2c" in kinds:
        t.linear("pos_query_proj", hidden, hidden, bias=True, role="attention")


def _attention(t: Tensors, config: Config, hidden: int, kinds: tuple[str, ...]) -> None:
    t.add("q_bias", (hidden,), "parameter", "attention")
    t.add("v_bias", (hidden,), "parameter", "attention")
    t.linear("in_proj", hidden, 3 * hidden, role="attention")
    if config.flag("talking_head", False):
        heads = config.layers("num_attention_heads")
        t.linear("head_logits_proj", heads, heads, role="attention")
        t.linear("head_weights_proj", heads, heads, role="attention")
    if "c2p" in kinds:
        t.linear("pos_proj", hidden, hidden, role="attention")
    if "p2c" in kinds:
        t.linear("pos_q_proj", hidden, hidden, bias=True, role="attention")


def _after_blocks_v2(t: Tensors, config: Config, hidden: int) -> None:
    """The norm over the relative positions, and v2-xlarge's convolution beside the first block."""
    if "layer_norm" in [part.strip() for part in config.text("norm_rel_ebd", "none").lower().split("|")]:
        t.norm("LayerNorm", hidden, bias=True)
    kernel = config.int("conv_kernel_size", 0)
    if kernel:
        groups = config.size("conv_groups", 1)
        t.add("conv.conv.weight", (hidden, hidden // groups, kernel), "conv", "mlp")
        t.add("conv.conv.bias", (hidden,), "conv", "mlp")
        t.norm("conv.LayerNorm", hidden, bias=True)
