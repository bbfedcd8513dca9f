"""Intel cards through the kernel's own files, of the drivers xe and i915.

Files: kernel documentation, ABI/testing/sysfs-driver-intel-xe-hwmon and sysfs-driver-intel-i915-hwmon. The mainline
drivers show no memory size there (Intel's own builds of i915 do, as ``lmem_total_bytes``), so the size often stays
unknown until a tool or torch is asked.
"""

from __future__ import annotations

from gpufit.devices.bounded import LIMIT_SECONDS, call_bounded
from gpufit.devices.device import Device
from gpufit.devices.drm import DrmCard, drm_cards, hwmon_folder, pci_name
from gpufit.devices.system_files import SystemFiles
from gpufit.records import record

VENDOR_ID = "8086"
_INTEGRATED_ADDRESS = "0000:00:02.0"  # where every Intel processor with graphics has them


@record
class IntelSysfsProbe:
    files: SystemFiles = SystemFiles()
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "intel-sysfs"

    def devices(self) -> tuple[Device, ...]:
        """All Intel cards, those of their own before the processor's, as Level Zero counts them."""
        return call_bounded(lambda: read_intel(self.files), self.limit_seconds, "the Intel driver")


def read_intel(files: SystemFiles) -> tuple[Device, ...]:
    """All Intel cards below ``files``."""
    cards = [card for card in drm_cards(files, VENDOR_ID) if card.driver in ("xe", "i915")]
    cards.sort(key=lambda card: (card.address == _INTEGRATED_ADDRESS, card.address))
    return tuple(_device(files, card, index) for index, card in enumerate(cards))


def _device(files: SystemFiles, card: DrmCard, index: int) -> Device:
    integrated = card.address == _INTEGRATED_ADDRESS
    total, free = _memory(files, card)
    kernel = files.text("/proc/sys/kernel/osrelease")
    if integrated:
        note = "part of the processor: it has no memory of its own"
    else:
        note = "" if total else "the kernel's driver does not say how much memory it has; xpu-smi or torch would"
    return Device(
        name=pci_name(files, VENDOR_ID, card.device_id) or f"Intel GPU {VENDOR_ID}:{card.device_id}",
        source="intel-sysfs",
        index=index,
        total_bytes=total,
        free_bytes=free,
        used_bytes=total - free if total is not None and free is not None else None,
        integrated=integrated,
        vendor="Intel",
        temperature_celsius=_temperature(files, card),
        driver=f"{card.driver} of Linux {kernel}" if kernel else card.driver,
        notes=(note,) if note else (),
    )


def _memory(files: SystemFiles, card: DrmCard) -> tuple[int | None, int | None]:
    """Total and free, where the driver shows them: beside the card, or for each of its tiles."""
    own = card.folder.rpartition("/")[0]
    total, free = files.number(f"{own}/lmem_total_bytes"), files.number(f"{own}/lmem_avail_bytes")
    if total is None:
        tiles = [name for name in files.names(card.folder) if name.startswith("tile")]
        sizes = [files.number(f"{card.folder}/{tile}/physical_vram_size_bytes") for tile in tiles]
        total = sum(size for size in sizes if size is not None) if sizes and None not in sizes else None
    return total or None, free if total and free is not None and free <= total else None


def _temperature(files: SystemFiles, card: DrmCard) -> int | None:
    """Of the package, whichever number its sensor has."""
    sensors = hwmon_folder(files, card.folder)
    for name in files.names(sensors) if sensors else ():
        if name.startswith("temp") and name.endswith("_label") and files.text(f"{sensors}/{name}") == "pkg":
            value = files.number(f"{sensors}/{name.removesuffix('label')}input")
            return None if value is None else value // 1000
    return None
