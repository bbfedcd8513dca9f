"""MPT (transformers 5.23.0, models/mpt/modeling_mpt.py): ALiBi in fp32, eager attention only.

MptAttention keeps the fused projection alive through its views. ALiBi (heads, 1, X), X the longest sequence, is fp32,
so that adding it makes the scores fp32: scores, softmax and its copy in the model's dtype are alive together. The
mask is one byte an element. The loop's ``outputs`` hold the weights of the layer before; the block names attention's
output.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.decoder import PLAIN, Block, decoder_moments
from gpufit.memory.activations.one_block import plan_one_block
from gpufit.memory.activations.setting import Contest, Setting, contenders
from gpufit.memory.activations.symbols import F, H, M, X
from gpufit.memory.workload import Workload
from gpufit.records import replace

BLOCK = Block(
    mlp_stream=5, mlp=PLAIN, norm="layer", norm_stream=5, projections=F, rotary="none", scores="fp32 bias",
    previous_scores=1, table=4 * (H * X) + M, eager_only=True,
)  # fmt: skip


@lru_cache(maxsize=1024)
def _moments(c: Setting) -> Contest:
    block = replace(BLOCK, named_scores=3 if c.half else 2)  # the fp32 scores and the weights
    return contenders(decoder_moments(block, c._replace(masks=0)))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of MPT."""
    longest = architecture.max_context_tokens or workload.context_tokens
    return plan_one_block(_moments, architecture, workload, letters={"X": longest}, eager_only=True)
