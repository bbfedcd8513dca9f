"""What is left unsplit after a quantized model was loaded: a race in transformers 5, one tensor at a time before."""

from __future__ import annotations

from gpufit.accuracy.training.loading import _by_name, _played, played_rests
from gpufit.facts.read import parse_config
from gpufit.memory.ranges import Range
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import TrainingPlan
from gpufit.records import replace

MIB = 1 << 20
TINYLLAMA = parse_config({
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "intermediate_size": 5632,
    "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
})  # fmt: skip
# the same with every packed matrix a whole number of MiB
EVEN = parse_config({
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 6, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32768,
})  # fmt: skip
PLAN = TrainingPlan(
    method="qlora", precision="fp16", quant="bnb-nf4", kbit_prepare=True, lora_r=32, library_version="5.0.0",
    lora_targets=("q_proj", "k_proj", "v_proj", "o_proj"),
)  # fmt: skip


def rests(architecture: object, plan: TrainingPlan = PLAN) -> Range:
    return played_rests(estimate_training(architecture, plan))  # type: ignore[arg-type]


def test_fifteen_published_loads_of_one_model_lie_within_the_plays() -> None:
    """fitcheck's TinyLlama on a T4: 1,122,031,616 to 1,130,420,224 bytes, 1,105,708,672 of them its tensors."""
    found = rests(TINYLLAMA)
    assert found.low_bytes <= 1_122_031_616 - 1_105_708_672 < 1_130_420_224 - 1_105_708_672 <= found.high_bytes
    assert found.high_bytes < (66 / 2 + 1) * MIB  # 66 matrices of 5.5 MiB leave half a MiB each at most


def test_packed_matrices_that_fill_their_holes_leave_nothing_however_the_race_goes() -> None:
    """Packed to 2 or 8 MiB out of 8 or 32 MiB: every hole is a multiple of what fills it."""
    found = rests(EVEN)
    assert found.high_bytes - found.low_bytes == 0
    assert found.high_bytes < MIB


def test_releases_before_5_load_one_after_another() -> None:
    found = rests(TINYLLAMA, replace(PLAN, library_version="4.57.6"))
    assert found.low_bytes == found.high_bytes


def test_a_play_can_be_repeated() -> None:
    first = rests(TINYLLAMA)
    _played.cache_clear()
    assert rests(TINYLLAMA) == first


def test_tensors_come_in_the_order_of_their_names_with_numbers_by_value() -> None:
    names = [group.name for group in _by_name(TINYLLAMA.tensors.groups) if group.saved]
    assert names[:3] == ["lm_head.weight", "model.embed_tokens.weight", "model.layers.{}.input_layernorm.weight"]
    assert names[3] == "model.layers.{}.mlp.down_proj.weight"
    assert names[-1] == "model.norm.weight"
    assert len(names) == 3 + 22 * 9
