"""The last readings of each device, for a dashboard."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from gpufit.devices.device import Device
from gpufit.records import record

LONGEST = 200


@record
class Trail:
    """Percentages over time, oldest first; None where a reading was unknown."""

    memory: tuple[int | None, ...] = ()
    load: tuple[int | None, ...] = ()


class History:
    """Keeps at most ``LONGEST`` looks of every device."""

    __slots__ = ("_looks",)

    def __init__(self) -> None:
        self._looks: dict[str, deque[tuple[int | None, int | None]]] = {}

    def add(self, devices: Sequence[Device]) -> None:
        """Note one look. A device that is missing from it has a gap there."""
        for looks in self._looks.values():
            looks.append((None, None))
        for device in devices:
            looks = self._looks.setdefault(_key(device), deque([(None, None)], maxlen=LONGEST))
            looks[-1] = (taken_percent(device), device.utilization_percent)

    def of(self, device: Device) -> Trail:
        """What was noted of a device so far."""
        looks = self._looks.get(_key(device), ())
        return Trail(memory=tuple(look[0] for look in looks), load=tuple(look[1] for look in looks))


def taken_percent(device: Device) -> int | None:
    """How much of the memory cannot be had.

    >>> taken_percent(Device(name="T4", source="fake", total_bytes=16, free_bytes=12))
    25
    """
    if not device.total_bytes or device.free_bytes is None:
        return None
    return 100 * (device.total_bytes - device.free_bytes) // device.total_bytes


def _key(device: Device) -> str:
    return device.uuid or f"{device.source} {device.index} {device.name}"
