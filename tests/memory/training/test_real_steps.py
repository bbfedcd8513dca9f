"""Whole training steps on real CPU tensors: live bytes of every phase against the estimate, within 3 %."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="runs real training steps and needs torch")
pytest.importorskip("transformers", reason="runs real training steps and needs transformers")
pytest.importorskip("peft", reason="puts real adapters on the models")

from real_step import differences

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
# one of each kind of block; benchmarks/real_steps.py runs them all, and docs/real_steps.csv has what it found
SAMPLE = ("llama-grouped", "qwen2", "mistral-window", "qwen3", "gemma", "phi3", "olmo2", "mixtral", "qwen2-moe",
          "gpt2", "gptj", "opt", "bloom", "gpt_neox", "phi", "falcon", "bart", "flan-t5", "bert-mlm", "roberta",
          "distilbert", "deberta-own")  # fmt: skip
WORST_PERCENT = 3.0


@pytest.mark.parametrize("name", SAMPLE)
def test_real_steps_need_what_is_estimated(name: str) -> None:
    """Full and LoRA, checkpoints off and on, six optimizers: forward, backward and step of each."""
    found = {case: round(percent, 2) for case, percent in differences(name)}
    assert len(found) == 2 * 2 * 6 * 3
    assert {case: percent for case, percent in found.items() if abs(percent) > WORST_PERCENT} == {}
