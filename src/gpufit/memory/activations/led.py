"""LED (transformers 5.23.0, models/led/modeling_led.py): an encoder that attends in chunks of its window, a bound.

LEDEncoderSelfAttention, w = Q the window to either side, no tokens with global attention (``generate`` marks none).
Tokens are padded to whole windows of 2·w, and every token and head scores 2·w + 1 neighbours:

* ``chunked scores``: overlapping chunks of 2·w queries by 2·w keys give 4·w numbers per token and head, which padding
  by one row copies; beside them queries and keys laid out by heads (2·q), and again with their overlaps (4·q).
* ``attention scores``: the banded scores (b), their fp32 softmax and its masked copy (4 + 4).
* ``attention product``: the weights laid out by heads and their diagonals (3·w + 2), which the product copies, beside
  the values laid out, padded, and with their overlaps (3·q).

Queries, keys, values, the layer's input, embeddings, positions and the square mask that a row is cut from live on.
The bound counts chunks beyond the last one and padded rows of 2·w + 1; the decoder is BART's over the padded source,
which the encoder's output keeps whole.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.seq2seq import decoder_step
from gpufit.memory.activations.setting import Contest, Moment, PhaseName, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import H, M, Q, T, b, f, h, q
from gpufit.memory.workload import Workload
from gpufit.records import replace

BAND = T * H * (2 * Q + 1)


@lru_cache(maxsize=1024)
def _encoder(c: Setting) -> Contest:
    around = 24 * T + M * b
    stream = T * b * (3 * h)  # embeddings, positions, the layer's input
    named = stream + T * b * (3 * q) + around
    return contenders(
        (
            Moment("chunked scores", T * H * b * (8 * Q + 2) + T * b * (6 * q) + named,
                   "scores of overlapping chunks and their padded copy; queries and keys laid out, and their overlaps"),
            Moment("attention scores", BAND * (8 + b) + named, "banded scores, fp32 softmax, its masked copy"),
            Moment("attention product", BAND * (2 * b) + T * H * b * (6 * Q + 2) + T * b * (6 * q) + named,
                   "weights, laid out, their diagonals and a copy; values laid out, padded and with their overlaps"),
            Moment("mlp", stream + T * b * (2 * f + 3 * h) + around,
                   "before and after the activation, residual, attention's output, layer input, embeddings"),
        )
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _decoder(c: Setting) -> Contest:
    return contenders(decoder_step(c, "bart"))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Encode in windows, then the first and the last step of the decoder."""
    decoder, encoder = (architecture.stack(role) for role in ("decoder", "encoder"))
    if decoder is None or encoder is None or encoder.attention is None or not encoder.attention.window_tokens:
        raise ValueError("LED has two stacks, and a window")
    window = encoder.attention.window_tokens
    source = -(-workload.prompt_tokens // window) * window
    padded = replace(workload, prompt_tokens=source)
    c = settle(architecture, padded, encoder, "encode", keys=source, eager_only=True)
    sizes = stack_sizes(architecture, padded, encoder, queries=source, keys=source)._replace(Q=window // 2)
    courses = [Course(name="encode", cache_tokens=0, moments=((_encoder(c), sizes),), exact=False)]
    stages: tuple[tuple[PhaseName, int], ...] = (("prefill", 1), ("decode", max(2, workload.new_tokens)))
    for name, cached in stages[: (2 if workload.new_tokens > 1 else 1) if architecture.generates else 0]:
        c = settle(architecture, padded, decoder, name, keys=cached, eager_only=True)
        sizes = stack_sizes(architecture, padded, decoder, queries=1, keys=cached, sources=source)
        courses.append(Course(name=name, cache_tokens=cached, moments=((_decoder(c), sizes),), exact=False))
    return tuple(courses)
