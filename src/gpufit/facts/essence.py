"""Which keys of a configuration decide what the model is, found by leaving them out and reading again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gpufit.errors import GpufitError
from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import parse_dtype
from gpufit.facts.read import parse_config

Path = tuple[str, ...]  # of a value: the sections it lies in and its own key
_DEEPEST = 16
_TENSOR_FACTS = ("groups", "output", "keep_fp32", "keep_fp32_strict")


def leaves(config: Mapping[str, Any], *, above: Path = ()) -> dict[Path, Any]:
    """Every value that is no section (an empty section is one), by its path.

    >>> leaves({"model_type": "llava", "text_config": {"hidden_size": 64}})
    {('model_type',): 'llava', ('text_config', 'hidden_size'): 64}
    """
    found: dict[Path, Any] = {}
    for key, value in config.items():
        path = (*above, key)
        if isinstance(value, Mapping) and value and len(path) < _DEEPEST:
            found.update(leaves(value, above=path))
        else:
            found[path] = value
    return found


def from_leaves(values: Mapping[Path, Any]) -> dict[str, Any]:
    """The configuration that has these values and no others.

    >>> from_leaves({("a",): 1, ("b", "c"): 2})
    {'a': 1, 'b': {'c': 2}}
    """
    config: dict[str, Any] = {}
    for path, value in values.items():
        section = config
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = value
    return config


def essential_config(raw: Mapping[str, Any], decides: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    """The fewest keys of ``raw`` for which ``decides`` still holds: what can be left out one by one is left out.

    Halves are tried before single keys, so that a thousand keys nobody reads cost ten readings, not a thousand.

    >>> essential_config({"a": 1, "b": 2, "c": 3}, lambda config: config.get("b") == 2)
    {'b': 2}
    """
    kept = leaves(raw)

    def drop(paths: list[Path]) -> None:
        nonlocal kept
        fewer = {path: value for path, value in kept.items() if path not in set(paths)}
        if decides(from_leaves(fewer)):
            kept = fewer
        elif len(paths) > 1:
            drop(paths[: len(paths) // 2])
            drop(paths[len(paths) // 2 :])

    drop(list(kept))
    return from_leaves(kept)


def try_parse(config: Mapping[str, Any]) -> Architecture | None:
    """The model, None where the readers refuse the configuration."""
    try:
        return parse_config(config)
    except GpufitError:
        return None


def differing_facts(one: Architecture, other: Architecture) -> tuple[str, ...]:
    """The names of the facts in which two models differ; notes and provenance are no facts.

    >>> llama = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    ...          "num_attention_heads": 4, "vocab_size": 100}
    >>> differing_facts(parse_config(llama), parse_config({**llama, "num_key_value_heads": 2}))
    ('parameters', 'tensors', 'stacks', 'cache')
    """
    found = [name for name in ("parameters",) if one.parameters != other.parameters]
    ours, theirs = one.tensors, other.tensors
    if any(getattr(ours, name) != getattr(theirs, name) for name in _TENSOR_FACTS):
        found.append("tensors")
    for name in ("stacks", "cache", "max_context_tokens", "form", "model_type", "task", "vocab_size"):
        if getattr(one, name) != getattr(other, name):
            found.append(name)
    if _dtype(one) != _dtype(other):
        found.append("dtype")
    if one.config_quantization != other.config_quantization:
        found.append("config_quantization")
    return tuple(found)


def _dtype(architecture: Architecture) -> str | None:
    return parse_dtype(architecture.dtype) if architecture.dtype else None
