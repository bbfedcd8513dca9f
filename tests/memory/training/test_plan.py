"""The plan's defaults are those of the libraries."""

from __future__ import annotations

import pytest

from gpufit.memory.training.plan import DEFAULT_LORA_R, DEFAULT_MICRO_BATCH, LORA_DEFAULT_TARGETS


def test_default_targets_are_those_of_peft() -> None:
    constants = pytest.importorskip("peft.utils.constants", reason="needs peft")
    theirs = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    assert {k: list(v) for k, v in LORA_DEFAULT_TARGETS.items()} == {
        k: [v] if isinstance(v, str) else v for k, v in theirs.items()
    }


def test_other_defaults_are_those_of_the_trainer_and_peft() -> None:
    peft = pytest.importorskip("peft", reason="needs peft")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    fields = transformers.TrainingArguments.__dataclass_fields__
    assert fields["per_device_train_batch_size"].default == DEFAULT_MICRO_BATCH
    assert fields["gradient_accumulation_steps"].default == 1
    assert not fields["gradient_checkpointing"].default
    assert fields["optim"].default == "adamw_torch_fused"
    config = peft.LoraConfig()
    assert (config.r, config.lora_dropout, config.use_dora) == (DEFAULT_LORA_R, 0.0, False)
