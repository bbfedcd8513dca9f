"""Inputs of a model's own kind: token ids, and frames, sound or pictures where it hears or sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def token_ids(batch: int, tokens: int, device: str) -> torch.Tensor:
    """(batch, tokens) int64 ids, all zero."""
    import torch

    return torch.zeros((batch, tokens), dtype=torch.int64, device=device)


def model_inputs(model: Any, *, prompt: int, batch: int, device: str) -> dict[str, torch.Tensor]:
    """What a plain forward pass (or an encoder) takes.

    Speech encoders take their full window of frames whatever the prompt; those that hear a waveform take as much of it
    as makes ``prompt`` positions. Models that match pictures with text, and picture encoders, take one picture a
    sequence; models that generate take text alone.
    """
    import torch

    config = model.config
    if model.main_input_name == "input_features":
        frames = 2 * config.max_source_positions  # two frames a position: the second convolution has stride 2
        spectrogram = (batch, config.num_mel_bins, frames)
        inputs = {"input_features": torch.zeros(spectrogram, dtype=model.dtype, device=device)}
        return inputs if model.can_generate() else {**inputs, "decoder_input_ids": token_ids(batch, 1, device)}
    if model.main_input_name == "input_values" and hasattr(config, "conv_kernel"):
        samples = waveform_samples(prompt, config.conv_kernel, config.conv_stride)
        return {"input_values": torch.zeros((batch, samples), dtype=model.dtype, device=device)}
    inputs = {}
    vision = getattr(config, "vision_config", None)
    if model.main_input_name == "pixel_values" or (vision is not None and not model.can_generate()):
        tower = vision or config
        side = tower.image_size
        height, width = side if isinstance(side, (tuple, list)) else (side, side)
        picture = (batch, tower.num_channels, height, width)
        inputs["pixel_values"] = torch.zeros(picture, dtype=model.dtype, device=device)
        if not hasattr(config, "text_config"):
            return inputs
    inputs["input_ids"] = token_ids(batch, prompt, device)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if config.is_encoder_decoder and not model.can_generate():
        inputs["decoder_input_ids"] = token_ids(batch, prompt, device)
    return inputs


def waveform_samples(positions: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """The shortest waveform whose convolutions, without padding, leave that many positions.

    wav2vec 2.0's seven convolutions have strides of 320 together, and 400 samples make one position:

    >>> kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    >>> waveform_samples(1, kernels, strides), waveform_samples(2, kernels, strides)
    (400, 720)
    """
    samples = positions
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
