"""The phases of a workload, laid out for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.decoder import Block, decoder_moments
from gpufit.memory.activations.quantized import kernels_are_known
from gpufit.memory.activations.setting import Contest, Moment, PhaseName, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import Sizes
from gpufit.memory.workload import Workload
from gpufit.records import record


@record
class Course:
    """A phase before it is evaluated: its moments with the sizes that each is evaluated with."""

    name: PhaseName
    cache_tokens: int
    moments: tuple[tuple[tuple[Moment, ...], Sizes], ...]
    exact: bool = True
    beside_bytes: int = 0  # what lives all through the phase beside every moment: pictures


Planner = Callable[[Architecture, Workload], tuple[Course, ...]]


@lru_cache(maxsize=4096)
def _moments(block: Block, setting: Setting) -> Contest:
    return contenders(decoder_moments(block, setting))


def plan_decoder(block: Block, architecture: Architecture, workload: Workload, extra: int = 0) -> tuple[Course, ...]:
    """Prefill and decode of a decoder with one kind of block; ``extra`` is its letter X."""
    stack = architecture.stacks[0]
    return tuple(
        Course(
            name=step.name,
            cache_tokens=step.cached,
            exact=kernels_are_known(workload),
            moments=(
                (
                    _moments(
                        block,
                        settle(
                            architecture,
                            workload,
                            stack,
                            step.name,
                            keys=step.keys,
                            queries=step.queries,
                            eager_only=block.eager_only,
                        ),
                    ),
                    stack_sizes(architecture, workload, stack, queries=step.queries, keys=step.keys, extra=extra),
                ),
            ),
        )
        for step in steps(architecture, workload)
    )


class Step(NamedTuple):
    """One phase of a model with one stack: new tokens, tokens that attention sees, tokens in the cache."""

    name: PhaseName
    queries: int
    keys: int
    cached: int


def steps(architecture: Architecture, workload: Workload) -> tuple[Step, ...]:
    """Encode, or prefill and the last decode step: of ``new_tokens`` the last one is chosen but never fed back."""
    prompt = workload.prompt_tokens
    if not architecture.generates:
        return (Step("encode", prompt, prompt, prompt if architecture.cache else 0),)
    prefill = Step("prefill", prompt, prompt, prompt)
    if not workload.new_tokens:
        return (prefill,)
    kinds = {layers.kind: layers.window_tokens for layers in architecture.cache}
    fed = prompt + max(1, workload.new_tokens - 1)
    seen = fed if "full" in kinds else min(fed, kinds.get("sliding") or fed)
    return (prefill, Step("decode", 1, seen, fed))
