"""The catalog in one format, without a device: what each model's weights alone take."""

from __future__ import annotations

from collections.abc import Iterable

from gpufit.errors import Unsupported, UsageError
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import QUANTIZATIONS
from gpufit.verdict.listing import Entry, Listed

_OF_A_DEVICE = ("process", "headroom", "context")  # sort keys that only a device gives


def weigh_alone(entries: Iterable[Entry], quant: str) -> tuple[Listed, ...]:
    """Each entry that has layers for ``quant``, with its weights in that format; what stays beside it is in 16 bits."""
    wanted = next(known for known in QUANTIZATIONS if known == quant)
    found = []
    for entry in entries:
        architecture = entry.architecture()
        dtype = "bf16" if architecture.dtype in ("bf16", "bfloat16") else "fp16"
        try:
            size = count_weights(architecture, dtype, wanted).total_bytes
        except Unsupported:
            continue
        found.append(Listed(entry=entry, weights_bytes=size))
    return tuple(found)


def refuse_without_device(sort: str, **given: bool) -> None:
    """Raises UsageError where an option was given that means nothing until there is a device to judge against."""
    idle = [f"--{name}" for name, was_given in given.items() if was_given]
    if sort in _OF_A_DEVICE:
        idle.append(f"--sort {sort}")
    if idle:
        verb = "needs" if len(idle) == 1 else "need"
        hint = "add --fits, --vram 16 or --gpu t4"
        raise UsageError(f"{' and '.join(idle)} {verb} a device to judge against", hint=hint)
