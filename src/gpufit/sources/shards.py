"""Files that belong together by their names: ``model-00001-of-00003.safetensors`` and its sisters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpufit.units import format_gib

_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.(safetensors|gguf)")
_LISTED = 24


def first_shards(names: Mapping[str, int], ending: str) -> list[str]:
    """Models of that ending, a sharded one by its first shard. Projectors of vision towers are no models."""
    found = []
    for name in names:
        shard = _SHARD.fullmatch(name)
        if name.endswith(ending) and (shard is None or int(shard[2]) == 1) and "mmproj" not in name:
            found.append(name)
    return found


def list_models(names: Mapping[str, int], chosen: list[str]) -> str:
    """Names with sizes, shards of one model summed under its first."""
    shown = [f"{name} ({format_gib(sum(names.get(n, 0) for n in shard_names(name)))})" for name in chosen[:_LISTED]]
    rest = len(chosen) - _LISTED
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def shard_names(name: str) -> tuple[str, ...]:
    """All shards of the model that ``name`` is a shard of; itself where it is whole.

    >>> shard_names("m-00002-of-00002.gguf")
    ('m-00001-of-00002.gguf', 'm-00002-of-00002.gguf')
    """
    shard = _SHARD.fullmatch(name)
    if shard is None or not 1 <= int(shard[2]) <= int(shard[3]) <= 2048:
        return (name,)
    count = int(shard[3])
    return tuple(f"{shard[1]}-{number:05d}-of-{count:05d}.{shard[4]}" for number in range(1, count + 1))
