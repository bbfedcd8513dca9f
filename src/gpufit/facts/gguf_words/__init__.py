"""What each GGUF architecture's metadata is called in a config.json, one module per kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gpufit.facts.config import Config

Shapes = Mapping[str, tuple[int, ...]]
Facts = dict[str, Any]
Translation = Callable[[Config, Shapes], Facts]
"""(the architecture's own keys, every tensor's shape) -> the keys of config.json that the common ones do not give."""


def plain(model_type: str, model_class: str, **fixed: Any) -> Translation:
    """A family that the common keys describe, with what its GGUF leaves unsaid."""

    def translate(meta: Config, shapes: Shapes) -> Facts:
        return {"model_type": model_type, "architectures": [model_class], **fixed}

    return translate


def with_flags(translation: Translation, **tensors: str) -> Translation:
    """... and a flag for each key, true where the tensor of that name is there."""

    def translate(meta: Config, shapes: Shapes) -> Facts:
        return {**translation(meta, shapes), **{key: name in shapes for key, name in tensors.items()}}

    return translate


def windowed(model_type: str, model_class: str, pattern: int) -> Translation:
    """Every ``pattern``-th layer attends fully, the others within the window."""

    def translate(meta: Config, shapes: Shapes) -> Facts:
        layers = meta.layers("block_count")
        window = meta.size("attention.sliding_window", None)
        kinds = [
            "full_attention" if not window or (i + 1) % pattern == 0 else "sliding_attention" for i in range(layers)
        ]
        facts: Facts = {"model_type": model_type, "architectures": [model_class], "layer_types": kinds}
        return facts | ({"sliding_window": window} if window else {})

    return translate


def rotary_share(meta: Config, head: int | None = None) -> float:
    """The part of a head that is rotated: ``rope.dimension_count`` of its width, all of it where that is not said."""
    width = max(1, head or meta.size("embedding_length") // meta.layers("attention.head_count"))
    return float(meta.size("rope.dimension_count", width) / width)
