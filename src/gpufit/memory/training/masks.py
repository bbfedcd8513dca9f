"""Attention masks as masking_utils.py builds them (transformers 5.23.0): none where a kernel knows causality itself."""

from __future__ import annotations

from gpufit.memory.training.modules import Model
from gpufit.memory.training.tape.tensor import Tensor


def causal_mask(model: Model, embeds: Tensor, *, window: int | None = None) -> Tensor | None:
    """create_causal_mask for unpadded sequences: eager adds (batch, 1, tokens, tokens) numbers."""
    tape, plan = model.tape, model.plan
    batch, tokens = embeds.shape[:2]
    if plan.attention == "eager":
        return tape.empty((batch, 1, tokens, tokens), embeds.dtype)
    if window is not None and tokens > window and plan.attention == "sdpa":
        return tape.empty((batch, 1, tokens, tokens), "bool")
    return None
