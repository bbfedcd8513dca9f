"""Encoder-decoders: the encoder's pass, the decoder's first step, its last step (transformers 5.23.0).

The encoder's output (Z tokens) stays alive through generation. The decoder's first step projects it into every layer's
cross-attention keys and values; EncDecAttention still names the projections while the cache holds their copies, so the
last layer costs Z·b·(k + v) above the cache. Later steps only grow the self-attention cache.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.setting import Moment, PhaseName, Setting
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import NOTHING, A, B, H, M, N, P, S, T, V, Y, Z, b, f, h, k, o, q, v
from gpufit.memory.workload import Workload


def bart_encoder(c: Setting) -> list[Moment]:
    """BartEncoderLayer: embeddings, layer input, residual and attention output beside the MLP; positions live on."""
    eager = c.kernel == "eager"
    around = 16 * T + (M * b if eager else NOTHING)
    kept = A * b if eager else NOTHING
    stream = T * b * ((2 if c.deep else 1) * h)
    prenorm = c.variant not in ("bart",)
    attention = stream + T * b * ((h if prenorm else NOTHING) + 3 * q)
    return [
        Moment("attention scores", 2 * (A * b) + attention + around, "scores before and after scaling, queries, keys, values")
        if eager
        else Moment("attention", attention + T * b * o + 4 * (T * H) + around, "queries, keys, values and outputs"),
        Moment("mlp", T * b * (2 * f + (2 if prenorm else 1) * h) + stream + kept + around,
               "before and after the activation, residual, layer input, embeddings"),
        Moment("mlp output", T * b * (f + 2 * h) + stream + kept + around, "the activation and its projection"),
    ]  # fmt: skip


def t5_encoder(c: Setting) -> list[Moment]:
    """T5Block: one position bias (heads, S, S) for all layers; in fp16 the MLP's last weight and so the residual stream
    stay fp32 (_keep_in_fp32_modules), which makes the activation's cast to fp32 the widest instant.
    """
    eager = c.kernel == "eager"
    fp16 = c.dtype == "fp16"
    residual = T * ((2 if c.deep else 1) * h) * (4 if fp16 else b)
    stream = residual + (T * b * h if c.deep else NOTHING) + T * b * h
    bias = H * (N * b)
    around = 16 * T + bias + (M * b if eager and False else NOTHING)
    kept = A * b if eager else NOTHING
    width = (10 * f if c.gated else 6 * f) if fp16 else b * ((4 if c.gated else 2) * f)
    upcast = (6 * b if c.half else 2 * b) if False else 2 * b
    return [
        Moment("attention scores", A * upcast + T * b * (3 * q) + stream + around,
               "scores and their softmax, queries, keys, values, the position bias")
        if eager
        else Moment("attention", T * b * (3 * q + o) + stream + around + A * b * 0, "queries, keys, values and outputs"),
        Moment("mlp", T * width + stream + kept + around, "the activation (in fp16 beside its fp32 cast), residuals, position bias"),
    ]  # fmt: skip


def whisper_encoder(c: Setting) -> list[Moment]:
    """WhisperEncoder: the convolutions' output and the embeddings live on beside BART's pre-norm layer."""
    eager = c.kernel == "eager"
    kept = A * b if eager else NOTHING
    stream = T * b * 2 * h
    features = T * 2 * 80 * 2
    return [
        Moment("attention scores", 2 * (A * b) + T * b * (h + 3 * q) + stream + features, "scores, queries, keys, values")
        if eager
        else Moment("attention", T * b * (h + 4 * q) + stream + 4 * (T * H) + features, "queries, keys, values and outputs"),
        Moment("mlp", T * b * (2 * f + (2 if c.deep else 1) * h) + stream + kept + features,
               "before and after the activation, residuals, the convolutions' output"),
    ]  # fmt: skip


ENCODERS = {"bart": bart_encoder, "t5": t5_encoder, "whisper": whisper_encoder}


def decoder_step(c: Setting) -> list[Moment]:
    """One new token per sequence. ``prefill`` also fills the cross-attention cache; ``decode`` grows the other."""
    around = Z * h * b + 8 * Z + 8 * P
    logits = B * V * b
    moments = [
        Moment("mlp", T * b * (2 * f + 6 * h) + around, "before and after the activation, residuals, the encoder's output"),
        Moment("cross-attention", 2 * (Y * b) + T * b * (3 * q + 4 * h) + around, "scores over the encoder's tokens"),
    ]  # fmt: skip
    if c.decode:
        moments.append(Moment("cache growth", P * v * b + 4 * B * V + T * b * (4 * h) + around,
                              "a layer's values, old and new at once; the encoder's output"))  # fmt: skip
        moments.append(Moment("logits", logits + 8 * (B * V) + around + 8 * P, "logits, their fp32 copy and the last step's"))
    else:
        moments.append(Moment("cross-attention cache", Z * b * (k + v) + T * b * (4 * h) + around,
                              "one layer's projected encoder output beside its cached copy; the encoder's output"))  # fmt: skip
        moments.append(Moment("logits", logits + 4 * (B * V) + around, "logits and their fp32 copy; the encoder's output"))
    return moments


@lru_cache(maxsize=1024)
def _encoder(form: str, setting: Setting) -> tuple[Moment, ...]:
    return tuple(ENCODERS[form](setting))


@lru_cache(maxsize=1024)
def _decoder(setting: Setting) -> tuple[Moment, ...]:
    return tuple(decoder_step(setting))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Encode, then the first and the last step of the decoder."""
    encoder = next(s for s in architecture.stacks if s.role in ("encoder", "audio"))
    decoder = next((s for s in architecture.stacks if s.role in ("decoder", "text")), None)
    tokens = encoder.positions or workload.prompt_tokens
    setting = settle(architecture, workload, encoder, "encode", keys=tokens)
    courses = [
        Course(
            name="encode", cache_tokens=0,
            moments=((_encoder(architecture.form, setting),
                      stack_sizes(architecture, workload, encoder, queries=tokens, keys=tokens)),),
        )
    ]  # fmt: skip
    if decoder is None or not architecture.generates:
        return tuple(courses)
    stages: tuple[tuple[PhaseName, int], ...] = (("prefill", 1), ("decode", max(2, workload.new_tokens)))
    for name, cached in stages[: 2 if workload.new_tokens > 1 else 1]:
        courses.append(
            Course(
                name=name, cache_tokens=cached,
                moments=((_decoder(settle(architecture, workload, decoder, name, keys=cached)),
                          stack_sizes(architecture, workload, decoder, queries=1, keys=cached, sources=tokens)),),
            )
        )  # fmt: skip
    return tuple(courses)
