"""The largest workload that still fits, by search over the same estimate() that everything else uses."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.facts.architecture import Architecture
from gpufit.memory.estimate import Estimate, estimate
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


def solve_context(architecture: Architecture, workload: Workload, need: Callable[[Estimate], int], budget: int) -> int:
    """The longest context in tokens whose ``need`` is within ``budget`` bytes; 0 when not even one token is."""
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
