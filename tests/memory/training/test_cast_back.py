"""trl's peft_module_casting_to_bf16 after the k-bit preparation: embeddings and head in 16 bit again, norms in fp32."""

from __future__ import annotations

from gpufit.facts.read import parse_config
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.states import count_residents
from gpufit.records import replace

MISTRAL = parse_config({
    "model_type": "mistral", "architectures": ["MistralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
    "tie_word_embeddings": False, "sliding_window": None,
})  # fmt: skip
LIFTED = TrainingPlan(
    method="qlora", micro_batch=4, seq=4096, precision="amp-bf16", attention="flash", checkpointing="full",
    quant="bnb-nf4-dq", kbit_prepare=True, lora_targets=("q_proj", "k_proj", "v_proj", "o_proj"),
    library_version="4.48.1",
)  # fmt: skip
CAST_BACK = replace(LIFTED, embeddings_cast_back=True)
MATRIX = 32000 * 4096


def test_two_matrices_weigh_half_and_the_norms_stay_lifted() -> None:
    """Embeddings and head of 131,072,000 numbers, 2 bytes less each; the 65 norms stay in fp32."""
    lifted, back = count_residents(MISTRAL, LIFTED), count_residents(MISTRAL, CAST_BACK)
    assert lifted.weights_bytes - back.weights_bytes == 2 * MATRIX * 2 == 524_288_000
    assert back.upcast_bytes == 65 * 4096 * 2


def test_the_peak_loses_the_head_s_copy_and_half_of_what_the_embeddings_give() -> None:
    """Beside the two matrices: autocast's bf16 copy of an fp32 head, 262,144,000 bytes; half of the embeddings' fp32
    output, 4,096 x 2 bytes a token; and of the cosines and sines in its format, 4,096 positions x 128 each.
    """
    lifted, back = estimate_training(MISTRAL, LIFTED), estimate_training(MISTRAL, CAST_BACK)
    assert lifted.phase.moment == back.phase.moment == "loss"
    difference = lifted.allocated.likely_bytes - back.allocated.likely_bytes
    assert difference == 524_288_000 + 262_144_000 + 4 * 4096 * 4096 * 2 + 2 * 4096 * 128 * 2 == 922_746_880


def test_without_the_preparation_there_is_nothing_to_cast_back() -> None:
    plain = replace(LIFTED, kbit_prepare=False)
    assert count_residents(MISTRAL, plain) == count_residents(MISTRAL, replace(plain, embeddings_cast_back=True))
