"""Complete estimates a second on one core, through the Python API. Run by hand; the aim is 5,000.

python benchmarks/estimates.py [seconds]
"""

from __future__ import annotations

import sys
import time

from gpufit import Workload, architecture_of, estimate
from gpufit.memory.breakdown import break_down

MODELS = ("llama-2-7b", "gpt2", "t5-large", "roberta-large", "mixtral-8x7b", "gemma-2-9b")


def main(seconds: float) -> None:
    """Print one line a model: estimates alone, and with all rows and formulas."""
    print(f"{'model':<16} {'estimates/s':>12} {'with rows/s':>12}")
    for name in MODELS:
        architecture = architecture_of(name)
        rates = []
        for with_rows in (False, True):
            count, context = 0, 64
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                context = 64 + (context * 7 + 1) % 400  # no two in a row alike, so nothing is remembered
                found = estimate(architecture, Workload(prompt_tokens=context, new_tokens=16, dtype="fp16"))
                if with_rows:
                    break_down(found)
                count += 1
            rates.append(count / seconds)
        print(f"{name:<16} {rates[0]:12,.0f} {rates[1]:12,.0f}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
