"""Llama 4 (transformers 5.23.0, models/llama4/modeling_llama4.py): every token goes through every expert.

Llama4TextMoe repeats the tokens once per expert, E·T rows, and scales them by scores that are 0 for the experts not
chosen. Llama4TextExperts then holds gate and up in one tensor (2·w) beside those rows (h): activated gate and product
(w each), or the product and its projection (w + h). The rows' outputs wait while the shared expert runs. The layer
still names attention's output, so the stream through the MLP is one tensor wider than Llama's. Rotation is a product
of complex numbers; freqs_cis is one complex64 per position and pair, 4·S·D bytes. Softmax stays in the model's dtype.
The mask of chunks is one per sequence. X layers follow the last dense one, and have not filled their cache when it
runs.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.decoder import GATED, Block, decoder_moments
from gpufit.memory.activations.one_block import plan_one_block
from gpufit.memory.activations.setting import Contest, Moment, Setting, contenders
from gpufit.memory.activations.symbols import NOTHING, E, M, N, T, X, b, h, k, u, v, w
from gpufit.memory.workload import Workload
from gpufit.records import replace

BLOCK = Block(mlp_stream=5, norm_stream=4, rotary="complex", scores="same")


def experts(c: Setting) -> tuple[Moment, ...]:
    """Llama4TextMoe above the residual stream, and the MLP of the dense layers."""
    rows = E * T
    scores = 2 * (rows * b)  # router_scores and router_logits
    return (
        Moment("scaled rows", rows * b * (2 * h) + scores, "every token once per expert, before and after scaling"),
        Moment("experts", rows * b * (h + 4 * w) + scores, "rows, gate and up in one, activated gate, product"),
        Moment("experts joined", rows * b * (2 * h + 3 * w) + scores, "rows, gate and up, product, its projection"),
        Moment("shared expert", rows * b * (2 * h) + T * b * (3 * u) + scores,
               "rows and outputs; gate, up and product"),
        Moment("experts summed", rows * b * (2 * h) + T * b * (2 * h) + scores,
               "rows, outputs, their sum, shared output"),
        Moment("mlp", T * b * GATED - X * T * b * (k + v), "gate, up and product of the last dense layer"),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _moments(c: Setting) -> Contest:
    chunked = M - N if c.masked and c.kernel != "eager" else NOTHING
    return contenders(decoder_moments(replace(BLOCK, table=chunked), c, experts(c)))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of Llama 4's text decoder."""
    groups = (g for g in architecture.tensors.groups if g.name.endswith("feed_forward.gate_proj.weight"))
    dense = max((max(indices) for group in groups for indices in group.indices), default=-1)
    behind = architecture.stacks[0].layers - 1 - dense
    return plan_one_block(_moments, architecture, workload, letters={"X": behind})
