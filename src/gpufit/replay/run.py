"""Run a model's steps under the tracker, on the meta device with CUDA's behaviour or on real CPU tensors without."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from gpufit.replay.cuda_attention import Capability
from gpufit.replay.generation import encode, generate, translate
from gpufit.replay.recording import Recording
from gpufit.replay.tracker import Tracker
from gpufit.replay.training_step import TrainingSetup, make_optimizer, prepare_for_training, train

if TYPE_CHECKING:
    import torch


def record_inference(
    model: Any, *, prompt: int, new: int = 0, batch: int = 1, capability: Capability | None = (8, 0)
) -> Recording:
    """Track one inference of a transformers model on whatever device it lies.

    With ``capability`` None nothing pretends to be CUDA: that is for comparing with a real CPU run.
    """
    import torch

    from gpufit.replay.cuda_ops import cuda_behaviour

    device = next(model.parameters()).device.type
    tracker = make_tracker(device, capability)
    tracker.register(resident_tensors(model))
    steps: Any = encode
    sizes: dict[str, int] = {"prompt": prompt, "batch": batch}
    if model.can_generate():
        steps = translate if model.config.is_encoder_decoder else generate
        sizes["new"] = new
    with torch.no_grad(), cuda_behaviour(capability) if capability else nullcontext():
        steps(model, tracker, device=device, **sizes)
    return tracker.recording()


def record_training(
    model: Any, setup: TrainingSetup, *, tokens: int, batch: int = 1, capability: Capability | None = (8, 0)
) -> Recording:
    """Track a training step (the second; the first fills the optimizer's states)."""
    from gpufit.replay.cuda_ops import cuda_behaviour

    model = prepare_for_training(model, setup)
    device = next(model.parameters()).device.type
    tracker = make_tracker(device, capability)
    tracker.register(resident_tensors(model))
    optimizer = make_optimizer(model, setup.optimizer)
    with cuda_behaviour(capability) if capability else nullcontext():
        train(model, tracker, optimizer, tokens=tokens, batch=batch, device=device)
    return tracker.recording()


def make_tracker(device_type: str, capability: Capability | None) -> Tracker:
    """A tracker with the rules that tensors without data need; for real ones, what opens bitsandbytes' operators."""
    from gpufit.replay.quantized import bitsandbytes_inside, bitsandbytes_rules

    if device_type != "meta":
        return Tracker(device_type, bitsandbytes_inside(device_type))
    from gpufit.replay.cuda_ops import kernel_rules
    from gpufit.replay.data_rules import data_rules

    cuda = {**kernel_rules(), **bitsandbytes_rules(capability)} if capability else {}
    return Tracker(device_type, {**data_rules(), **cuda})


def resident_tensors(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Parameters, then buffers, then the scales and code books of quantized layers, by name."""
    from gpufit.replay.quantized import quantization_tensors

    return [*model.named_parameters(), *model.named_buffers(), *quantization_tensors(model)]
