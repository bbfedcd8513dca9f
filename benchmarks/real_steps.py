"""Real training steps of every family on this machine's CPU; writes docs/real_steps.csv, in about two minutes.

``PYTHONPATH=src:tests/memory/training python benchmarks/real_steps.py``. For each family: full and LoRA, checkpoints
off and on, six optimizers; the worst difference of the estimate in forward, backward and step.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

from real_step import differences
from shrunken_training import FAMILIES

ROOT = Path(__file__).parents[1]


def worst_of(name: str) -> dict[str, float]:
    """Percent by phase, of largest size."""
    worst = {"forward": 0.0, "backward": 0.0, "step": 0.0}
    for (*_, phase), percent in differences(name):
        worst[phase] = max(worst[phase], percent, key=abs)
    return worst


def main() -> None:
    """One line a family."""
    warnings.filterwarnings("ignore")
    with (ROOT / "docs" / "real_steps.csv").open("w", encoding="utf-8", newline="") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(("family", "forward_percent", "backward_percent", "step_percent"))
        for name in FAMILIES:
            out.writerow((name, *(f"{percent:.2f}" for percent in worst_of(name).values())))
            stream.flush()


if __name__ == "__main__":
    main()
