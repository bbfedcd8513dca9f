"""Encoder-decoders: the encoder's pass, the decoder's first step, its last step (transformers 5.23.0).

The encoder's output (Z tokens) stays alive through generation. The decoder's first step projects it into every layer's
cross-attention keys and values; EncDecAttention still names the projections while the cache holds their copies, so the
last layer costs Z·b·(k + v) above the cache. Later steps only grow the self-attention cache.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.quantized import linear_moments
from gpufit.memory.activations.setting import Contest, Moment, PhaseName, Setting, contenders
from gpufit.memory.activations.sizes import MASK_ALIGNMENT, settle, stack_sizes
from gpufit.memory.activations.symbols import NOTHING, A, B, Expr, H, N, P, S, T, V, X, Y, Z, b, f, h, k, o, q, v
from gpufit.memory.workload import Workload

_ONE_TABLE = ("pegasus", "marian", "blenderbot", "blenderbot-small")  # positions are not expanded over the batch


def bart_encoder(c: Setting) -> list[Moment]:
    """BartEncoderLayer: embeddings, layer input, residual and attention output beside the MLP; positions live on."""
    eager = c.kernel == "eager"
    around = 16 * T
    kept = A * b if eager else NOTHING
    table = S if c.variant in _ONE_TABLE else T
    stream = T * b * ((2 if c.deep else 1) * h) + table * b * h  # embeddings, layer input, position embeddings
    prenorm = c.variant not in ("bart",)
    attention = stream + T * b * ((h if prenorm else NOTHING) + 3 * q)
    return [
        Moment(
            "attention scores",
            2 * (A * b) + attention + around,
            "scores before and after scaling, queries, keys, values",
        )
        if eager
        else Moment("attention", attention + T * b * o + 4 * (T * H) + around, "queries, keys, values and outputs"),
        Moment(
            "mlp",
            T * b * (2 * f + (2 if prenorm else 1) * h) + stream + kept + around,
            "before and after the activation, residual, layer input, embeddings",
        ),
        Moment("mlp output", T * b * (f + 2 * h) + stream + kept + around, "the activation and its projection"),
        *linear_moments(c, "up projection", h, f, T * b * ((2 if prenorm else 1) * h) + stream + kept + around),
        *linear_moments(c, "down projection", f, h, T * b * (f + h) + stream + kept + around),
    ]


def t5_encoder(c: Setting) -> list[Moment]:
    """T5Block: one position bias (heads, S, S) for all layers; in fp16 the MLP's last weight and so the residual stream
    stay fp32 (_keep_in_fp32_modules), which makes the activation's cast to fp32 the widest instant.
    """
    eager = c.kernel == "eager"
    fp16 = c.dtype == "fp16"
    residual = T * h * (4 if fp16 else b)
    entry = T * b * h if c.deep else NOTHING  # the embeddings
    around = 16 * T + H * (N * b)
    kept = A * b if eager else NOTHING
    width = t5_width(c)
    attention = T * b * (3 * q + h) + residual + entry + around
    copies = H * (N * b) * (2 if c.masked else 1)  # laid out whole, then padded where rows are not on 16 bytes
    feeding = T * b * h + 2 * residual + entry + kept + around
    return [
        Moment(
            "position buckets",
            49 * N + T * b * (3 * q + 2 * h) + 16 * T + 8 * S,
            "six matrices of int64, one of bool (_relative_position_bucket); the first queries, keys, values",
        ),
        Moment(
            "attention scores",
            2 * (A * b) + attention,
            "scores and their softmax, queries, keys, values, the position bias",
        )
        if eager
        else Moment(
            "attention", T * b * o + copies + attention, "queries, keys, values, outputs, copies of the position bias"
        ),
        Moment(
            "mlp",
            T * width + feeding,
            "the activation (in fp16 beside its fp32 cast), residuals, position bias",
        ),
        *([Moment("mlp output", T * (4 * f + 4 * h) + feeding, "the activation in fp32 and its product")] * fp16),
        *linear_moments(c, "up projection", h, f, feeding + (T * b * f if c.gated else NOTHING)),
        *([] if fp16 else linear_moments(c, "down projection", f, h, feeding + T * b * f)),
    ]


def t5_width(c: Setting) -> Expr:
    """T5's MLP at its widest, bytes per token: in fp16 the activation beside its cast to fp32."""
    if c.dtype == "fp16":
        return 10 * f if c.gated else 6 * f
    return b * ((4 if c.gated else 2) * f)


def whisper_encoder(c: Setting) -> list[Moment]:
    """WhisperEncoder: the convolutions' output and the embeddings live on beside BART's pre-norm layer."""
    eager = c.kernel == "eager"
    kept = A * b if eager else NOTHING
    stream = T * b * 2 * h
    features = T * X * b
    return [
        Moment(
            "attention scores", 2 * (A * b) + T * b * (h + 3 * q) + stream + features, "scores, queries, keys, values"
        )
        if eager
        else Moment(
            "attention", T * b * (h + 4 * q) + stream + 4 * (T * H) + features, "queries, keys, values and outputs"
        ),
        Moment(
            "mlp",
            T * b * (2 * f + (2 if c.deep else 1) * h) + stream + kept + features,
            "before and after the activation, residuals, the convolutions' output",
        ),
    ]


ENCODERS = {"bart": bart_encoder, "t5": t5_encoder, "whisper": whisper_encoder}


def decoder_step(c: Setting, form: str) -> list[Moment]:
    """One new token per sequence. ``prefill`` also fills the cross-attention cache; ``decode`` grows the other."""
    around = Z * h * b + (Z * X * b if form == "whisper" else 8 * Z) + 8 * P
    logits = B * V * b
    before = 4 * (B * V) if c.decode else NOTHING  # the last step's fp32 logits
    width = t5_width(c) if form == "t5" else b * (2 * f)
    moments = [
        Moment(
            "mlp",
            T * width + T * b * (6 * h) + before + around,
            "before and after the activation, residuals, the encoder's output",
        ),
        Moment("cross-attention", 2 * (Y * b) + T * b * (3 * q + 4 * h) + around, "scores over the encoder's tokens"),
    ]
    if c.decode:
        moments.append(
            Moment(
                "cache growth",
                P * v * b + 4 * B * V + T * b * (4 * h) + around,
                "a layer's values, old and new at once; the encoder's output",
            )
        )
        moments.append(
            Moment("logits", logits + 8 * (B * V) + around + 8 * P, "logits, their fp32 copy and the last step's")
        )
    else:
        moments.append(
            Moment(
                "cross-attention cache",
                Z * b * (k + v) + T * b * (4 * h) + around,
                "one layer's projected encoder output beside its cached copy; the encoder's output",
            )
        )
        moments.append(
            Moment("logits", logits + 4 * (B * V) + around, "logits and their fp32 copy; the encoder's output")
        )
        # the values' projection, while the keys' is done and neither is in the cache
        moments += linear_moments(c, "cross-attention values", h, v, around - Z * b * v, rows=Z)
    return moments


@lru_cache(maxsize=1024)
def _encoder(form: str, setting: Setting) -> Contest:
    return contenders(ENCODERS[form](setting))


@lru_cache(maxsize=1024)
def _decoder(form: str, setting: Setting) -> Contest:
    return contenders(decoder_step(setting, form))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Encode, then the first and the last step of the decoder."""
    encoder = next(s for s in architecture.stacks if s.role in ("encoder", "audio"))
    decoder = next((s for s in architecture.stacks if s.role in ("decoder", "text")), None)
    tokens = encoder.positions or workload.prompt_tokens
    features = 2 * _mel_bins(architecture) if architecture.form == "whisper" else 0
    setting = settle(architecture, workload, encoder, "encode", keys=tokens)
    if architecture.form == "t5":  # attention.cpp, preprocess_mask
        setting = setting._replace(masked=tokens % MASK_ALIGNMENT != 0)
    courses = [
        Course(
            name="encode",
            cache_tokens=0,
            moments=(
                (
                    _encoder(architecture.form, setting),
                    stack_sizes(architecture, workload, encoder, queries=tokens, keys=tokens, extra=features),
                ),
            ),
        )
    ]
    if decoder is None or not architecture.generates:
        return tuple(courses)
    stages: tuple[tuple[PhaseName, int], ...] = (("prefill", 1), ("decode", max(2, workload.new_tokens)))
    for name, cached in stages[: 2 if workload.new_tokens > 1 else 1]:
        courses.append(
            Course(
                name=name,
                cache_tokens=cached,
                moments=(
                    (
                        _decoder(
                            architecture.form,
                            settle(
                                architecture,
                                workload,
                                decoder,
                                name,
                                keys=cached,
                                queries=tokens if name == "prefill" else 1,
                            ),
                        ),
                        stack_sizes(
                            architecture, workload, decoder, queries=1, keys=cached, sources=tokens, extra=features
                        ),
                    ),
                ),
            )
        )
    return tuple(courses)


def _mel_bins(architecture: Architecture) -> int:
    """Whisper's first convolution (h, mel bins, 3); two frames make one encoder token."""
    return next((g.shape[1] for g in architecture.tensors.groups if g.name.endswith("conv1.weight")), 80)
