"""BART and the encoder-decoders of its layout: mBART, Pegasus, M2M-100 (NLLB), Marian, Blenderbot, LED.

Mirrors transformers 5.23.0, models/{bart,mbart,pegasus,m2m_100,marian,blenderbot,blenderbot_small,led}/modeling_*.py.
Siblings differ in where they normalize and in how they count positions; ``Layout`` says how.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import even_attention, finish, head_of, labels, unknown_class
from gpufit.records import record, replace


@record
class Layout:
    """What tells one sibling from another.

    ``positions`` is a learned table, a table of sines held as a frozen parameter, or sines in a buffer; ``offset``
    rows stand before the first position. ``embedding_norm`` normalizes after the embedding, ``final_norm`` after the
    last layer. ``logits_bias`` is the saved buffer ``final_logits_bias``.
    """

    family: str
    generator: str = "ForConditionalGeneration"
    base: str = "model"
    positions: Literal["table", "sine-table", "sine-buffer"] = "table"
    offset: int = 0
    embedding_norm: bool = False
    final_norm: bool = False
    logits_bias: bool = True
    form: str = "bart"


BART = Layout(family="Bart", offset=2, embedding_norm=True)
MBART = Layout(family="MBart", offset=2, embedding_norm=True, final_norm=True)
PEGASUS = Layout(family="Pegasus", positions="sine-table", final_norm=True)
M2M_100 = Layout(family="M2M100", positions="sine-buffer", offset=2, final_norm=True, logits_bias=False)
MARIAN = Layout(family="Marian", generator="MTModel", positions="sine-table")
BLENDERBOT = Layout(family="Blenderbot", final_norm=True)
BLENDERBOT_SMALL = Layout(family="BlenderbotSmall", embedding_norm=True)
LED = Layout(family="LED", base="led", embedding_norm=True, form="led")  # attends in windows


@record
class Side:
    """The encoder's or the decoder's dimensions."""

    hidden: int
    layers: int
    width: int
    attention: Attention
    positions: int


def reader(layout: Layout) -> Callable[[Config], Architecture]:
    """The reader of one sibling."""

    def read(config: Config) -> Architecture:
        return _read(config, layout)

    return read


def _read(config: Config, layout: Layout) -> Architecture:
    model_class, head = head_of(config, layout.family, layout.generator)
    generates = head == layout.generator
    if not generates and head not in ("Model", "ForSequenceClassification"):
        raise unknown_class(config, model_class)
    vocab = config.size("vocab_size")
    encoder, decoder = _side(config, layout, "encoder"), _side(config, layout, "decoder")

    t = Tensors()
    prefix = "" if head == "Model" else f"{layout.base}."
    base = t.under(layout.base) if prefix else t
    shared = f"{prefix}shared.weight"
    base.embedding("shared", vocab, encoder.hidden)
    encode = base.under("encoder")
    encode.embedding("embed_tokens", vocab, encoder.hidden, tied_to=shared)
    _positions(encode, encoder, layout)
    block = encode.blocks("layers", encoder.layers)
    if layout is LED:
        _longformer(block, encoder.hidden)
    else:
        attention(block, "self_attn", encoder.hidden)
    block.norm("self_attn_layer_norm", encoder.hidden, bias=True)
    feed_forward(block, encoder.hidden, encoder.width)
    _norms(encode, encoder, layout)

    decode = base.under("decoder")
    decode.embedding("embed_tokens", vocab, decoder.hidden, tied_to=shared)
    _positions(decode, decoder, layout)
    decoder_blocks(decode, decoder)
    _norms(decode, decoder, layout)

    if generates:
        tied = shared if config.flag("tie_word_embeddings", True) else None
        t.linear("lm_head", decoder.hidden, vocab, role="output", tied_to=tied)
        if layout.logits_bias:
            t.add("final_logits_bias", (1, vocab), "buffer", "output", dtype="fp32")
    elif head == "ForSequenceClassification":
        t.linear("classification_head.dense", decoder.hidden, decoder.hidden, bias=True, role="head")
        t.linear("classification_head.out_proj", decoder.hidden, labels(config, 3), bias=True, role="head")
    return finish(
        config, t, model_class=model_class, task="seq2seq", form=layout.form, vocab_size=vocab,
        stacks=(stack("decoder", decoder), stack("encoder", encoder)), cache=seq2seq_cache(decoder),
        max_context_tokens=decoder.positions, output="lm_head.weight" if generates else None,
    )  # fmt: skip


def _side(config: Config, layout: Layout, name: Literal["encoder", "decoder"]) -> Side:
    positions = f"max_{name}_position_embeddings" if layout is LED else "max_position_embeddings"
    if layout is not LED or name == "decoder":
        return side(config, name, positions=config.size(positions, 1024))
    several = isinstance(config.raw("attention_window"), (list, tuple))
    window = _widest(config.list("attention_window")) if several else config.size("attention_window", 512)
    encoder = side(config, name, positions=config.size(positions, 16384))
    return replace(encoder, attention=replace(encoder.attention, window_tokens=window))


def _widest(windows: tuple[object, ...]) -> int:
    """The largest of the layers' windows."""
    sizes = [size for size in windows if type(size) is int and 0 < size <= 1 << 20]
    if not sizes or len(sizes) < len(windows):
        raise BadConfig("config key attention_window is not a list of window sizes")
    return max(sizes)


def side(config: Config, name: Literal["encoder", "decoder"], *, positions: int) -> Side:
    """One side's dimensions under BART's key names."""
    hidden = config.size("d_model")
    return Side(
        hidden=hidden,
        layers=config.layers(f"{name}_layers"),
        width=config.size(f"{name}_ffn_dim"),
        attention=even_attention(config, hidden, config.layers(f"{name}_attention_heads")),
        positions=positions,
    )


def stack(role: Literal["encoder", "decoder"], side: Side, positions: int = 0) -> Stack:
    """One side as a stack; ``positions`` where its length is fixed."""
    return Stack(
        role=role, layers=side.layers, hidden=side.hidden, mlp_width=side.width, attention=side.attention,
        positions=positions,
    )  # fmt: skip


def seq2seq_cache(decoder: Side) -> tuple[CacheLayers, ...]:
    """A decoder layer keeps its own keys and values, and once those of the encoder's output."""
    dim = decoder.attention.head_dim
    return tuple(
        CacheLayers(
            kind=kind, layers=decoder.layers, kv_heads=decoder.attention.heads, key_dim=dim, value_dim=dim
        )
        for kind in ("full", "cross")
    )  # fmt: skip


def attention(block: Tensors, name: str, hidden: int, *, key_bias: bool = True) -> None:
    """Four square projections with biases (Whisper's keys have none)."""
    block.linear(f"{name}.k_proj", hidden, hidden, bias=key_bias, role="attention")
    for projection in ("v_proj", "q_proj", "out_proj"):
        block.linear(f"{name}.{projection}", hidden, hidden, bias=True, role="attention")


def feed_forward(block: Tensors, hidden: int, width: int) -> None:
    """fc1, fc2 and the norm that follows (or, in pre-norm siblings, precedes) them."""
    block.linear("fc1", hidden, width, bias=True, role="mlp")
    block.linear("fc2", width, hidden, bias=True, role="mlp")
    block.norm("final_layer_norm", hidden, bias=True)


def decoder_blocks(t: Tensors, decoder: Side, *, key_bias: bool = True) -> None:
    """Self-attention, attention over the encoder's output, feed-forward."""
    block = t.blocks("layers", decoder.layers)
    attention(block, "self_attn", decoder.hidden, key_bias=key_bias)
    block.norm("self_attn_layer_norm", decoder.hidden, bias=True)
    attention(block, "encoder_attn", decoder.hidden, key_bias=key_bias)
    block.norm("encoder_attn_layer_norm", decoder.hidden, bias=True)
    feed_forward(block, decoder.hidden, decoder.width)


def _longformer(block: Tensors, hidden: int) -> None:
    """LED's encoder attends in a window, and from a few global tokens with projections of their own."""
    for name in ("query", "key", "value", "query_global", "key_global", "value_global"):
        block.linear(f"self_attn.longformer_self_attn.{name}", hidden, hidden, bias=True, role="attention")
    block.linear("self_attn.output", hidden, hidden, bias=True, role="attention")


def _positions(t: Tensors, side: Side, layout: Layout) -> None:
    rows = side.positions + layout.offset
    if layout.positions == "sine-buffer":
        t.buffer("embed_positions.weights", (rows, side.hidden), "fp32", role="embedding")
    elif layout.positions == "sine-table":
        t.add("embed_positions.weight", (rows, side.hidden), "sines", "embedding")
    else:
        t.embedding("embed_positions", rows, side.hidden)


def _norms(t: Tensors, side: Side, layout: Layout) -> None:
    if layout.embedding_norm:
        t.norm("layernorm_embedding", side.hidden, bias=True)
    if layout.final_norm:
        t.norm("layer_norm", side.hidden, bias=True)


read = reader(BART)
read_mbart = reader(MBART)
read_pegasus = reader(PEGASUS)
read_m2m_100 = reader(M2M_100)
read_marian = reader(MARIAN)
read_blenderbot = reader(BLENDERBOT)
read_blenderbot_small = reader(BLENDERBOT_SMALL)
read_led = reader(LED)
