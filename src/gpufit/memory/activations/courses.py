"""The phases of a workload, laid out for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.decoder import Block, decoder_moments
from gpufit.memory.activations.setting import Moment, PhaseName, Setting
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


Planner = Callable[[Architecture, Workload], tuple[Course, ...]]


@lru_cache(maxsize=4096)
def _moments(block: Block, setting: Setting) -> tuple[Moment, ...]:
    return decoder_moments(block, setting)


def plan_decoder(block: Block, architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill, and decode at its last step: of ``new_tokens`` the last one is chosen but never fed back."""
    prefilled = workload.prompt_tokens
    fed = prefilled + max(1, workload.new_tokens - 1)
    return tuple(
        Course(
            name=name, cache_tokens=prefilled if name != "decode" else fed,
            moments=((_moments(block, settle(architecture, workload, architecture.stacks[0], name, keys=keys,
                                             eager_only=block.eager_only)),
                      stack_sizes(architecture, workload, architecture.stacks[0], queries=queries, keys=keys)),),
        )
        for name, queries, keys in steps(architecture, workload)
    )  # fmt: skip


def steps(architecture: Architecture, workload: Workload) -> tuple[tuple[PhaseName, int, int], ...]:
    """(phase, query tokens, key tokens) of each phase of a model with one stack."""
    prompt = workload.prompt_tokens
    kinds = {layers.kind: layers.window_tokens for layers in architecture.cache}
    window = kinds.get("sliding") if "full" not in kinds else None
    if not architecture.generates:
        return (("encode", prompt, prompt),)
    if not workload.new_tokens:
        return (("prefill", prompt, prompt),)
    cached = prompt + max(1, workload.new_tokens - 1)
    return (("prefill", prompt, prompt), ("decode", 1, min(cached, window or cached)))
