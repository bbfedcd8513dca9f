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
