"""What one of several GPUs holds, against figures worked out by hand."""

from __future__ import annotations

import pytest

from gpufit.facts.architecture import Architecture
from gpufit.facts.read import parse_config
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import SHARDINGS, TrainingPlan
from gpufit.memory.training.sharding import hold_rank
from gpufit.memory.training.states import count_residents
from gpufit.records import replace

LLAMA = parse_config(
    {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32000,
    }
)  # fmt: skip
PARAMETERS = 6_738_415_616
FULL = TrainingPlan(precision="amp-bf16", optimizer="adamw-foreach", micro_batch=1, seq=256, checkpointing="full")


def shards(architecture: Architecture, plan: TrainingPlan) -> float:
    rank = hold_rank(architecture, plan, count_residents(architecture, plan))
    return (rank.weights_bytes + rank.gradients_bytes + rank.states_bytes + rank.step_bytes) / PARAMETERS


def test_fsdp_with_mixed_precision_holds_twenty_bytes_a_parameter_in_total() -> None:
    """fp32 weights 4, gradients 4, two states 8, and the list of denominators 4, cut in 8."""
    assert shards(LLAMA, replace(FULL, gpus=8, sharding="fsdp1")) * 8 == pytest.approx(20.0, rel=1e-3)


def test_zero_stages_cut_states_then_gradients_then_weights() -> None:
    """bf16 weights 2 and gradients 2; fp32 weights 4 and two states 8 cut in 4; the step casts 4 of gradients."""
    cut = (4 + 8 + 4) / 4
    found = [shards(LLAMA, replace(FULL, gpus=4, sharding=f"zero{stage}")) for stage in (1, 2, 3)]
    assert found == pytest.approx([2 + 2 + cut, 2 + 2 / 4 + cut, 2 / 4 + 2 / 4 + cut], rel=1e-3)


def test_ddp_keeps_a_second_copy_of_the_gradients_in_its_buckets() -> None:
    plan = replace(FULL, precision="bf16", gpus=2, sharding="ddp")
    rank = hold_rank(LLAMA, plan, count_residents(LLAMA, plan))
    assert rank.buckets_bytes == rank.gradients_bytes == 2 * PARAMETERS


@pytest.mark.parametrize("sharding", ["zero2", "zero3", "fsdp2"])
def test_what_is_offloaded_leaves_the_device_for_the_host(sharding: str) -> None:
    plan = replace(FULL, gpus=4, sharding=sharding)
    away = replace(plan, offload="all")
    device, host = estimate_training(LLAMA, plan), estimate_training(LLAMA, away)
    assert host.allocated.likely_bytes < device.allocated.likely_bytes
    assert device.host_bytes == 0
    assert host.host_bytes >= 12 * PARAMETERS  # at least fp32 weights and both states, over all ranks


def test_a_pipeline_shares_the_layers_out_and_the_last_stage_bears_the_loss() -> None:
    plan = TrainingPlan(
        method="qlora", quant="bnb-nf4", kbit_prepare=True, checkpointing="full", micro_batch=4, seq=1024, gpus=3,
        sharding="pipeline",
    )  # fmt: skip
    found = estimate_training(LLAMA, plan)
    assert [stage.layers for stage in found.stages] == [11, 11, 10]
    alone = estimate_training(LLAMA, replace(plan, gpus=1, sharding="none"))
    assert sum(stage.rank.weights_bytes for stage in found.stages) == pytest.approx(alone.rank.weights_bytes, rel=0.01)
    assert max(found.stages, key=lambda stage: stage.peak_bytes).index == 2


@pytest.mark.parametrize("sharding", [name for name in SHARDINGS if name != "none"])
def test_more_gpus_never_need_more_each(sharding: str) -> None:
    needs = [
        estimate_training(LLAMA, replace(FULL, gpus=n, sharding=sharding)).allocated.likely_bytes for n in (2, 4, 8)
    ]
    assert needs == sorted(needs, reverse=True)
