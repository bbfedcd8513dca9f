"""Keys and values that a model hands out of its checkpoints: GPT-BigCode before transformers 4.53."""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.training.breakdown import break_down_training
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.forward import MicroStep, micro_step
from gpufit.memory.training.plan import TrainingPlan
from gpufit.records import replace

SANTACODER = {
    "model_type": "gpt_bigcode", "architectures": ["GPTBigCodeForCausalLM"], "n_embd": 2048, "n_layer": 24,
    "n_head": 16, "n_inner": 8192, "vocab_size": 49280, "n_positions": 2048, "multi_query": True,
}  # fmt: skip
SMALL = SANTACODER | {
    "n_embd": 96, "n_layer": 5, "n_head": 6, "n_inner": 384, "vocab_size": 700, "n_positions": 64,
    "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
}  # fmt: skip
BATCH, TOKENS = 3, 64
FULL = TrainingPlan(micro_batch=8, seq=2048, precision="bf16", attention="flash", checkpointing="full")


def step_of(version: str, plan: TrainingPlan = FULL) -> MicroStep:
    return micro_step(parse_config(SANTACODER), replace(plan, library_version=version))


def test_each_layer_hands_out_a_look_at_the_whole_product_by_hand() -> None:
    """Keys and values are 2 x 128 of the 2,304 columns that c_attn makes, and keep all of them: 8 x 2,048 tokens x
    2,304 x 2 bytes x 24 layers = 1,811,939,328. At the loss they stand beside it; backward begins without them.
    """
    kept, dropped = step_of("4.52.4"), step_of("4.53.0")
    assert kept.caches_bytes == 8 * 2048 * 2304 * 2 * 24 == 1_811_939_328
    assert dropped.caches_bytes == 0
    assert kept.forward_peak_bytes - dropped.forward_peak_bytes == kept.caches_bytes
    assert kept.forward_moment == "loss"
    assert (kept.saved_bytes, kept.backward_peak_bytes) == (dropped.saved_bytes, dropped.backward_peak_bytes)


def test_under_autocast_quantized_layers_hand_them_out_in_fp32() -> None:
    """LayerNorm's result is fp32 there, and bitsandbytes answers in its input's format: twice as much."""
    plan = TrainingPlan(
        method="qlora", micro_batch=8, seq=2048, precision="amp-bf16", attention="flash", checkpointing="full",
        quant="bnb-nf4-dq", kbit_prepare=False, lora_targets=("c_attn",),
    )  # fmt: skip
    assert step_of("4.48.1", plan).caches_bytes == 2 * 1_811_939_328


def test_without_checkpoints_attention_has_saved_them_anyway() -> None:
    plan = replace(FULL, checkpointing="none")
    kept, dropped = step_of("4.52.4", plan), step_of("4.53.0", plan)
    assert kept.caches_bytes == 0
    assert kept.forward_peak_bytes == dropped.forward_peak_bytes


def test_a_loop_that_keeps_the_output_keeps_them_through_backward_and_the_breakdown_names_them() -> None:
    architecture = parse_config(SANTACODER)
    plan = replace(FULL, library_version="4.52.4", keeps_outputs=True)
    logits, caches = 8 * 2048 * 49280 * 2, 1_811_939_328
    held = estimate_training(architecture, plan)
    freed = estimate_training(architecture, replace(plan, keeps_outputs=False))
    assert held.phase_bytes("backward") - freed.phase_bytes("backward") == logits + caches
    activations = next(row for row in break_down_training(freed) if row.name == "activations")
    assert "1,811,939,328 of it keys and values that the model hands out" in activations.formula


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_a_real_step_holds_the_views_until_the_output_dies() -> None:
    """Today's layers in the loop and with the loss of 4.48.1, whose attention kept ``split(...)[1]`` of its product:
    5 layers x 192 tokens x (96 + 2 x 16) columns x 4 bytes = 491,520 beside the loss, none of it in backward.
    """
    pytest.importorskip("transformers", reason="runs a real training step of transformers' own code")
    plan = TrainingPlan(
        micro_batch=BATCH, seq=TOKENS, precision="fp32", attention="eager", checkpointing="full",
        library_version="4.48.1",
    )  # fmt: skip
    made = micro_step(parse_config(SMALL), plan, sums_in_place=False)
    kept, dropped = _old_loop(handing_out=True), _old_loop(handing_out=False)
    assert made.caches_bytes == kept["forward"] - dropped["forward"] == 491_520
    assert made.forward_peak_bytes == pytest.approx(kept["forward"], rel=0.001)
    assert made.peak_bytes == pytest.approx(kept["backward"], rel=0.001)


def _old_loop(*, handing_out: bool) -> dict[str, int]:
    """Most bytes above the weights in each phase."""
    import torch
    import transformers

    from gpufit.replay.inputs import model_inputs
    from gpufit.replay.recording import find_peaks
    from gpufit.replay.run import resident_tensors
    from gpufit.replay.tracker import Tracker

    settings = {key: value for key, value in SMALL.items() if key not in ("model_type", "architectures")}
    model: Any = transformers.GPTBigCodeForCausalLM._from_config(
        transformers.GPTBigCodeConfig(**settings), attn_implementation="eager"
    )
    model.config.use_cache = False
    model.train()
    presents: list[torch.Tensor] = []
    for index, layer in enumerate(model.transformer.h):
        model.transformer.h[index] = _checkpointed(layer, presents, handing_out=handing_out)
    tracker = Tracker("cpu")
    tracker.register(resident_tensors(model))
    with tracker.watching(model):
        with tracker.phase("forward"):
            inputs = model_inputs(model, prompt=TOKENS, batch=BATCH, device="cpu")
            logits = model(**inputs).logits
            shifted = logits[..., :-1, :].contiguous()
            labels = inputs["input_ids"][..., 1:].contiguous()
            loss = torch.nn.functional.cross_entropy(shifted.view(-1, shifted.shape[-1]), labels.view(-1))
            assert len(presents) == (5 if handing_out else 0)
            del inputs, logits, shifted, labels
            presents.clear()
        with tracker.phase("backward"):
            loss.backward()
    return {peak.phase: peak.above_bytes for peak in find_peaks(tracker.recording())}


def _checkpointed(layer: Any, presents: list[Any], *, handing_out: bool) -> Any:
    """A layer under a checkpoint with reentry that hands its keys and values out, into ``presents``."""
    import torch
    from torch.utils.checkpoint import checkpoint

    class Old(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, hidden: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
            def run(hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
                made: list[torch.Tensor] = []
                hook = layer.attn.c_attn.register_forward_hook(
                    lambda _module, _inputs, product: made.extend(product.split((96, 32), dim=2)[1:])
                )
                out = layer(hidden, *given, **named)
                hook.remove()
                return (out, *made) if handing_out else (out,)

            out, *handed_out = checkpoint(run, hidden, use_reentrant=True)
            presents.extend(handed_out)
            return out

    return Old()
