"""Prefill and decode of a decoder with one stack, for families that bring moments of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, steps
from gpufit.memory.activations.quantized import kernels_are_known
from gpufit.memory.activations.setting import Contest, Setting
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.workload import Workload


def plan_one_block(
    moments: Callable[[Setting], Contest],
    architecture: Architecture,
    workload: Workload,
    *,
    letters: Mapping[str, int] | None = None,
    eager_only: bool = False,
    exact: bool = True,
) -> tuple[Course, ...]:
    """Every step's moments with their sizes; ``letters`` are those that only this family has.

    ``exact`` is False for a derived bound; quantized kernels that nobody read make any form one.
    """
    stack = architecture.stacks[0]
    return tuple(
        Course(
            name=step.name, cache_tokens=step.cached, exact=exact and kernels_are_known(workload),
            moments=(
                (
                    moments(settle(architecture, workload, stack, step.name, keys=step.keys, queries=step.queries,
                                   eager_only=eager_only)),
                    stack_sizes(architecture, workload, stack, queries=step.queries, keys=step.keys)._replace(
                        **(letters or {})),
                ),
            ),
        )
        for step in steps(architecture, workload)
    )  # fmt: skip
