"""A model that transformers built, told tensor by tensor, as an Architecture: for families without a reader here.

``gpufit.replay.inventory`` tells it; the words are in its docstring. Weights are then exact and the cache is what the
modelling code really kept; no formula says what the activations take, so the verdict is at most a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from gpufit.facts.architecture import Architecture, CacheLayers, Stack, StateTensor
from gpufit.facts.tensors import Role, TensorGroup, TensorInventory

BUILT = "built"
"""The ``form`` of such a model: no activation formula bears this name."""

Box = tuple[tuple[int, ...], ...]
_ROLES: tuple[tuple[str, Role], ...] = (  # the first word that occurs in a name decides
    ("vision", "vision"), ("visual", "vision"), ("image", "vision"), ("audio", "audio"), ("speech", "audio"),
    ("expert", "experts"), ("router", "router"), (".gate.", "router"), ("norm", "norm"), ("embed", "embedding"),
    ("attn", "attention"), ("attention", "attention"), ("mlp", "mlp"), ("ffn", "mlp"), ("feed_forward", "mlp"),
    ("fc", "mlp"), ("mamba", "mixer"), ("ssm", "mixer"), ("mixer", "mixer"), ("conv", "mixer"),
)  # fmt: skip


def parse_built(told: Mapping[str, Any]) -> Architecture:
    """The Architecture of a told model. ``told`` comes from our own child process and is taken as it stands.

    >>> one = {"name": "layers.{}.up.weight", "index": [0], "shape": [8, 4], "module": "linear", "dtype": None,
    ...        "tied_to": None, "saved": True}
    >>> model = parse_built({"model_type": "new", "model_class": "NewForCausalLM", "task": "causal-lm", "layers": 2,
    ...                      "hidden": 4, "vocab_size": 9, "tensors": [one, {**one, "index": [1]}], "cache": [],
    ...                      "output": None, "keep_fp32": [], "keep_fp32_strict": [], "max_context_tokens": None,
    ...                      "dtype": "float16", "quantization": None, "encoder_layers": 0, "notes": []})
    >>> model.parameters, model.tensors.groups[0].indices
    (64, ((0, 1),))
    """
    groups = _fold(told["tensors"], told["output"])
    stacks = [Stack(role="decoder", layers=told["layers"], hidden=told["hidden"])]
    if told["encoder_layers"]:
        stacks.append(Stack(role="encoder", layers=told["encoder_layers"], hidden=told["hidden"]))
    return Architecture(
        model_type=told["model_type"],
        model_class=told["model_class"],
        task=told["task"],
        form=BUILT,
        stacks=tuple(stacks),
        vocab_size=told["vocab_size"],
        tensors=TensorInventory(
            groups=groups, output=told["output"], keep_fp32=tuple(told["keep_fp32"]),
            keep_fp32_strict=tuple(told["keep_fp32_strict"]),
        ),
        cache=tuple(map(_cache_layers, told["cache"] or ())),
        max_context_tokens=told["max_context_tokens"],
        dtype=told["dtype"],
        config_quantization=told["quantization"],
        provenance=(("model_type", told["model_type"]),),
        notes=tuple(told["notes"]),
        unknown_rows=() if told["cache"] is not None else ("kv_cache",),
    )  # fmt: skip


def _cache_layers(told: Mapping[str, Any]) -> CacheLayers:
    state = tuple(
        StateTensor(name=item["name"], shape=tuple(item["shape"]), dtype=item["dtype"]) for item in told["state"]
    )
    return CacheLayers(
        kind=told["kind"], layers=told["layers"], kv_heads=told["kv_heads"], key_dim=told["key_dim"],
        value_dim=told["value_dim"], window_tokens=told["window_tokens"], state=state, index_dim=told["index_dim"],
    )  # fmt: skip


def _fold(tensors: Iterable[Mapping[str, Any]], output: str | None) -> tuple[TensorGroup, ...]:
    """Tensors that differ in nothing but their place in lists of blocks as one group.

    Groups stand in the order of their last tensors, so that the model's last one is the last group's: the quantizers
    leave the last module alone.
    """
    alike: dict[tuple[Any, ...], list[tuple[int, ...]]] = {}
    for tensor in tensors:
        key = (
            tensor["name"], tuple(tensor["shape"]), tensor["module"], tensor["dtype"], tensor["tied_to"],
            tensor["saved"],
        )  # fmt: skip
        indices = alike.pop(key, [])
        indices.append(tuple(tensor["index"]))
        alike[key] = indices
    return tuple(
        TensorGroup(
            name=name, shape=shape, module=module, role=_role(name, module, output), indices=box, dtype=dtype,
            tied_to=tied_to, saved=saved,
        )
        for (name, shape, module, dtype, tied_to, saved), indices in alike.items()
        for box in boxes(indices)
    )  # fmt: skip


def boxes(indices: Iterable[tuple[int, ...]]) -> list[Box]:
    """Distinct index tuples of one length as few products of index lists.

    >>> boxes([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)])
    [((0, 1), (0, 1)), ((2,), (0,))]
    """
    ordered = sorted(set(indices))
    if not ordered or not ordered[0]:
        return [()]
    by_tail: dict[tuple[Box, ...], list[int]] = {}
    for head, rows in groupby(ordered, key=lambda index: index[0]):
        by_tail.setdefault(tuple(boxes(row[1:] for row in rows)), []).append(head)
    return [(tuple(heads), *tail) for tails, heads in by_tail.items() for tail in tails]


def _role(name: str, module: str, output: str | None) -> Role:
    """What a tensor is there for, by the words of its name: for people to read; only a router is treated apart."""
    if name == output:
        return "output"
    if module == "embedding":
        return "embedding"
    return next((role for word, role in _ROLES if word in name), "mlp" if "{}" in name else "head")
