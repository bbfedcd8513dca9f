"""Whole training steps on real CPU tensors: live bytes of every phase against the estimate, within 3 %."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="runs real training steps and needs torch")
pytest.importorskip("transformers", reason="runs real training steps and needs transformers")
pytest.importorskip("peft", reason="puts real adapters on the models")

from real_step import NO_DROPOUT, real_steps
from shrunken_training import FAMILIES, targets

from gpufit.facts.read import parse_config
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import TrainingPlan

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
TOKENS, BATCH = 64, 2
# one of each kind of block; benchmarks/real_steps.py runs them all, and docs/real_steps.csv has what it found
SAMPLE = ("llama-grouped", "qwen2", "mistral-window", "qwen3", "gemma", "phi3", "olmo2", "mixtral", "qwen2-moe",
          "gpt2", "gptj", "opt", "bloom", "gpt_neox", "phi", "falcon", "bart", "flan-t5", "bert-mlm", "roberta",
          "distilbert", "deberta-own")  # fmt: skip
WORST_PERCENT = 3.0


@pytest.mark.parametrize("name", SAMPLE)
def test_real_steps_need_what_is_estimated(name: str) -> None:
    """Full and LoRA, checkpoints off and on, six optimizers: forward, backward and step of each."""
    raw: dict[str, Any] = {**FAMILIES[name], **NO_DROPOUT}
    architecture = parse_config(raw)
    found: dict[tuple[str, ...], float] = {}
    for seen in real_steps(raw, tokens=TOKENS, batch=BATCH, targets=targets(name)):
        plan = TrainingPlan(
            method=seen.method, micro_batch=BATCH, seq=TOKENS, precision="fp32", attention="eager",
            optimizer=seen.optimizer, checkpointing="full" if seen.checkpointing else "none",
            lora_targets=targets(name),
        )  # fmt: skip
        # under a tracker, as under any dispatch mode, autograd writes the sum of two gradients anew
        estimate = estimate_training(architecture, plan, sums_in_place=False)
        held = estimate.residents
        # without the CUDA allocator: no rounding of tensors and no workspaces
        lasting = held.model_bytes + held.buffers_bytes + held.optimizer.states_bytes
        for phase in estimate.phases:
            percent = 100 * ((lasting + phase.above_bytes) / seen.phases[phase.name] - 1)
            found[seen.method, str(seen.checkpointing), seen.optimizer, phase.name] = round(percent, 2)
    assert len(found) == 2 * 2 * 6 * 3
    assert {case: percent for case, percent in found.items() if abs(percent) > WORST_PERCENT} == {}
