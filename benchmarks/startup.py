"""How long whole commands take, against ``python -c "import typer"`` in the same run. Run by hand.

    python benchmarks/startup.py [rounds]

Ratios and peak memory are printed; the aims are in the right column. Each command is run in turn, round after round, so
that a slow moment of the machine hits all alike; the smallest time of each is compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

GPUFIT = [sys.executable, "-m", "gpufit"]
BASE = [sys.executable, "-c", "import typer"]
COMMANDS: dict[str, tuple[list[str], float]] = {
    "import typer": (BASE, 1.0),
    "gpufit check llama-2-7b --vram 16": ([*GPUFIT, "check", "llama-2-7b", "--vram", "16"], 1.3),
    "gpufit check llama-2-7b --gpu t4 --json": ([*GPUFIT, "check", "llama-2-7b", "--gpu", "t4", "--json"], 1.3),
    "gpufit list": ([*GPUFIT, "list"], 2.0),
    "gpufit list --fits --vram 16": ([*GPUFIT, "list", "--fits", "--vram", "16"], 2.0),
    "gpufit --help": ([*GPUFIT, "--help"], 1.3),
}


def run(command: list[str], environ: dict[str, str]) -> tuple[float, int]:
    """Wall seconds and peak KiB of one process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    _, _, usage = os.wait4(child.pid, 0)
    return time.perf_counter() - start, usage.ru_maxrss


def main(rounds: int) -> None:
    """Print one line a command."""
    with tempfile.TemporaryDirectory() as cache:
        environ = {**os.environ, "XDG_CACHE_HOME": cache}
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        memory: dict[str, int] = dict.fromkeys(COMMANDS, 0)
        for command, _ in COMMANDS.values():
            run(command, environ)  # fills the page cache, the bytecode and the compiled catalog
        for _ in range(rounds):
            for name, (command, _) in COMMANDS.items():
                seconds, kib = run(command, environ)
                times[name].append(seconds)
                memory[name] = max(memory[name], kib)
    base = min(times["import typer"])
    print(f"{'command':<42} {'best':>8} {'ratio':>6} {'aim':>5} {'peak':>9}")
    for name, (_, aim) in COMMANDS.items():
        best = min(times[name])
        print(f"{name:<42} {best * 1e3:6.1f}ms {best / base:6.2f} {aim:5.1f} {memory[name] / 1024:6.1f}MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
