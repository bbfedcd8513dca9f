"""What the system around a device means for it: unified memory, Windows' own rules, containers that hide others."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.devices.device import Device
from gpufit.devices.system import System
from gpufit.devices.table import GpuTable
from gpufit.records import replace
from gpufit.units import MIB, format_gib

# A process that computes holds at least its context; the smallest seen is 133 MiB (a T4). Less is the driver's own.
LEAST_CONTEXT_BYTES = 64 * MIB
SPILLS = "Windows lets a program run on into the system's memory when this is full: slow, instead of failing"
NO_SIZES = "Windows does not tell how much each process holds"


def fill_facts(device: Device, table: Callable[[], GpuTable]) -> Device:
    """Facts that no driver reports (bandwidth), or an old one does not (compute capability), from the table by name."""
    if device.bandwidth_gb_per_s is not None and (device.compute_capability or device.architecture):
        return device
    known = table().resembling(device.name, device.total_bytes)
    if known is None:
        return device
    return replace(
        device,
        compute_capability=device.compute_capability or known.compute_capability,
        architecture=device.architecture or known.architecture,
        bandwidth_gb_per_s=device.bandwidth_gb_per_s or known.bandwidth_gb_per_s,
        vendor=device.vendor or known.vendor,
    )


def fill_unified(device: Device, system: System, table: Callable[[], GpuTable]) -> Device:
    """A device without memory of its own (GB10, Jetson) by the system's: a rule, and said to be one.

    NVML answers "not supported" for such a device. Three quarters of the system's memory are taken as its total (the
    bound that the table takes as well), and no more than is available now as free.
    What is in use stays unknown: most of it is the processor's.
    """
    if device.total_bytes is not None or device.vendor != "NVIDIA" or system.total_bytes is None:
        return device
    known = table().resembling(device.name, None)
    if not (known and known.unified) and "nvgpu" not in device.name:  # a Jetson is called "Orin (nvgpu)"
        return device
    total = system.total_bytes * 3 // 4
    available = system.available_bytes
    free = total if available is None else min(total, available)
    said = "unknown" if available is None else f"{format_gib(available)} available now"
    note = (
        f"the driver reports no memory of its own: it shares the system's {format_gib(system.total_bytes)} ({said}); "
        "assumed: three quarters of it"
    )
    return replace(
        device, total_bytes=total, free_bytes=free, total_is_bound=True,
        notes=(*device.notes, note),
    )  # fmt: skip


def note_surroundings(device: Device, system: System) -> Device:
    """Notes on what cannot be known from here."""
    notes = []
    if system.kind in ("windows", "wsl") and device.vendor == "NVIDIA":
        notes.append(SPILLS)
        if device.processes is None or any(process.used_bytes is None for process in device.processes):
            notes.append(NO_SIZES)
    unseen = device.unseen_bytes
    if unseen is not None and unseen >= LEAST_CONTEXT_BYTES and system.container is not None:
        notes.append(f"inside a container ({system.container}), where processes outside are not listed")
    return replace(device, notes=(*device.notes, *notes)) if notes else device
