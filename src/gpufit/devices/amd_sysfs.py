"""AMD cards through the kernel's own files: no tool and no ROCm needed, and nothing that can hang in a library.

Files: kernel documentation, gpu/amdgpu/driver-misc.rst and thermal.rst (mem_info_*, gpu_busy_percent, hwmon), and the
compute driver's topology in /sys/class/kfd. Sizes are bytes, temperatures thousandths of °C, powers millionths of W.
"""

from __future__ import annotations

from gpufit.devices.amd_kfd import KfdNode, kfd_nodes, kfd_processes
from gpufit.devices.bounded import LIMIT_SECONDS, call_bounded
from gpufit.devices.device import Device
from gpufit.devices.drm import DrmCard, drm_cards, hwmon_folder, pci_name
from gpufit.devices.system_files import SystemFiles
from gpufit.records import record

VENDOR_ID = "1002"
_IDS = "/usr/share/libdrm/amdgpu.ids"


@record
class AmdSysfsProbe:
    files: SystemFiles = SystemFiles()
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "amd-sysfs"

    def devices(self) -> tuple[Device, ...]:
        """All AMD cards. Those that compute come first, in ROCm's own order; the index is the place in it."""
        return call_bounded(lambda: read_amd(self.files), self.limit_seconds, "the amdgpu driver")


def read_amd(files: SystemFiles) -> tuple[Device, ...]:
    """All AMD cards below ``files``."""
    cards = list(drm_cards(files, VENDOR_ID))
    if not cards:
        return ()
    nodes = kfd_nodes(files)
    order = {node.render_minor: place for place, node in enumerate(nodes)}
    by_minor = {node.render_minor: node for node in nodes}
    cards.sort(key=lambda card: (order.get(card.render_minor, len(order)), card.number))
    return tuple(_device(files, card, index, by_minor.get(card.render_minor)) for index, card in enumerate(cards))


def _device(files: SystemFiles, card: DrmCard, index: int, node: KfdNode | None) -> Device:
    own = card.folder
    total, used = files.number(f"{own}/mem_info_vram_total"), files.number(f"{own}/mem_info_vram_used")
    sensors = hwmon_folder(files, own) or f"{own}/hwmon"
    # only processors with graphics measure the voltage of a northbridge (amdgpu_pm.c: "only APUs have vddnb")
    integrated = files.text(f"{sensors}/in1_label") == "vddnb"
    power = files.number(f"{sensors}/power1_average")
    power = files.number(f"{sensors}/power1_input") if power is None else power
    temperature = files.number(f"{sensors}/temp1_input")
    serial = files.text(f"{own}/unique_id")
    notes = ["the compute driver (amdkfd) does not list it: ROCm programs cannot use it"] if node is None else []
    if integrated:
        notes.append("part of the processor: its own memory is set aside from the system's")
    return Device(
        name=_name(files, card),
        source="amd-sysfs",
        index=index,
        uuid=f"GPU-{serial}" if serial else None,
        total_bytes=total or None,
        free_bytes=total - used if total and used is not None and used <= total else None,
        used_bytes=used if total else None,
        shared_bytes=files.number(f"{own}/mem_info_gtt_total"),
        shared_used_bytes=files.number(f"{own}/mem_info_gtt_used"),
        integrated=integrated,
        vendor="AMD",
        utilization_percent=files.number(f"{own}/gpu_busy_percent"),
        temperature_celsius=None if temperature is None else temperature // 1000,
        power_watts=_watts(power),
        power_limit_watts=_watts(files.number(f"{sensors}/power1_cap")),
        driver=_driver(files),
        architecture=node.architecture if node else None,
        processes=None if node is None else kfd_processes(files, node),
        notes=tuple(notes),
    )


def _driver(files: SystemFiles) -> str | None:
    """The version of AMD's own module, or the kernel whose module it is."""
    own = files.text("/sys/module/amdgpu/version")
    kernel = files.text("/proc/sys/kernel/osrelease")
    return f"amdgpu {own}" if own else f"amdgpu of Linux {kernel}" if kernel else None


def _name(files: SystemFiles, card: DrmCard) -> str:
    """The board's own name, libdrm's for this chip and revision, that of pci.ids, or the bare ids."""
    product = files.text(f"{card.folder}/product_name")
    if product:
        return product
    revision = (files.text(f"{card.folder}/revision") or "").removeprefix("0x").upper()
    for line in files.whole(_IDS).decode("utf-8", "replace").splitlines():
        chip, _, rest = line.partition(",")
        if chip.strip().lower() == card.device_id:
            listed, _, name = rest.partition(",")
            if listed.strip().upper() == revision:
                return name.strip()
    return pci_name(files, VENDOR_ID, card.device_id) or f"AMD GPU {VENDOR_ID}:{card.device_id}"


def _watts(microwatts: int | None) -> float | None:
    return None if microwatts is None else microwatts / 10**6
