"""What a model's own code keeps in its cache, seen by running it on tensors without data.

Two prefills of different lengths are compared layer by layer (transformers 5.23.0, cache_utils.py): what grows with the
tokens is a key/value cache, what does not is a state. A layer class that is not known here is not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_SHORT, _LONG = 5, 8
_LAYERS = {  # transformers' classes and the kind of their key/value part; None where they have none
    "DynamicLayer": "full", "DynamicIndexedLayer": "full", "DynamicSlidingWindowLayer": "sliding",
    "LinearAttentionLayer": None, "LinearAttentionAndFullAttentionLayer": "full",
    "LinearAttentionAndSlidingWindowAttentionLayer": "sliding", "DummyLayer": None,
}  # fmt: skip


class _Unclear(Exception):
    """The cache does something that no rule here describes; the text says what."""


def observe_cache(model: Any, notes: list[str]) -> list[dict[str, Any]] | None:
    """The layers by kind, as ``gpufit.facts.built`` reads them; None, and a note why, where they cannot be told."""
    try:
        short, long = (_layers_after(model, tokens) for tokens in (_SHORT, _LONG))
        if len(short) != len(long) or not short:
            raise _Unclear(f"{len(long)} cache layers")
        found = [part for (cross, one), (_, two) in zip(short, long, strict=True) for part in _tell(one, two, cross)]
    except Exception as problem:  # noqa: BLE001  any modelling code may stop on tensors without data
        reason = str(problem).splitlines()[0][:120] if str(problem) else type(problem).__name__
        notes.append(f"its cache could not be seen without data ({reason})")
        return None
    notes.append(f"its cache is what {type(model).__name__} kept after prompts of {_SHORT} and {_LONG} tokens")
    return _merged(found)


def _layers_after(model: Any, tokens: int) -> list[tuple[bool, Any]]:
    """(whether it is cross-attention's, layer) for every cache layer after a prefill of so many tokens."""
    import torch

    from gpufit.replay.cuda_ops import cuda_behaviour
    from gpufit.replay.generation import prefill_cache
    from gpufit.replay.run import make_tracker

    tracker = make_tracker("meta", (8, 0))
    with torch.no_grad(), cuda_behaviour((8, 0)), tracker.watching(model), tracker.phase("prefill"):
        cache = prefill_cache(model, tokens)
    own, cross = getattr(cache, "self_attention_cache", cache), getattr(cache, "cross_attention_cache", None)
    return [(half is cross, layer) for half in (own, cross) for layer in getattr(half, "layers", ())]


def _tell(short: Any, long: Any, cross: bool) -> Iterable[dict[str, Any]]:
    """The key/value part and the state of one layer."""
    name = type(long).__name__
    if name not in _LAYERS:
        raise _Unclear(f"a {name}")
    kind = _LAYERS[name]
    state = _states(long)
    if state != _states(short):
        raise _Unclear(f"a {name} whose state grows")
    if kind is None:
        return [_part("state", state=state)] if state else []
    if long.keys is None or long.keys.ndim != 4:
        raise _Unclear(f"a {name} without keys")
    grown = long.keys.shape[-2] - short.keys.shape[-2]
    window = long.sliding_window if kind == "sliding" else None
    if grown != _LONG - _SHORT and not (window is not None and window <= _LONG):
        raise _Unclear(f"a {name} that grows by {grown} for {_LONG - _SHORT} tokens")
    index = getattr(long, "indexer_keys", None)
    return [
        _part(
            "cross" if cross else kind, kv_heads=long.keys.shape[1], key_dim=long.keys.shape[-1],
            value_dim=long.values.shape[-1], window_tokens=window, state=state,
            index_dim=0 if index is None else index.shape[-1],
        )
    ]  # fmt: skip


def _part(kind: str, **facts: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "kv_heads": 0,
        "key_dim": 0,
        "value_dim": 0,
        "window_tokens": None,
        "state": [],
        "index_dim": 0,
    }
    return {"kind": kind, "layers": 1, **plain, **facts}


def _states(layer: Any) -> list[dict[str, Any]]:
    """Convolution windows and recurrent states, without the batch; fp32 where they keep it under bf16."""
    found = []
    for name in ("conv_states", "recurrent_states"):
        for tensor in (getattr(layer, name, None) or {}).values():
            if tensor is not None:
                dtype = "fp32" if str(tensor.dtype) == "torch.float32" else None
                found.append({"name": name.removesuffix("s"), "shape": list(tensor.shape[1:]), "dtype": dtype})
    return found


def _merged(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Layers that cache alike as one."""
    merged: list[dict[str, Any]] = []
    for part in parts:
        same = next((other for other in merged if {**other, "layers": 1} == part), None)
        if same is None:
            merged.append(part)
        else:
            same["layers"] += 1
    return merged
