"""The printed program compiles, and the files that start it load in the installed accelerate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpufit.memory.training.plan import SHARDINGS, Sharding, TrainingPlan
from gpufit.render.training_code import TRAINER_NAMES, render_training_code
from gpufit.render.training_config import accelerate_config, deepspeed_config
from gpufit.training import check_training
from gpufit.verdict.training_plan import TrainingRequest


@pytest.mark.parametrize("train", ["full", "lora", "qlora"])
def test_the_program_compiles_and_says_what_the_plan_says(train: str) -> None:
    request = TrainingRequest(train=train, micro_batch=1, seq=256, optimizer="adamw_bnb_8bit")
    text = render_training_code(check_training("tinyllama-1.1b", request, vram="80GB"))
    compile(text, "train.py", "exec")
    assert 'optim="adamw_bnb_8bit"' in text
    assert ("prepare_model_for_kbit_training(" in text) == (train == "qlora")
    assert ("LoraConfig(" in text) == (train != "full")


def test_every_optimizer_has_a_name_that_the_trainer_knows() -> None:
    arguments = pytest.importorskip("transformers.training_args", reason="needs transformers")
    assert set(TRAINER_NAMES.values()) <= {name.value for name in arguments.OptimizerNames}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sharding", [name for name in SHARDINGS if name not in ("none", "pipeline")])
def test_the_files_load_in_accelerate(sharding: Sharding, tmp_path: Path) -> None:
    arguments = pytest.importorskip("accelerate.commands.config.config_args", reason="needs accelerate")
    plan = TrainingPlan(gpus=4, sharding=sharding, precision="amp-bf16", checkpointing="full")
    file = tmp_path / "accelerate.yaml"
    file.write_text(accelerate_config(plan), encoding="utf-8")
    loaded = arguments.load_config_from_file(str(file))
    assert loaded.num_processes == 4
    if sharding.startswith("fsdp"):
        assert loaded.fsdp_config["fsdp_version"] == int(sharding[-1])
    if sharding.startswith("zero"):
        plugin = pytest.importorskip("accelerate.utils.deepspeed", reason="needs accelerate")
        (tmp_path / "deepspeed.json").write_text(deepspeed_config(plan), encoding="utf-8")
        config = plugin.HfDeepSpeedConfig(json.loads((tmp_path / "deepspeed.json").read_text(encoding="utf-8")))
        assert config.get_value("zero_optimization.stage") == int(sharding[-1])
        assert config.is_zero3() == (sharding == "zero3")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (TrainingRequest(train="lora", checkpointing="selective"), '"every_n_layers": 2'),
        (TrainingRequest(train="lora", dora=True, modules_to_save="lm_head"), "modules_to_save=['lm_head']"),
        (TrainingRequest(train="full", optimizer="adamw-loop"), '"foreach": False'),
        (TrainingRequest(train="full", optimizer="galore"), 'optim_target_modules="all-linear"'),
        (TrainingRequest(train="full", packing=True), "filled to exactly that length"),
    ],
)
def test_every_choice_is_in_the_program(request_: TrainingRequest, said: str) -> None:
    text = render_training_code(check_training("tinyllama-1.1b", request_, vram="400GB"))
    compile(text, "train.py", "exec")
    assert said in text


def test_checkpoints_under_fsdp_are_asked_for_in_one_place() -> None:
    """transformers 5.23.0, trainer.py: FSDP's own and the Trainer's "can't both be set to True"."""
    for checkpointing, theirs in (("full", True), ("selective", False), ("none", False)):
        request = TrainingRequest(train="full", sharding="fsdp2", checkpointing=checkpointing)
        text = render_training_code(check_training("tinyllama-1.1b", request, gpu="a100-80gbx2"))
        assert f"fsdp_activation_checkpointing: {str(theirs).lower()}" in text
        assert ("checkpointing=True" in text) == (checkpointing == "selective")


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_takes_the_printed_arguments(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate")
    for optimizer in ("sgd-momentum", "adafactor", "adamw-fused"):
        request = TrainingRequest(train="full", optimizer=optimizer, checkpointing="selective")
        text = render_training_code(check_training("tinyllama-1.1b", request, vram="400GB"))
        start, end = text.index("args = TrainingArguments("), text.index("trainer = ")
        names = {"TrainingArguments": transformers.TrainingArguments}
        exec(text[start:end].replace('"out"', repr(str(tmp_path))), names)
        kind, given = transformers.Trainer.get_optimizer_cls_and_kwargs(names["args"])
        assert kind.__name__ == {"sgd-momentum": "SGD", "adafactor": "Adafactor", "adamw-fused": "AdamW"}[optimizer]
        assert given.get("momentum") == (0.9 if optimizer == "sgd-momentum" else None)
