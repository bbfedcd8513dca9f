"""The driver's part of a process on a device: measured there before, where it was, in place of the table's range."""

from __future__ import annotations

from gpufit.devices.device import Device
from gpufit.memory.ranges import Range
from gpufit.memory.runtime import RuntimeFact
from gpufit.units import format_bytes


def measured_context(device: Device | None) -> RuntimeFact | None:
    """What was measured on this very device: likely the most that a run took, at least what the first touch took.

    >>> from gpufit.devices.device import DriverContext
    >>> seen = DriverContext(first_bytes=140 << 20, most_bytes=412 << 20, measured_on="2026-11-23", torch="2.13.0")
    >>> fact = measured_context(Device(name="T4", source="nvml", driver="560.35.05", driver_context=seen))
    >>> fact.bytes.likely_bytes >> 20, fact.source
    (412, 'measured on this machine 2026-11-23, torch 2.13.0, driver 560.35.05')
    """
    seen = device.driver_context if device is not None else None
    if device is None or seen is None:
        return None
    how = ", as the growth of the whole device" if seen.by_difference else ""
    return RuntimeFact(
        since=(0, 0), torch=None,
        bytes=Range(seen.first_bytes, seen.most_bytes, seen.most_bytes),
        source=f"measured on this machine {seen.measured_on}, torch {seen.torch}, driver {device.driver}{how}",
    )  # fmt: skip


def context_notes(measured: RuntimeFact | None) -> tuple[str, ...]:
    """A sentence that says so; nothing where the table was used."""
    if measured is None:
        return ()
    return (f"driver context {format_bytes(measured.bytes.likely_bytes)}, {measured.source}",)
