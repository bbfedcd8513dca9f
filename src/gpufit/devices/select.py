"""Devices with enough free memory, as ids for ``CUDA_VISIBLE_DEVICES=$(gpufit gpus --select --needs 12GiB)``."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.devices.device import Device
from gpufit.devices.visible import selection_ids, variable_for
from gpufit.errors import NoDevice
from gpufit.records import record
from gpufit.units import format_gib


@record
class Selection:
    """The devices, freest first; ``ids`` is what ``variable`` takes for them, ``notes`` what was left out and why."""

    devices: tuple[Device, ...]
    ids: tuple[str, ...]
    variable: str
    notes: tuple[str, ...] = ()


def select_devices(
    devices: Sequence[Device], needs_bytes: int, *, most: int | None = None, troubles: Sequence[str] = ()
) -> Selection:
    """At most ``most`` devices of one vendor with ``needs_bytes`` free; none where all are known to have less.

    ``troubles`` are failures of probes. Raises NoDevice where nothing fits and some device's memory is unknown, or
    nothing was seen and a probe failed: then nobody can tell.

    >>> cards = [Device(name="T4", source="fake", index=place, free_bytes=size) for place, size in enumerate((5, 9))]
    >>> select_devices(cards, 6).ids, select_devices(cards, 10).ids
    (('1',), ())
    """
    own = [device for device in devices if not device.integrated]
    enough = [device for device in own if device.free_bytes is not None and device.free_bytes >= needs_bytes]
    if not enough:
        unknown = [device.name for device in own if device.free_bytes is None]
        if unknown:
            raise NoDevice(f"how much memory is free is unknown: {', '.join(unknown)}", hint="gpufit doctor shows more")
        if troubles and not own:
            raise NoDevice("; ".join(("no GPU found", *troubles)), hint="gpufit doctor shows more")
        return Selection(devices=(), ids=(), variable=variable_for(None), notes=(_shortfall(own, needs_bytes),))
    enough.sort(key=lambda device: -(device.free_bytes or 0))
    chosen = [device for device in enough if device.vendor == enough[0].vendor]
    notes = []
    if len(chosen) < len(enough):
        notes.append(f"a program runs on one vendor's devices; those of {enough[0].vendor} are taken")
    slices = [device for device in chosen if _is_slice(device)]
    if slices and len(chosen) > 1:
        chosen = [device for device in chosen if not _is_slice(device)] or slices[:1]
        notes.append("CUDA sees one MIG slice at a time, and none beside whole cards")
    chosen = chosen[:most]
    variable = variable_for(chosen[0].vendor)
    if variable != variable_for(None):
        notes.append(f"these ids are for {variable}")
    return Selection(devices=tuple(chosen), ids=selection_ids(chosen), variable=variable, notes=tuple(notes))


def _shortfall(devices: Sequence[Device], needs_bytes: int) -> str:
    if not devices:
        return f"no GPU found, and none with {format_gib(needs_bytes)} free"
    best = max(devices, key=lambda device: device.free_bytes or 0)
    return f"no GPU has {format_gib(needs_bytes)} free; the most is {format_gib(best.free_bytes or 0)} on {best.name}"


def _is_slice(device: Device) -> bool:
    return (device.uuid or "").upper().startswith("MIG-")
