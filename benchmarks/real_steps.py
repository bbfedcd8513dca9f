"""Real training steps of every family on this machine's CPU; writes docs/real_steps.csv, in about two minutes.

``PYTHONPATH=src:tests/memory/training python benchmarks/real_steps.py``. For each family: full and LoRA, checkpoints
off and on, six optimizers; the worst difference of the estimate in forward, backward and step.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

from real_step import NO_DROPOUT, real_steps
from shrunken_training import FAMILIES, targets

from gpufit.facts.read import parse_config
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import TrainingPlan

ROOT = Path(__file__).parents[1]
TOKENS, BATCH = 64, 2


def worst_of(name: str) -> dict[str, float]:
    """Percent by phase, of largest size."""
    raw = {**FAMILIES[name], **NO_DROPOUT}
    architecture = parse_config(raw)
    worst = {"forward": 0.0, "backward": 0.0, "step": 0.0}
    for seen in real_steps(raw, tokens=TOKENS, batch=BATCH, targets=targets(name)):
        plan = TrainingPlan(
            method=seen.method, micro_batch=BATCH, seq=TOKENS, precision="fp32", attention="eager",
            optimizer=seen.optimizer, checkpointing="full" if seen.checkpointing else "none",
            lora_targets=targets(name),
        )  # fmt: skip
        # under a tracker, as under any dispatch mode, autograd writes the sum of two gradients anew
        found = estimate_training(architecture, plan, sums_in_place=False)
        held = found.residents
        lasting = held.model_bytes + held.buffers_bytes + held.optimizer.states_bytes
        for phase in found.phases:
            percent = 100 * ((lasting + phase.above_bytes) / seen.phases[phase.name] - 1)
            worst[phase.name] = max(worst[phase.name], percent, key=abs)
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
