"""How long whole commands take, against ``python -c "import typer"`` in the same run. Run by hand.

    python benchmarks/startup.py [rounds]

Ratios and peak memory are printed; the aims are in the right column. Each command is run in turn, round after round, so
that a slow moment of the machine hits all alike; the smallest time of each is compared.
"""

from __future__ import annotations

import json
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
FROM_CATALOG = "gpufit check llama-2-7b --vram 16"
FROM_FILE = "gpufit check config.json --vram 16"
LLAMA_2_7B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "torch_dtype": "float16",
}  # fmt: skip
FILE_OVER_CATALOG = 1.15


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
        config = os.path.join(cache, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(LLAMA_2_7B, file)
        commands = {**COMMANDS, FROM_FILE: ([*GPUFIT, "check", config, "--vram", "16"], 1.3)}
        times: dict[str, list[float]] = {name: [] for name in commands}
        memory: dict[str, int] = dict.fromkeys(commands, 0)
        for command, _ in commands.values():
            run(command, environ)  # fills the page cache, the bytecode and the compiled catalog
        for _ in range(rounds):
            for name, (command, _) in commands.items():
                seconds, kib = run(command, environ)
                times[name].append(seconds)
                memory[name] = max(memory[name], kib)
    base = min(times["import typer"])
    print(f"{'command':<42} {'best':>8} {'ratio':>6} {'aim':>5} {'peak':>9}")
    for name, (_, aim) in commands.items():
        best = min(times[name])
        print(f"{name:<42} {best * 1e3:6.1f}ms {best / base:6.2f} {aim:5.1f} {memory[name] / 1024:6.1f}MiB")
    ratio = min(times[FROM_FILE]) / min(times[FROM_CATALOG])
    print(f"a config.json takes {ratio:.2f} times what the catalog takes; the aim is {FILE_OVER_CATALOG}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
