"""Whisper: a convolutional front, an audio encoder of fixed length, BART's decoder.

Mirrors transformers 5.23.0, models/whisper/modeling_whisper.py. The encoder's sines are a frozen parameter.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.bart import attention, decoder_blocks, feed_forward, seq2seq_cache, side, stack
from gpufit.facts.families.record import finish, head_of, unknown_class


def read(config: Config) -> Architecture:
    """WhisperConfig -> WhisperForConditionalGeneration or WhisperModel."""
    model_class, head = head_of(config, "Whisper", "ForConditionalGeneration")
    if head not in ("ForConditionalGeneration", "Model"):
        raise unknown_class(config, model_class)
    vocab = config.size("vocab_size")
    mels = config.size("num_mel_bins", 80)
    encoder = side(config, "encoder", positions=config.size("max_source_positions", 1500))
    decoder = side(config, "decoder", positions=config.size("max_target_positions", 448))
    hidden = encoder.hidden

    t = Tensors()
    prefix = "" if head == "Model" else "model."
    base = t.under("model") if prefix else t
    audio = base.under("encoder")
    audio.add("conv1.weight", (hidden, mels, 3), "conv", "audio")
    audio.add("conv1.bias", (hidden,), "conv", "audio")
    audio.add("conv2.weight", (hidden, hidden, 3), "conv", "audio")
    audio.add("conv2.bias", (hidden,), "conv", "audio")
    audio.embedding("embed_positions", encoder.positions, hidden)
    block = audio.blocks("layers", encoder.layers)
    attention(block, "self_attn", hidden, key_bias=False)
    block.norm("self_attn_layer_norm", hidden, bias=True)
    feed_forward(block, hidden, encoder.width)
    audio.norm("layer_norm", hidden, bias=True)

    text = base.under("decoder")
    text.embedding("embed_tokens", vocab, hidden)
    text.embedding("embed_positions", decoder.positions, hidden)
    decoder_blocks(text, decoder, key_bias=False)
    text.norm("layer_norm", hidden, bias=True)
    if prefix:
        tied = f"{prefix}decoder.embed_tokens.weight" if config.flag("tie_word_embeddings", True) else None
        t.linear("proj_out", hidden, vocab, role="output", tied_to=tied)
    return finish(
        config, t, model_class=model_class, task="speech", form="whisper", vocab_size=vocab,
        stacks=(stack("decoder", decoder), stack("encoder", encoder, encoder.positions)),
        cache=seq2seq_cache(decoder), max_context_tokens=decoder.positions,
        output="proj_out.weight" if prefix else None,
    )  # fmt: skip
