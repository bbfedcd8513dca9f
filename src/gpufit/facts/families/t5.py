"""T5 and its line: T5 v1.1, Flan-T5, mT5, umT5.

Mirrors transformers 5.23.0, models/t5/modeling_t5.py, models/mt5/modeling_mt5.py and models/umt5/modeling_umt5.py,
with one difference: their configuration classes set ``tie_word_embeddings`` to true whatever config.json says. The
checkpoints that say false (T5 v1.1, Flan-T5, mT5, umT5) hold an output matrix of their own, and ``from_pretrained``
does not tie what it finds to differ (modeling_utils.py, tie_weights). What is loaded decides, so both are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import finish, head_of, unknown_class
from gpufit.records import record


@record
class _Sizes:
    hidden: int
    width: int
    heads: int
    head_dim: int
    buckets: int
    gated: bool
    bias_everywhere: bool  # umT5 learns relative biases in every layer, T5 in the first

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim


def _read(config: Config, *, family: str, gated: bool, bias_everywhere: bool = False) -> Architecture:
    """T5Config -> T5ForConditionalGeneration, T5Model, or the encoder alone (T5EncoderModel)."""
    model_class, head = head_of(config, family, "ForConditionalGeneration")
    if head not in ("ForConditionalGeneration", "Model", "EncoderModel"):
        raise unknown_class(config, model_class)
    vocab = config.size("vocab_size")
    layers = config.layers("num_layers")
    activation = config.text("feed_forward_proj", "gated-gelu" if gated else "relu")
    s = _Sizes(
        hidden=config.size("d_model"), width=config.size("d_ff"), heads=config.layers("num_heads"),
        head_dim=config.size("d_kv"), buckets=config.size("relative_attention_num_buckets", 32),
        gated=activation.startswith("gated"), bias_everywhere=bias_everywhere,
    )  # fmt: skip

    t = Tensors()
    t.embedding("shared", vocab, s.hidden)
    _stack(t.under("encoder"), s, layers, vocab, cross=False)
    if head == "EncoderModel":
        return finish(
            config, t, model_class=model_class, task="encoder", form="t5", stacks=(_record("encoder", s, layers),),
            vocab_size=vocab, max_context_tokens=config.size("n_positions", None), keep_fp32=("wo",),
        )  # fmt: skip
    decoder_layers = config.layers("num_decoder_layers", layers)
    _stack(t.under("decoder"), s, decoder_layers, vocab, cross=True)
    generates = head == "ForConditionalGeneration"
    if generates:
        tied = "shared.weight" if config.flag("tie_word_embeddings", True) else None
        t.linear("lm_head", s.hidden, vocab, role="output", tied_to=tied)
    cache = tuple(
        CacheLayers(
            kind=kind, layers=decoder_layers, kv_heads=s.heads, key_dim=s.head_dim, value_dim=s.head_dim
        )
        for kind in ("full", "cross")
    )  # fmt: skip
    return finish(
        config, t, model_class=model_class, task="seq2seq", form="t5", vocab_size=vocab, cache=cache,
        stacks=(_record("decoder", s, decoder_layers), _record("encoder", s, layers)), keep_fp32=("wo",),
        max_context_tokens=config.size("n_positions", None), output="lm_head.weight" if generates else None,
    )  # fmt: skip


def _stack(t: Tensors, s: _Sizes, layers: int, vocab: int, *, cross: bool) -> None:
    """T5Stack: a block is a list of sublayers, self-attention, (cross-attention,) feed-forward."""
    t.embedding("embed_tokens", vocab, s.hidden, tied_to="shared.weight")
    block = t.blocks("block", layers)
    _attention(block, s, "layer.0.SelfAttention")
    with_bias = layers if s.bias_everywhere else 1
    t.blocks("block", with_bias).embedding(
        "layer.0.SelfAttention.relative_attention_bias", s.buckets, s.heads, role="attention"
    )
    block.norm("layer.0.layer_norm", s.hidden)
    if cross:
        _attention(block, s, "layer.1.EncDecAttention")
        block.norm("layer.1.layer_norm", s.hidden)
    last = f"layer.{2 if cross else 1}"
    for name in ("wi_0", "wi_1") if s.gated else ("wi",):
        block.linear(f"{last}.DenseReluDense.{name}", s.hidden, s.width, role="mlp")
    block.linear(f"{last}.DenseReluDense.wo", s.width, s.hidden, role="mlp")
    block.norm(f"{last}.layer_norm", s.hidden)
    t.norm("final_layer_norm", s.hidden)


def _attention(block: Tensors, s: _Sizes, name: str) -> None:
    for projection in "qkv":
        block.linear(f"{name}.{projection}", s.hidden, s.inner, role="attention")
    block.linear(f"{name}.o", s.inner, s.hidden, role="attention")


def _record(role: str, s: _Sizes, layers: int) -> Stack:
    return Stack(
        role="decoder" if role == "decoder" else "encoder", layers=layers, hidden=s.hidden, mlp_width=s.width,
        gated=s.gated,
        attention=Attention(heads=s.heads, kv_heads=s.heads, head_dim=s.head_dim, value_dim=s.head_dim),
    )  # fmt: skip


read: Callable[[Config], Architecture] = partial(_read, family="T5", gated=False)
read_mt5: Callable[[Config], Architecture] = partial(_read, family="MT5", gated=True)
read_umt5: Callable[[Config], Architecture] = partial(_read, family="UMT5", gated=True, bias_everywhere=True)
