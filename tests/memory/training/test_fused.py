"""Adapters on fused experts: where peft puts them, how many parameters they have, what their merged weights take."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from replayed_step import training_differences
from shrunken_training import FAMILIES

from gpufit.errors import Unsupported
from gpufit.facts.read import parse_config
from gpufit.memory.training.adapters import trained_tensors
from gpufit.memory.training.forward import micro_step
from gpufit.memory.training.fused import ATTENTION_ALONE, LIKE_MIXTRAL, LIKE_QWEN2_MOE
from gpufit.memory.training.plan import ALL_LINEAR, TrainingPlan

TOKENS, BATCH = 131, 2
WORST_PERCENT = 0.5
QWEN3_30B_A3B = FAMILIES["qwen3-moe"] | {
    "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128,
    "moe_intermediate_size": 768, "num_experts_per_tok": 8, "num_hidden_layers": 48, "vocab_size": 151936,
    "max_position_embeddings": 40960,
}  # fmt: skip
WORDS = pytest.mark.filterwarnings("ignore")


def _lora(*targets: str, **more: Any) -> TrainingPlan:
    return TrainingPlan(method="lora", micro_batch=1, seq=512, lora_targets=targets, **more)


def test_every_layer_keeps_its_merged_experts() -> None:
    """Qwen3-30B-A3B by hand: 128·(1,536·2,048 + 2,048·768) numbers of experts a layer, 54 GiB in bf16 for 48 of them.

    The router's 128·2,048 are merged too. ``gpufit replay --train lora --prompt 512`` shows 64.42 GiB above the
    weights, 3.71 GiB of it optimizer states; with adapters on the attention alone there is none of this.
    """
    architecture = parse_config(QWEN3_30B_A3B)
    step = micro_step(architecture, _lora(ALL_LINEAR))
    merged = next(saved.bytes for saved in step.saved if saved.group == "merged experts")
    assert merged == 48 * 2 * (128 * (1536 * 2048 + 2048 * 768) + 128 * 2048)
    assert step.peak_bytes / (1 << 30) == pytest.approx(64.42 - 3.71, abs=0.02)
    attention = micro_step(architecture, _lora(*ATTENTION_ALONE))
    assert not [saved for saved in attention.saved if saved.group == "merged experts"]
    assert attention.peak_bytes < step.peak_bytes / 12


def test_the_halves_of_a_fused_parameter_share_one_adapter_of_both_ranks() -> None:
    """A layer by hand: 12 experts of 96 over 224, rank 8.

    gate_up_proj 12·16·(224 + 192), down_proj 12·8·(96 + 224), router 8·(224 + 12), queries and output 8·(224 + 256)
    each, keys and values 8·(224 + 64) each: 124,768 numbers.
    """
    trained = trained_tensors(parse_config(FAMILIES["qwen3-moe"]), _lora(ALL_LINEAR))
    assert sum(tensor.parameters for tensor in trained) == 3 * 124_768
    assert ("model.layers.{}.mlp.experts.gate_up_proj.lora_A", (192, 224)) in [(t.name, t.shape) for t in trained]


@pytest.mark.parametrize("name", ["qwen2-moe", "granitemoe"])
def test_experts_that_peft_does_not_rename_have_no_adapter(name: str) -> None:
    trained = trained_tensors(parse_config(FAMILIES[name]), _lora(ALL_LINEAR))
    assert not [tensor for tensor in trained if ".experts." in tensor.name or ".gate.lora" in tensor.name]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (_lora("q_proj", "gate_proj"), "up_proj is not among the targets"),
        (_lora(ALL_LINEAR, dora=True), "neither DoRA nor dropout"),
        (_lora(ALL_LINEAR, lora_dropout=True), "neither DoRA nor dropout"),
    ],
)
def test_what_peft_refuses_is_refused(plan: TrainingPlan, words: str) -> None:
    with pytest.raises(Unsupported, match=words) as refused:
        trained_tensors(parse_config(FAMILIES["qwen3-moe"]), plan)
    assert "--lora-targets" in refused.value.hint


def test_dora_and_dropout_on_attention_alone_are_counted() -> None:
    plan = _lora(*ATTENTION_ALONE, dora=True, lora_dropout=True)
    assert trained_tensors(parse_config(FAMILIES["qwen3-moe"]), plan)


@pytest.mark.real
@WORDS
def test_the_families_are_those_of_peft() -> None:
    conversion = pytest.importorskip(
        "peft.utils.transformers_weight_conversion", reason="the table is peft's: pip install gpufit[measure]"
    )
    table = {kind: form for kind, form in conversion._MODEL_TO_CONVERSION_PATTERN.items() if kind.islower()}
    assert {kind for kind, form in table.items() if form == "mixtral"} == LIKE_MIXTRAL
    assert {kind for kind, form in table.items() if form == "qwen2_moe"} == LIKE_QWEN2_MOE


CASES: tuple[tuple[str, tuple[str, ...] | str, Literal["fp32", "bf16", "fp16"], bool, int], ...] = (
    ("mixtral", ALL_LINEAR, "bf16", False, 8),
    ("mixtral", ("q_proj", "w1", "w2", "w3"), "fp32", True, 4),
    ("qwen3-moe", ALL_LINEAR, "fp16", True, 16),
    ("qwen3-moe", ("gate", "down_proj", "v_proj"), "bf16", False, 8),
    ("olmoe", ALL_LINEAR, "bf16", False, 8),
    ("qwen2-moe", ALL_LINEAR, "bf16", False, 8),
    ("granitemoe", ALL_LINEAR, "bf16", False, 8),
)


@pytest.mark.real
@WORDS
@pytest.mark.parametrize(("name", "targets", "dtype", "checkpointing", "rank"), CASES)
def test_every_phase_is_what_the_replay_saw(
    name: str, targets: tuple[str, ...] | str, dtype: Literal["fp32", "bf16", "fp16"], checkpointing: bool, rank: int
) -> None:
    pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")
    pytest.importorskip("peft", reason="adapters come from peft")
    found = training_differences(
        FAMILIES[name] | {"num_hidden_layers": 5}, tokens=TOKENS, batch=BATCH, dtype=dtype, attention="sdpa",
        method="lora", checkpointing=checkpointing, targets=targets, rank=rank,
    )  # fmt: skip
    assert {what: percent for what, percent in found.items() if abs(percent) > WORST_PERCENT} == {}
