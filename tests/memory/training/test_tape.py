"""The programs' own engine: deep stacks, what is left at the end, and a witness that no tracker disturbs."""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.errors import Undecided
from gpufit.facts.read import parse_config
from gpufit.memory.training import stack
from gpufit.memory.training.forward import MicroStep, micro_step
from gpufit.memory.training.modules import autocast_weight
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.tape.graph import Parameter, Tape
from gpufit.memory.training.tape.products import mm
from gpufit.records import as_dict

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 112, "vocab_size": 1999, "num_hidden_layers": 14,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


BERT: dict[str, Any] = {
    "model_type": "bert", "hidden_size": 64, "intermediate_size": 112, "vocab_size": 1999, "num_hidden_layers": 7,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip
BART: dict[str, Any] = {
    "model_type": "bart", "d_model": 64, "encoder_layers": 7, "decoder_layers": 7, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 112, "decoder_ffn_dim": 112, "vocab_size": 1999,
}  # fmt: skip


@pytest.mark.parametrize("config", [LLAMA, BERT, BART], ids=lambda config: config["model_type"])
@pytest.mark.parametrize("precision", ["bf16", "amp-bf16"])
@pytest.mark.parametrize("checkpointing", ["none", "full", "selective"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_ends_of_a_deep_stack_tell_what_all_its_layers_would(
    config: dict[str, Any], precision: Any, checkpointing: Any, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = parse_config(config)
    plan = TrainingPlan(method=method, micro_batch=2, seq=33, checkpointing=checkpointing, precision=precision)
    told = micro_step.__wrapped__(architecture, plan)
    monkeypatch.setattr(stack, "ends", lambda kinds: (len(kinds), len(kinds)))
    shown = micro_step.__wrapped__(architecture, plan)
    assert equal(told, shown)


@pytest.mark.parametrize("checkpointing", ["full", "selective"])
@pytest.mark.parametrize("gpus", [1, 2])
def test_they_tell_it_too_where_checkpoints_are_entered_again(
    gpus: int, checkpointing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With FSDP each layer's input and its gradient outlive the layer."""
    plan = TrainingPlan(
        method="lora", micro_batch=2, seq=33, checkpointing=checkpointing, precision="amp-bf16", gpus=gpus,
        sharding="fsdp1" if gpus > 1 else "none", library_version="4.45.0",
    )  # fmt: skip
    told = micro_step.__wrapped__(parse_config(LLAMA), plan)
    monkeypatch.setattr(stack, "ends", lambda kinds: (len(kinds), len(kinds)))
    shown = micro_step.__wrapped__(parse_config(LLAMA), plan)
    assert equal(told, shown)


def equal(told: MicroStep, shown: MicroStep) -> bool:
    """Every figure, the instants of the first layer, and the widest of all layers however much the gradients weigh."""
    ours, theirs = as_dict(told), as_dict(shown)
    for found, step in ((ours, told), (theirs, shown)):
        found["moments"] = [moment for moment in step.moments if moment.name.endswith(".0")]
    for weight in (0, 0.5, 1, 3):
        for found, step in ((ours, told), (theirs, shown)):
            found[str(weight)] = max(
                m.temporaries_bytes + weight * round(m.gradient_share * step.gradients_bytes)
                for m in step.moments
                if "layer" in m.name and "decoder" not in m.name  # the encoder's gradient lies beside all but one
            )
    assert ours == theirs
    return len(told.moments) < len(shown.moments)


def test_a_bias_that_autocast_casts_is_held_by_its_cache_alone_by_hand() -> None:
    """Its product saves the input and the matrix, not the bias: 64 wide, 2 bytes each, gone with the cache."""
    tape = Tape()
    tape.autocast = "bf16"
    weight, bias = (tape.resident(shape, "fp32", Parameter("", False)) for shape in ((64, 64), (64,)))
    weight, bias = autocast_weight(tape, weight), autocast_weight(tape, bias)
    out = mm(tape.empty((2, 64), "bf16"), weight, 64, bias)
    assert tape.cached_bytes(0) == 64 * 64 * 2 + 64 * 2  # the input takes no gradient: nothing saves the matrix
    again = mm(out, weight, 64, bias)
    del weight, bias
    assert tape.cached_bytes(0) == tape.cached_bytes(1) == 64 * 2
    assert again.needs_grad


def test_full_checkpointing_keeps_one_stream_a_layer_by_hand() -> None:
    """14 layers × (2 × 33 tokens) × 64 wide × 2 bytes = 118 272."""
    step = micro_step(parse_config(LLAMA), TrainingPlan(micro_batch=2, seq=33, checkpointing="full"))
    assert step.checkpoint_bytes == 118_272
    assert sum(saved.bytes for saved in step.saved) == step.saved_bytes


def test_a_family_without_a_form_is_refused() -> None:
    config = {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 100, "state_size": 8}
    with pytest.raises(Undecided, match="no training form"):
        micro_step(parse_config(config), TrainingPlan())


def test_more_tokens_never_need_less() -> None:
    architecture = parse_config(LLAMA)
    steps = [micro_step(architecture, TrainingPlan(micro_batch=1, seq=seq)) for seq in (16, 17, 64, 200)]
    peaks = [step.peak_bytes for step in steps]
    assert peaks == sorted(peaks), as_dict(steps[0])


def test_autocast_under_checkpoints_holds_the_low_precision_weights_until_the_forward_pass_is_over() -> None:
    """14 layers × (64·64 + 2·64·32 + 64·64 + 3·64·112 weights) × 2 bytes = 946 176, beside those of the head."""
    plan = TrainingPlan(micro_batch=1, seq=8, precision="amp-bf16", checkpointing="full")
    step = micro_step(parse_config(LLAMA), plan)
    weights = 14 * (64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 112) * 2
    assert weights == 946_176
    assert step.forward_peak_bytes > weights > 2 * step.recompute_bytes
    assert step.forward_peak_bytes - step.saved_bytes >= weights - step.recompute_bytes


def test_a_fused_loss_keeps_gradients_in_place_of_the_log_softmax_by_hand() -> None:
    """66 rows of 1999 classes, 64 wide.

    In full: fp32 log-softmax 4 · 66 · 1999, int64 labels 8 · 66, loss and weight 4 each. Fused: the output weight's
    gradient 2 · 1999 · 64 and losses 4 · 66. Hidden states (full) and their gradient (fused) weigh the same.
    """
    full, fused = (
        micro_step(parse_config(LLAMA), TrainingPlan(micro_batch=2, seq=33, loss=loss)) for loss in ("full", "fused")
    )
    assert full.saved_bytes - fused.saved_bytes == 4 * 66 * 1999 + 8 * 66 + 8 - 2 * 1999 * 64 - 4 * 66
    assert fused.logits_bytes == 0
