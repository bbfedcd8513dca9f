"""Seconds and peak memory of whole replays, and a million events of the allocator, against the aims. Run by hand.

    python benchmarks/replay.py [model ...]

Each replay is a process of its own: imports count. CPU seconds say what a busy machine hides.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

# model, wall seconds and MiB aimed at
AIMS = {
    "llama-2-7b": (8.0, 500),
    "llama-2-70b": (60.0, 1536),
    "qwen3-235b-a22b": (60.0, 1536),
}
WORK = ("--prompt", "2048", "--new-tokens", "128")


def million_events() -> float:
    """CPU seconds for 500,000 requests of 512 bytes to 300 MiB and their frees, 200 alive at a time."""
    import random

    from gpufit.replay.allocator import CachingAllocator

    chance = random.Random(0)
    sizes = [chance.choice((512, 40_000, 3 << 20, 33 << 20)) * chance.randint(1, 9) for _ in range(500_000)]
    victims = [chance.randrange(200) for _ in sizes]
    allocator = CachingAllocator()
    live: list[Any] = []
    start = time.process_time()
    for size, victim in zip(sizes, victims, strict=True):
        live.append(allocator.allocate(size))
        if len(live) > 200:
            allocator.free(live.pop(victim))
    for block in live:
        allocator.free(block)
    return time.process_time() - start


def main(names: list[str]) -> None:
    """One line a model, and one for the allocator."""
    print(f"{'a million events':<29}{million_events():8.1f}s{10:7}s")
    print(f"{'model':<20}{'wall':>9}{'CPU':>9}{'aim':>8}{'peak':>12}{'aim':>12}")
    for name in names or AIMS:
        seconds_aim, mib_aim = AIMS.get(name, (60.0, 1536))
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "gpufit", "replay", name, *WORK, "--json"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
        failed = "" if status == 0 else "  failed"
        peak = usage.ru_maxrss / 1024
        print(f"{name:<20}{wall:8.1f}s{cpu:8.1f}s{seconds_aim:7.0f}s{peak:9.0f}MiB{mib_aim:9}MiB{failed}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
