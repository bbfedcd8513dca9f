"""One answer out of several probes': whom to believe for which vendor's devices, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.devices.device import Device
from gpufit.records import record
from gpufit.units import format_gib

# Totals may differ by what the driver keeps for itself, and by what torch cannot see: at most a twentieth.
_TOLERANCE = 20


@record
class Finding:
    """What one probe said. ``outcome``: found, none (it looked and saw nothing), absent (not installed), failed."""

    probe: str
    outcome: str
    message: str = ""
    devices: tuple[Device, ...] = ()


def believed(findings: Sequence[Finding]) -> tuple[Device, ...]:
    """For each vendor the devices of the first probe that knows a memory size, or else of the first that saw any.

    >>> bare, sized = (Device(name="B580", source=s, vendor="Intel", total_bytes=t) for s, t in (("a", None), ("b", 9)))
    >>> found = [Finding(probe=d.source, outcome="found", devices=(d,)) for d in (bare, sized)]
    >>> [device.source for device in believed(found)]
    ['b']
    """
    chosen: dict[str | None, tuple[Device, ...]] = {}
    for finding in findings:
        for vendor in dict.fromkeys(device.vendor for device in finding.devices):
            own = tuple(device for device in finding.devices if device.vendor == vendor)
            if vendor not in chosen or (_any_size(own) and not _any_size(chosen[vendor])):
                chosen[vendor] = own
    return tuple(device for devices in chosen.values() for device in devices)


def disagreements(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Probes that saw different numbers of a vendor's devices, or other totals for what is the same one."""
    notes: list[str] = []
    vendors = dict.fromkeys(device.vendor for finding in findings for device in finding.devices)
    for vendor in vendors:
        seen = [
            (finding.probe, tuple(device for device in finding.devices if device.vendor == vendor))
            for finding in findings
        ]
        sayings = [(probe, devices) for probe, devices in seen if devices]
        for other in sayings[1:]:
            notes += _compare(*sayings[0], *other)
    return tuple(notes)


def _compare(first: str, ones: tuple[Device, ...], second: str, twos: tuple[Device, ...]) -> list[str]:
    if len(ones) != len(twos):
        return [f"probes disagree: {first} sees {_count(ones)}, {second} {len(twos)}"]
    by_uuid = {device.uuid: device for device in twos if device.uuid}
    notes = []
    for one, by_place in zip(ones, twos, strict=True):
        two = by_uuid.get(one.uuid or "", by_place)
        if one.total_bytes and two.total_bytes and _differ(one.total_bytes, two.total_bytes):
            totals = f"{first} says {format_gib(one.total_bytes)}, {second} {format_gib(two.total_bytes)}"
            notes.append(f"probes disagree on GPU {one.index}: {totals}")
    return notes


def _differ(one: int, two: int) -> bool:
    return abs(one - two) * _TOLERANCE > one


def _count(devices: tuple[Device, ...]) -> str:
    return f"{len(devices)} device" + ("s" if len(devices) != 1 else "")


def _any_size(devices: tuple[Device, ...]) -> bool:
    return any(device.total_bytes is not None for device in devices)
