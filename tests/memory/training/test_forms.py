"""The training programs against the replay of transformers' own code, phase by phase, on shrunken models.

``docs/training_matrix.csv`` holds every family (tests/replay/test_training_matrix.py); here a few are replayed again,
with what the table leaves out: what lies there between forward and backward, the gradients, and fp16.
"""

from __future__ import annotations

from typing import Literal

import pytest
from replayed_step import training_differences
from shrunken_training import EAGER_ONLY, FAMILIES, targets

pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")
pytest.importorskip("peft", reason="adapters come from peft")
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

TOKENS, BATCH = 131, 2
WORST_PERCENT = 1.0
SAMPLE = ("llama-grouped", "gemma-one-key", "phi3", "qwen2-moe", "cohere2", "glm4", "gpt2", "bloom", "gptj", "falcon",
          "stablelm-parallel", "bart", "flan-t5", "bert", "deberta")  # fmt: skip
Case = tuple[Literal["fp32", "bf16", "fp16"], Literal["eager", "sdpa"], Literal["full", "lora"], bool]
CASES: tuple[Case, ...] = (  # two sides of each question between neighbours; families take them in turn
    ("fp16", "eager", "lora", True), ("bf16", "sdpa", "full", False), ("fp16", "sdpa", "full", True),
    ("fp32", "eager", "lora", False),
)  # fmt: skip


@pytest.mark.parametrize(("name", "turn"), [(name, turn % len(CASES)) for turn, name in enumerate(SAMPLE)])
def test_every_phase_is_what_the_replay_saw(name: str, turn: int) -> None:
    dtype, attention, method, checkpointing = CASES[turn]
    found = training_differences(
        FAMILIES[name],
        tokens=TOKENS,
        batch=BATCH,
        dtype=dtype,
        method=method,
        checkpointing=checkpointing,
        attention="eager" if name in EAGER_ONLY else attention,
        targets=targets(name),
    )
    assert {what: percent for what, percent in found.items() if abs(percent) > WORST_PERCENT} == {}


@pytest.mark.parametrize(("name", "method"), [("llama-grouped", "lora"), ("gpt2", "full")])
def test_checkpoints_of_older_releases_with_reentry(name: str, method: Literal["full", "lora"]) -> None:
    found = training_differences(
        FAMILIES[name], tokens=TOKENS, batch=BATCH, dtype="bf16", method=method, checkpointing=True, reentrant=True,
        attention="sdpa",
    )  # fmt: skip
    assert {what: percent for what, percent in found.items() if abs(percent) > WORST_PERCENT} == {}
