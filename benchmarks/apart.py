"""Work shared out among processes that are ended now and then: what they have imported and cached takes memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Case = TypeVar("Case")
Found = TypeVar("Found")
MOST_TASKS = 100


def run_apart(work: Callable[[Case], Found], cases: Sequence[Case], workers: int) -> Iterator[tuple[Case, Found]]:
    """Each case with what ``work`` makes of it, in order.

    ``max_tasks_per_child`` would do that too, but Python 3.11's pool of one process waits forever after so many tasks.
    """
    for start in range(0, len(cases), MOST_TASKS):
        some = cases[start : start + MOST_TASKS]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from zip(some, pool.map(work, some), strict=True)
