"""MiMo-V2-Flash (transformers 5.23.0, models/mimo_v2_flash/modeling_mimo_v2_flash.py), eager attention only.

Sliding layers have twice the key heads of full ones, so both kinds are evaluated; values are narrower than keys.
Softmax stays in the model's dtype: scores and what comes of them, twice at a time (mask, sink, shift, softmax).
Rotation is partial. Experts are weighted by fp32 router weights.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.attention_kinds import attention_kinds, settle_kind
from gpufit.memory.activations.courses import Course, steps
from gpufit.memory.activations.decoder import Block, decoder_moments
from gpufit.memory.activations.moe import Routed, expert_moments
from gpufit.memory.activations.quantized import kernels_are_known
from gpufit.memory.activations.setting import Contest, Setting, contenders
from gpufit.memory.activations.symbols import E
from gpufit.memory.workload import Workload

BLOCK = Block(rotary="partial", scores="same", tables=2, eager_only=True)
EXPERTS = Routed(fp32_weights=True, router=E * 4)


@lru_cache(maxsize=1024)
def _moments(c: Setting) -> Contest:
    return contenders(decoder_moments(BLOCK, c, expert_moments(EXPERTS, c)))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of MiMo-V2-Flash."""
    courses = []
    for step in steps(architecture, workload):
        kinds = [settle_kind(architecture, workload, step, layers, eager_only=True)
                 for layers in attention_kinds(architecture)]  # fmt: skip
        courses.append(
            Course(
                name=step.name, cache_tokens=step.cached, exact=kernels_are_known(workload),
                moments=tuple((_moments(c), sizes) for c, sizes in kinds),
            )
        )  # fmt: skip
    return tuple(courses)
