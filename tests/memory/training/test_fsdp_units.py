"""FSDP1 over frozen blocks: a real step on the CPU, in a process of its own, against the estimate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.training.forward import micro_step
from gpufit.memory.training.plan import TrainingPlan

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 128, "intermediate_size": 352,
    "vocab_size": 200, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
TOKENS, BATCH = 96, 4
HIDDEN_BYTES = 4 * TOKENS * BATCH * 128


def peak(library_version: str | None, sharding: str = "fsdp1") -> int:
    plan = TrainingPlan(
        method="lora", micro_batch=BATCH, seq=TOKENS, precision="fp32", attention="eager", checkpointing="full",
        gpus=2, sharding=sharding, library_version=library_version,  # type: ignore[arg-type]
    )  # fmt: skip
    return micro_step(parse_config(LLAMA), plan, sums_in_place=False).peak_bytes


def test_frozen_blocks_inside_a_reentrant_checkpoint_keep_their_inputs_by_hand() -> None:
    """By the last of 8 layers on the way back 7 have left an input and its gradient behind, where without the hook 8
    checkpoints stand at the first one; and the gradient that goes into a layer is one of those kept.
    """
    kept, plain = peak("4.51.3"), peak("4.51.3", sharding="fsdp2")
    assert kept - plain == pytest.approx((2 * 7 - 8) * HIDDEN_BYTES, rel=0.1)
    assert peak("4.57.6") == plain  # the checkpoint lies inside FSDP's unit, whose input has a history


@pytest.mark.real
def test_a_real_step_under_fsdp_holds_what_is_estimated() -> None:
    pytest.importorskip("torch", reason="runs a real training step and needs torch")
    pytest.importorskip("transformers", reason="runs a real training step and needs transformers")
    pytest.importorskip("peft", reason="puts real adapters on the model")
    script = Path(__file__).with_name("fsdp_step.py")
    ran = subprocess.run(
        [sys.executable, str(script), json.dumps(LLAMA), str(TOKENS), str(BATCH)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert peak("4.51.3") == pytest.approx(seen["reentrant"], rel=0.001)
    assert peak(None) == pytest.approx(seen["current"], rel=0.001)
