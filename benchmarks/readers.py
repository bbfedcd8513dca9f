"""How long a reader takes from a config.json to an Architecture, for every configuration of a folder. Run by hand.

    python benchmarks/readers.py ../shared/configs [rounds]

Milliseconds of the first reading in this process (the family's module is imported then) and the best of the others, the
slowest families last; the aim is a few milliseconds.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

from gpufit.errors import Undecided
from gpufit.facts.json_text import parse_json
from gpufit.facts.read import parse_config


def read_once(text: bytes) -> tuple[str, float]:
    """(model_type, milliseconds) of parsing and reading one file."""
    start = time.perf_counter()
    raw = parse_json(text, "config.json", python_floats=True)
    with suppress(Undecided):
        parse_config(raw)
    return str(raw.get("model_type")), 1e3 * (time.perf_counter() - start)


def main(folder: Path, rounds: int) -> None:
    """Print one line a family."""
    first: dict[str, float] = {}
    best: dict[str, float] = {}
    for path in sorted(folder.glob("*.json")):
        text = path.read_bytes()
        for turn in range(rounds + 1):
            family, milliseconds = read_once(text)
            if turn == 0:
                first.setdefault(family, milliseconds)
            else:
                best[family] = min(best.get(family, milliseconds), milliseconds)
    print(f"{'family':<24} {'first':>9} {'best':>9}")
    for family in sorted(best, key=best.__getitem__):
        print(f"{family:<24} {first[family]:7.2f}ms {best[family]:7.3f}ms")
    times = sorted(best.values())
    print(f"{len(times)} families: median {times[len(times) // 2]:.3f} ms, worst {times[-1]:.3f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
