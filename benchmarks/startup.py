"""How long whole commands take, against ``python -c "import typer"`` in the same run. Run by hand.

    python benchmarks/startup.py [rounds]

Ratios and peak memory are printed; the aims are in the right column. Each command is run in turn, round after round, so
that a slow moment of the machine hits all alike; the smallest wall and CPU times of each are compared, and the median
too where every round asks something new. The first ``list --fits`` of all, which compiles the catalog and follows every
model's curve for that kind of card, is told apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import NamedTuple

GPUFIT = [sys.executable, "-m", "gpufit"]
BASE = "import typer"
LIST = [*GPUFIT, "list", "--fits", "--vram"]
# each command and the most that it may take, in times of the first; {n} is another number in each round
COMMANDS: dict[str, tuple[list[str], float]] = {
    BASE: ([sys.executable, "-c", BASE], 1.0),
    "check llama-2-7b --vram 16": ([*GPUFIT, "check", "llama-2-7b", "--vram", "16"], 1.3),
    "check llama-2-7b --gpu t4 --json": ([*GPUFIT, "check", "llama-2-7b", "--gpu", "t4", "--json"], 1.3),
    "list": ([*GPUFIT, "list"], 2.0),
    "list --fits --vram 16, repeated": ([*LIST, "16"], 2.0),
    "list --fits --vram NEW": ([*LIST, "{n}.3"], 2.0),
    "list --fits --vram 16 --context NEW": ([*LIST, "16", "--context", "20{n}"], 0.0),
    "list --fits --vram 16 --batch NEW": ([*LIST, "16", "--batch", "{n}"], 0.0),
    "--help": ([*GPUFIT, "--help"], 1.3),
    "completion of 'gpufit ch'": ([*GPUFIT], 1.3),
}
FROM_CATALOG = "check llama-2-7b --vram 16"
FROM_FILE = "check config.json --vram 16"
LLAMA_2_7B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "torch_dtype": "float16",
}  # fmt: skip
FILE_OVER_CATALOG = 1.15
COMPLETION = {"_GPUFIT_COMPLETE": "complete_bash", "COMP_WORDS": "gpufit ch", "COMP_CWORD": "1"}


class Cost(NamedTuple):
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_kib: int


def run(command: list[str], environ: dict[str, str]) -> Cost:
    """Start a command, wait, and ask the system what it took."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{' '.join(command)} failed")
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def main(rounds: int) -> None:
    """Print one line a command."""
    with tempfile.TemporaryDirectory() as cache:
        environ = {**os.environ, "XDG_CACHE_HOME": cache}
        config = os.path.join(cache, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(LLAMA_2_7B, file)
        commands = {**COMMANDS, FROM_FILE: ([*GPUFIT, "check", config, "--vram", "16"], 1.3)}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        run(COMMANDS[BASE][0], environ)
        run([*GPUFIT, "--help"], environ)
        first = run([*LIST, "16"], environ)
        for number in range(rounds + 1):
            for name, (command, _) in commands.items():
                words = [word.replace("{n}", str(10 + number)) for word in command]
                cost = run(words, {**environ, **COMPLETION} if name.startswith("completion") else environ)
                if number:  # the first round fills the page cache
                    costs[name].append(cost)
    base = [min(cost[index] for cost in costs[BASE]) for index in (0, 1)]
    print(f"{'command':<38} {'wall':>8} {'ratio':>6} {'cpu':>8} {'ratio':>6} {'median':>6} {'aim':>5} {'peak':>8}")
    for name, (_, aim) in commands.items():
        wall, cpu = (min(cost[index] for cost in costs[name]) for index in (0, 1))
        middle = median(cost.cpu_s for cost in costs[name]) / median(cost.cpu_s for cost in costs[BASE])
        peak = max(cost.peak_kib for cost in costs[name]) / 1024
        print(
            f"{name:<38} {wall * 1e3:6.1f}ms {wall / base[0]:6.2f} {cpu * 1e3:6.1f}ms {cpu / base[1]:6.2f} "
            f"{middle:6.2f} {aim or '':>5} {peak:5.1f}MiB"
        )
    ratio = min(cost.cpu_s for cost in costs[FROM_FILE]) / min(cost.cpu_s for cost in costs[FROM_CATALOG])
    print(f"a config.json takes {ratio:.2f} times what the catalog takes; the aim is {FILE_OVER_CATALOG}")
    print(f"{'list --fits, the first run of all':<38} {first.wall_s:7.2f}s {'':>6} {first.cpu_s:7.2f}s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
