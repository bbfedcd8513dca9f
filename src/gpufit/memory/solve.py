"""The largest workload that still fits, by search over the same estimate() that everything else uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gpufit.facts.architecture import Architecture
from gpufit.memory.curve import Curve
from gpufit.memory.estimate import Estimate, estimate
from gpufit.memory.split import share_out
from gpufit.memory.workload import Workload
from gpufit.records import replace

LONGEST_SEARCHED_TOKENS = 1 << 22  # for designs without a bound of their own
LARGEST_SEARCHED_BATCH = 1 << 14


def with_context(workload: Workload, context_tokens: int) -> Workload:
    """The same workload at another context: new tokens stay, the prompt takes the rest (at least one token).

    >>> with_context(Workload(prompt_tokens=3840, new_tokens=256), 1024).prompt_tokens
    768
    """
    new_tokens = min(workload.new_tokens, context_tokens - 1)
    return replace(workload, prompt_tokens=context_tokens - new_tokens, new_tokens=new_tokens)


def context_curve(
    architecture: Callable[[], Architecture],
    workload: Workload,
    *,
    top: int | None,
    devices: int = 1,
    kept: Sequence[Any] | None = None,
) -> Curve:
    """What the fullest device needs over the context in tokens: process, then load peak, each low, likely and high.

    The high ends have to stay within a budget. ``top`` is the model's longest context, None where it sets none. The
    architecture is asked for only where ``kept``, the pieces of an earlier curve, do not answer.
    """

    def needs(context_tokens: int) -> tuple[int, ...]:
        share = share_out(estimate(architecture(), with_context(workload, context_tokens)), devices)
        return (
            share.process.low_bytes, share.process.likely_bytes, share.process.high_bytes,
            share.load_peak.low_bytes, share.load_peak.likely_bytes, share.load_peak.high_bytes,
        )  # fmt: skip

    return Curve(needs, top or LONGEST_SEARCHED_TOKENS, bounded=(2, 5), kept=kept or (1,))


def context_peaks(windows: Iterable[int], new_tokens: int) -> tuple[int, ...]:
    """The contexts in tokens after which a model with these sliding windows may need less, smallest first.

    A prompt that fills the window gets a mask, and with it another attention kernel; a cache that has filled it grows
    no more; a prompt of one token is where decoding grows the cache most, where it decodes at all.
    Mistral-7B, with 256 new tokens:

    >>> context_peaks([4096], 256)
    (1, 257, 4095, 4096, 4351, 4352)
    """
    edges = (edge for window in windows for edge in (window - 1, window))
    return tuple(sorted({1, new_tokens + 1, *(edge + more for edge in edges for more in (0, new_tokens))} - {0}))


def window_tokens(architecture: Architecture) -> tuple[int, ...]:
    """The windows that layers of a model attend or cache within, smallest first."""
    own = {layers.window_tokens for layers in architecture.cache}
    own |= {stack.attention.window_tokens for stack in architecture.stacks if stack.attention}
    return tuple(sorted(window for window in own if window))


def solve_context(architecture: Architecture, workload: Workload, need: Callable[[Estimate], int], budget: int) -> int:
    """The longest context in tokens whose ``need`` is within ``budget`` bytes; 0 when not even one token is.

    For the serving runtimes, whose blocks ``context_curve`` cannot follow.
    """
    longest = architecture.max_context_tokens or LONGEST_SEARCHED_TOKENS
    return largest_within(lambda n: need(estimate(architecture, with_context(workload, n))), longest, budget)


def solve_batch(architecture: Architecture, workload: Workload, need: Callable[[Estimate], int], budget: int) -> int:
    """The largest batch whose ``need`` is within ``budget`` bytes; 0 when not even one sequence is."""
    return largest_within(
        lambda n: need(estimate(architecture, replace(workload, batch=n))), LARGEST_SEARCHED_BATCH, budget
    )


def largest_within(cost: Callable[[int], int], top: int, budget: int) -> int:
    """The largest n in 1..top with cost(n) <= budget, for a cost that never falls.

    Costs are close to straight lines, so the next trial is where the chord meets the budget; a halving step every other
    time keeps the search logarithmic where they bend.
    """
    high, high_cost = top, cost(top)
    if high_cost <= budget:
        return top
    low, low_cost = 1, cost(1)
    if low_cost > budget:
        return 0
    halve = False
    while high - low > 1:
        if halve:
            trial = (low + high) // 2
        else:
            trial = low + (budget - low_cost) * (high - low) // max(1, high_cost - low_cost)
            trial = min(max(trial, low + 1), high - 1)
        trial_cost = cost(trial)
        if trial_cost > budget:
            high, high_cost = trial, trial_cost
        else:
            low, low_cost = trial, trial_cost
            # where the cost is a straight line the chord lands just under the boundary: look one step further at once
            if high - low > 1:
                next_cost = cost(low + 1)
                if next_cost > budget:
                    return low
                low, low_cost = low + 1, next_cost
        halve = not halve
    return low
