"""DoRA, whole modules beside adapters and checkpoints in every second layer: real steps on the CPU, within 3 %."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="runs real training steps and needs torch")
pytest.importorskip("transformers", reason="runs real training steps and needs transformers")
pytest.importorskip("peft", reason="puts real adapters on the models")

from real_step import NO_DROPOUT, real_phases
from shrunken_training import FAMILIES

from gpufit.facts.read import parse_config
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import TrainingPlan

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("llama-grouped", {"method": "full", "checkpointing": "selective"}),
    ("llama-grouped", {"method": "lora", "checkpointing": "selective", "modules_to_save": ("lm_head",)}),
    ("llama-grouped", {"method": "lora", "dora": True, "lora_targets": ALL}),
    ("llama-grouped", {"method": "lora", "dora": True, "lora_targets": ALL, "checkpointing": "full"}),
    ("gpt2", {"method": "lora", "dora": True}),
    ("bert", {"method": "lora", "dora": True, "modules_to_save": ("classifier",)}),
)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_options_of_peft_need_what_is_estimated(name: str, options: dict[str, Any]) -> None:
    layers = {"num_hidden_layers": 4} if name.startswith("llama") else {}
    raw = {**FAMILIES[name], **NO_DROPOUT, **layers}
    plan = TrainingPlan(micro_batch=2, seq=64, precision="fp32", attention="eager", **options)
    seen = real_phases(raw, plan)
    estimate = estimate_training(parse_config(raw), plan)
    held = estimate.residents
    lasting = held.model_bytes + held.buffers_bytes + held.optimizer.states_bytes
    for phase in estimate.phases:
        assert lasting + phase.above_bytes == pytest.approx(seen[phase.name], rel=0.03), phase.name
