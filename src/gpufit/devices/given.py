"""The device that the user states: by its memory, by its name, or both."""

from __future__ import annotations

from collections.abc import Mapping

from gpufit.devices.device import Device
from gpufit.records import replace
from gpufit.units import format_gib, parse_size


def given_device(*, vram: str | int | float | None, gpu: str | None, environ: Mapping[str, str]) -> Device | None:
    """An idle device of ``vram`` (a size), of kind ``gpu`` (a name), or of that kind with that memory; else None.

    Raises UsageError for what is no size, UnknownName for what is no GPU.

    >>> device = given_device(vram="16GB", gpu=None, environ={})
    >>> device.name, device.total_bytes, device.free_bytes
    ('a GPU with 14.90 GiB', 16000000000, 16000000000)
    """
    if gpu is not None:
        from gpufit.devices.table import find_gpu, load_gpus

        named = find_gpu(gpu, load_gpus(environ))
        if vram is None:
            return named
        size_bytes = parse_size(vram, what="--vram")
        asked, own = format_gib(size_bytes) + " on each card" * (named.count > 1), format_gib(named.total_bytes or 0)
        note = f"--vram sets the memory, {asked} in place of the {own} of {named.name}; all else is that card's"
        return replace(
            named, source="given", total_bytes=size_bytes, free_bytes=size_bytes, used_bytes=0, reserved_bytes=None,
            total_is_bound=False, notes=(note,),
        )  # fmt: skip
    if vram is None:
        return None
    size_bytes = parse_size(vram, what="--vram")
    return Device(
        name=f"a GPU with {format_gib(size_bytes)}",
        source="given",
        total_bytes=size_bytes,
        free_bytes=size_bytes,
        used_bytes=0,
    )
