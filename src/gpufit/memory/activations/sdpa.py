"""What scaled_dot_product_attention holds at its widest, by the kernel that CUDA chooses (PyTorch 2.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpufit.memory.activations.setting import Moment, Setting
from gpufit.memory.activations.symbols import NOTHING, A, Expr, H, M, N, P, T, b, h, k, o, q, v

if TYPE_CHECKING:
    from gpufit.memory.activations.decoder import Block


def math_moments(block: Block, c: Setting, around: Expr) -> list[Moment]:
    """attention.cpp, _scaled_dot_product_attention_math: half precision is computed in fp32; queries and keys times
    √scale; a causal mask of its own where none is given; those fp32 keys and values repeated where enable_gqa asks for
    it (repeat_interleave); the product; the mask added.
    """
    wide = T * (4 * q) + P * (4 * (k + v)) if c.half else NOTHING
    scaled = P * (4 * (k if c.shared and not block.repeats else NOTHING))
    repeated = P * (4 * (q + o)) if block.repeats else NOTHING
    mask = NOTHING if c.decode else M * b if c.masked else 4 * N  # there from before the product to the end
    grown = repeated + wide + T * (4 * q) + mask + around
    copied = block.repeats or c.batched  # one key head of one sequence is multiplied as a view
    return [
        Moment(
            "attention product",
            grown + (P * (4 * q) if copied else NOTHING) + scaled + 4 * A,
            "the unfused fallback: scaled queries and keys, their product, the mask",
        ),
        Moment(
            "attention values",
            grown + (P * (4 * o) if copied and not block.repeats else NOTHING) + 4 * A + T * (4 * o),
            "the unfused fallback: scaled queries, mask, softmax, the one value head laid out, the product",
        ),
        Moment(
            "attention result",
            grown + A * (4 + b if c.half else 4) + T * ((4 + b) * o if c.half else 4 * o),
            "the unfused fallback: scaled queries, mask, softmax and product, the last two also in half precision",
        ),
        Moment(
            "attention scores",
            grown + 8 * A,
            "the unfused fallback: scaled queries, scores before and after the mask",
        ),
    ]


def fused_moments(block: Block, c: Setting, stream: Expr, around: Expr) -> list[Moment]:
    """The flash, cuDNN and memory-efficient kernels. The last knows no grouped heads: with a mask they are repeated."""
    masked = c.masked and not c.flash and not c.decode
    repeated = P * b * (q + o) if c.grouped else NOTHING
    copies = (repeated + (A if block.scores == "alibi" else M) * b) if masked else NOTHING
    return [
        Moment(
            "attention",
            stream + T * b * (block.projections + o) + (4 * (T * H) if c.logsumexp else 0) + copies + around,
            "queries and the kernel's output"
            + (", repeated keys and values, the mask in the model's dtype" if masked else ""),
        ),
        Moment(
            "attention output",
            stream + T * b * (block.projections + o + h) + around,
            "queries, the heads' outputs and their projection",
        ),
    ]
