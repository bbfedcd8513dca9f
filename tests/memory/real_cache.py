"""Bytes that a real transformers Cache holds after a forward pass: the truth that cache records are held against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_SCALARS = {"_sliding_window_tensor"}  # eight bytes a layer, which say the window's length


def tensors_in(cache: Any) -> Iterator[Any]:
    """Every tensor that the cache's layers refer to: keys, values, indexer keys, convolution and recurrent states."""
    for half in ("self_attention_cache", "cross_attention_cache"):
        if hasattr(cache, half):
            yield from tensors_in(getattr(cache, half))
    for layer in getattr(cache, "layers", ()):
        for name, value in vars(layer).items():
            if name not in _SCALARS:
                yield from _tensors(value)


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def cache_bytes(cache: Any) -> int:
    """Bytes of the distinct storages that the cache keeps alive.

    A sliding layer shows a view of ``window − 1`` tokens, but keeps the storage that the view points into.
    """
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors_in(cache)}
    return sum(storages.values())


def shown_bytes(cache: Any) -> int:
    """Bytes of the cache's tensors as their shapes show them, whatever the storages behind them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(cache))
