"""LED (transformers 5.23.0, models/led/modeling_led.py): an encoder that attends in chunks of its window.

LEDEncoderSelfAttention, w = Q the window to either side, no tokens with global attention (``generate`` marks none).
Tokens are padded to whole windows of 2·w; n = S/w − 1 overlapping chunks of 2·w, so that O = T − B·Q tokens begin one.
Every token and head scores 2·w + 1 neighbours, its band.

* ``chunked products``: queries and keys laid out by heads (2·q), again with their overlaps (4·q), and the chunks'
  scores, 2·w by 2·w: 4·w numbers per token and head.
* ``chunked scores``: these scores and a copy padded by one row.
* ``band``: the padded copy, the band cut from it, and both ends of it masked in two tensors of w by w + 1.
* ``attention scores``: the band (b), its fp32 softmax and the masked copy of it (4 + 4).
* ``attention product``: probabilities, shifted into diagonals of 3·w + 2; values padded by a window to either side, and
  with their overlaps (3·q); the product.

Queries, keys and values live on, and the layer's input, the embeddings, a row of positions, the square mask that a row
is cut from, and the band that masks padding.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.seq2seq import decoder_step
from gpufit.memory.activations.setting import Contest, Moment, PhaseName, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import NOTHING, B, H, M, Q, S, T, X, b, f, h, q
from gpufit.memory.workload import Workload
from gpufit.records import replace

BAND = T * H * (2 * Q + 1)
CHUNKED = T - B * Q  # tokens that begin a chunk


@lru_cache(maxsize=1024)
def _encoder(c: Setting) -> Contest:
    # ids and mask as given (X tokens) and padded; the square mask; what tells padding and global tokens
    around = 16 * X + (8 * T if c.masked else NOTHING) + M * b + 3 * T
    stream = T * b * (2 * h) + S * b * h  # embeddings, the layer's input, positions
    named = stream + T * b * (3 * q) + around
    laid_out = named + T * b * (2 * q)
    masking = T * b + T * (2 * Q + 1) * b
    return contenders(
        (
            Moment("chunked products", CHUNKED * H * b * (4 * Q) + CHUNKED * b * (4 * q) + laid_out,
                   "scores of overlapping chunks; queries and keys laid out, and with their overlaps"),
            Moment("chunked scores", CHUNKED * H * b * (8 * Q + 2) + laid_out,
                   "scores of overlapping chunks and their padded copy; queries and keys laid out"),
            Moment("band", CHUNKED * H * b * (4 * Q + 2) + BAND * b + 2 * (B * H * Q * b * (Q + 1)) + laid_out,
                   "padded scores, the band cut from them, and its masked ends; queries and keys laid out"),
            Moment("attention scores", BAND * (8 + b) + masking + named, "the band, its fp32 softmax, a masked copy"),
            Moment("diagonals",
                   2 * (BAND * b) + T * H * b * (3 * Q + 2) + (T + 2 * (B * Q)) * (b * q) + masking + named,
                   "probabilities, laid out by heads, and their diagonals; values padded"),
            Moment("attention product",
                   BAND * b + T * H * b * (3 * Q + 2) + (T + 2 * (B * Q)) * (b * q) + T * b * (4 * q) + masking + named,
                   "probabilities and their diagonals; values padded, and with their overlaps; the product"),
            Moment("mlp", stream + T * b * (2 * f + 2 * h) + around,
                   "before and after the activation, residual, layer input, embeddings"),
        )
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _decoder(c: Setting) -> Contest:
    padding = X * h * b  # the encoder's output is a view of all padded tokens; cross-attention sees the others
    return contenders(Moment(m.name, m.formula + padding, m.alive) for m in decoder_step(c, "bart"))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Encode in windows, then the first and the last step of the decoder."""
    decoder, encoder = (architecture.stack(role) for role in ("decoder", "encoder"))
    if decoder is None or encoder is None or encoder.attention is None or not encoder.attention.window_tokens:
        raise ValueError("LED has two stacks, and a window")
    window = encoder.attention.window_tokens
    source = -(-workload.prompt_tokens // window) * window
    padded = replace(workload, prompt_tokens=source)
    c = settle(architecture, padded, encoder, "encode", keys=source, eager_only=True)
    c = c._replace(masked=source != workload.prompt_tokens)
    given = workload.batch * workload.prompt_tokens
    sizes = stack_sizes(architecture, padded, encoder, queries=source, keys=source, extra=given)._replace(Q=window // 2)
    courses = [Course(name="encode", cache_tokens=0, moments=((_encoder(c), sizes),))]
    stages: tuple[tuple[PhaseName, int], ...] = (("prefill", 1), ("decode", max(2, workload.new_tokens)))
    for name, cached in stages[: (2 if workload.new_tokens > 1 else 1) if architecture.generates else 0]:
        c = settle(architecture, workload, decoder, name, keys=cached, eager_only=True)
        sizes = stack_sizes(
            architecture, workload, decoder, queries=1, keys=cached, sources=workload.prompt_tokens,
            extra=workload.batch * (source - workload.prompt_tokens),
        )  # fmt: skip
        courses.append(Course(name=name, cache_tokens=cached, moments=((_decoder(c), sizes),)))
    return tuple(courses)
