"""Seconds and peak memory of whole replays, against the aims. Run by hand on a quiet machine.

    python benchmarks/replay.py [model ...]

Each replay is a process of its own: imports count. CPU seconds say what a busy machine hides.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

# model, wall seconds and MiB aimed at
AIMS = {
    "llama-2-7b": (8.0, 500),
    "llama-2-70b": (60.0, 1536),
    "qwen3-235b-a22b": (60.0, 1536),
}
WORK = ("--prompt", "2048", "--new-tokens", "128")


def main(names: list[str]) -> None:
    """One line a model."""
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
