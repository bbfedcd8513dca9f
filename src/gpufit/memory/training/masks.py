"""Attention masks as masking_utils.py builds them (transformers 5.23.0): none where a kernel knows causality itself."""

from __future__ import annotations

from gpufit.memory.training.modules import Model
from gpufit.memory.training.tape.tensor import Tensor


def causal_mask(model: Model, embeds: Tensor, kind: str = "full", *, eager: bool = False) -> Tensor | None:
    """create_causal_mask, or its sliding sister, for unpadded sequences.

    Eager adds (batch, 1, tokens, tokens) numbers; sdpa needs truth values where the window hides tokens.
    """
    window = None
    if kind == "sliding":
        window = next((layers.window_tokens for layers in model.architecture.cache if layers.kind == kind), None)
    tape, plan = model.tape, model.plan
    batch, tokens = embeds.shape[:2]
    if eager or plan.attention == "eager":
        return tape.empty((batch, 1, tokens, tokens), embeds.dtype)
    if window is not None and tokens >= window and plan.attention == "sdpa":
        return tape.empty((batch, 1, tokens, tokens), "bool")
    return None
