"""NVIDIA's management library through nvidia-ml-py: the first probe asked, and the one that knows most.

Each docstring or comment names the equivalent ``nvidia-smi`` query. What NVML does not support stays unknown; what it
fails to say becomes a note on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gpufit.devices.bounded import LIMIT_SECONDS, call_bounded
from gpufit.devices.device import Device, ProbeFailed
from gpufit.devices.nvml_ask import Asker
from gpufit.devices.nvml_processes import processes_of, read_process_name
from gpufit.records import record

# NVML cannot be there at all: no driver on this machine. Every other failure to start is worth telling.
_ABSENT = ("LIBRARY_NOT_FOUND", "DRIVER_NOT_LOADED")


@record
class NvmlProbe:
    """``module`` is nvidia-ml-py's ``pynvml`` or a double of it; by default the installed one."""

    module: Any = None
    process_name: Callable[[int], str | None] = read_process_name
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "nvml"

    def devices(self) -> tuple[Device, ...]:
        """All devices in NVML's order (that of the PCI bus); MIG slices in place of the cards they divide."""
        nvml = self.module or _installed()
        return call_bounded(lambda: _all_devices(nvml, self.process_name), self.limit_seconds, "NVML")


def _installed() -> Any:
    try:
        import pynvml
    except ImportError:
        raise ProbeFailed("nvidia-ml-py is not installed", is_absent=True) from None
    return pynvml


def _all_devices(nvml: Any, process_name: Callable[[int], str | None]) -> tuple[Device, ...]:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        absent = {getattr(nvml, f"NVML_ERROR_{code}") for code in _ABSENT}
        raise ProbeFailed(f"NVML: {error}", is_absent=error.value in absent) from None
    try:
        driver = Asker(nvml).ask("driver", "nvmlSystemGetDriverVersion")
        found: list[Device] = []
        for index in range(nvml.nvmlDeviceGetCount()):
            found.extend(_devices_at(nvml, index, driver, process_name))
        return tuple(found)
    except nvml.NVMLError as error:
        raise ProbeFailed(f"NVML: {error}") from None
    finally:
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError:  # nothing depends on it: the answer is already here
            driver = None


def _devices_at(
    nvml: Any, index: int, driver: str | None, process_name: Callable[[int], str | None]
) -> Iterator[Device]:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:  # lost, without power or forbidden: it is there, and nothing more is known
        yield Device(
            name=f"NVIDIA GPU {index}", source="nvml", index=index, vendor="NVIDIA", driver=driver,
            notes=(f"NVML: {error}",),
        )  # fmt: skip
        return
    card = _read_card(nvml, handle, index, driver, process_name)
    mode = Asker(nvml).ask("MIG mode", "nvmlDeviceGetMigMode", handle)
    if not mode or mode[0] != getattr(nvml, "NVML_DEVICE_MIG_ENABLE", 1):
        yield _device(card)
        return
    slices = list(_slices(nvml, handle, card, process_name))
    yield from slices
    if not slices:
        card |= {"free_bytes": 0, "notes": (*card["notes"], "MIG is on and has no slice: programs cannot use the card")}
        yield _device(card)


def _slices(
    nvml: Any, handle: Any, card: dict[str, Any], process_name: Callable[[int], str | None]
) -> Iterator[Device]:
    """MIG devices: each with its own memory and uuid, the rest as of the card (``nvidia-smi -L``)."""
    asker = Asker(nvml)
    for place in range(asker.ask("MIG slices", "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        slice_handle = Asker(nvml).ask("MIG slice", "nvmlDeviceGetMigDeviceHandleByIndex", handle, place)
        if slice_handle is None:
            continue
        asker = Asker(nvml)
        own = {
            "name": asker.ask("name", "nvmlDeviceGetName", slice_handle) or f"{card['name']} MIG slice",
            "uuid": asker.ask("uuid", "nvmlDeviceGetUUID", slice_handle),
            "utilization_percent": None,  # NVML measures the whole card
            **_read_memory(nvml, asker, slice_handle),
            "processes": processes_of(nvml, asker, slice_handle, process_name),
        }
        notes = (f"MIG slice of GPU {card['index']} ({card['name']})", *asker.notes)
        yield _device({**card, **own, "notes": notes})


def _read_card(
    nvml: Any, handle: Any, index: int, driver: str | None, process_name: Callable[[int], str | None]
) -> dict[str, Any]:
    asker = Asker(nvml)
    utilization = asker.ask("utilization", "nvmlDeviceGetUtilizationRates", handle)  # utilization.gpu
    power = asker.ask("power", "nvmlDeviceGetPowerUsage", handle)  # power.draw, in milliwatts
    limit = asker.ask("power limit", "nvmlDeviceGetEnforcedPowerLimit", handle)  # enforced.power.limit
    card = {
        "name": asker.ask("name", "nvmlDeviceGetName", handle) or f"NVIDIA GPU {index}",
        "index": index,
        "uuid": asker.ask("uuid", "nvmlDeviceGetUUID", handle),
        "driver": driver,
        **_read_memory(nvml, asker, handle),
        "utilization_percent": None if utilization is None else utilization.gpu,
        "temperature_celsius": asker.ask(
            "temperature", "nvmlDeviceGetTemperature", handle, getattr(nvml, "NVML_TEMPERATURE_GPU", 0)
        ),
        "power_watts": None if power is None else power / 1000,
        "power_limit_watts": None if limit is None else limit / 1000,
        "compute_capability": asker.ask("compute capability", "nvmlDeviceGetCudaComputeCapability", handle),
        "processes": processes_of(nvml, asker, handle, process_name),
    }
    return {**card, "notes": tuple(asker.notes)}


def _read_memory(nvml: Any, asker: Asker, handle: Any) -> dict[str, int | None]:
    """memory.total, .reserved, .used, .free. The first version of the call counts what is reserved as used."""
    version = getattr(nvml, "nvmlMemory_v2", None)
    memory = asker.ask("memory", "nvmlDeviceGetMemoryInfo", handle, version) if version else None
    if memory is None:
        memory = asker.ask("memory", "nvmlDeviceGetMemoryInfo", handle)
    if memory is None or not 0 <= memory.free <= memory.total or memory.total == 0:
        if memory is not None:
            asker.notes.append(f"NVML gives an impossible memory: {memory.free} bytes free of {memory.total}")
        return {"total_bytes": None, "free_bytes": None, "used_bytes": None, "reserved_bytes": None}
    return {
        "total_bytes": memory.total,
        "free_bytes": memory.free,
        "used_bytes": memory.used,
        "reserved_bytes": getattr(memory, "reserved", None),
    }


def _device(card: dict[str, Any]) -> Device:
    capability = card["compute_capability"]
    return Device(
        **{**card, "compute_capability": None if capability is None else tuple(capability)},
        source="nvml",
        vendor="NVIDIA",
    )
