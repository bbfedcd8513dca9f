"""What we may use of a device."""

from __future__ import annotations

from gpufit.devices.device import Device
from gpufit.errors import NoDevice, UsageError
from gpufit.records import record
from gpufit.units import format_bytes


@record
class Budget:
    """Free memory less the reserve. ``known_by`` says in words where the figures come from."""

    total_bytes: int | None
    free_bytes: int
    reserve_bytes: int
    known_by: str

    @property
    def budget_bytes(self) -> int:
        """What the process may take."""
        return self.free_bytes - self.reserve_bytes


_KNOWN_BY = {
    "given": "given with --vram, taken as all free",
    "gpus.yaml": "from the table of GPUs, with nothing else running",
    "fake": "a mocked device (GPUFIT_FAKE_GPU)",
}


def make_budget(device: Device, reserve_bytes: int = 0) -> Budget:
    """Free memory decides; a card from the table or given by size counts as empty.

    >>> from gpufit.devices.device import Device
    >>> make_budget(Device(name="T4", source="nvml", total_bytes=16 << 30, free_bytes=15 << 30), 1 << 30).budget_bytes
    15032385536
    """
    free = device.free_bytes if device.free_bytes is not None else device.total_bytes
    if free is None:
        raise NoDevice(f"{device.name} reports no memory size", hint="give the memory to use: --vram 16GiB")
    if reserve_bytes >= free:
        raise UsageError(
            f"the reserve of {format_bytes(reserve_bytes)} leaves nothing of {format_bytes(free)} free",
            hint="use a smaller --reserve",
        )
    known_by = _KNOWN_BY.get(device.source, f"free now, as {device.source} reports it")
    if device.free_bytes is None:
        known_by = f"the total, as {device.source} reports it; how much of it is free is unknown"
    if device.total_is_bound:
        known_by += "; the driver's total is not published, so this is a cautious bound"
    return Budget(total_bytes=device.total_bytes, free_bytes=free, reserve_bytes=reserve_bytes, known_by=known_by)
