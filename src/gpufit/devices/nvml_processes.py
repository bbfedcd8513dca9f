"""Who holds memory on a card, by NVML, with names from the operating system where they can be seen from here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpufit.devices.device import DeviceProcess
from gpufit.devices.nvml_ask import Asker

_UNKNOWN_BYTES = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE
_LISTS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")


def processes_of(
    nvml: Any, asker: Asker, handle: Any, process_name: Callable[[int], str | None]
) -> tuple[DeviceProcess, ...] | None:
    """Largest first; None where the driver does not list them. One that both computes and draws counts once."""
    lists = [_listed(asker, function, handle) for function in _LISTS]
    if lists[0] is None and not lists[1]:  # nobody draws, and who computes is not known
        return None
    used: dict[int, int | None] = {}
    for process in (process for listed in lists for process in listed or ()):
        size = process.usedGpuMemory
        size = None if size is None or size == _UNKNOWN_BYTES else size
        used[process.pid] = max((known for known in (size, used.get(process.pid)) if known is not None), default=None)
    found = [
        DeviceProcess(pid=pid, name=process_name(pid) or _driver_name(nvml, pid), used_bytes=size)
        for pid, size in used.items()
    ]
    return tuple(sorted(found, key=lambda process: (-(process.used_bytes or 0), process.pid)))


def _listed(asker: Asker, function: str, handle: Any) -> Any:
    listed = asker.ask("processes", function, handle)
    return asker.ask("processes", f"{function}_v2", handle) if listed is None else listed  # drivers before 510


def read_process_name(pid: int, root: str = "/") -> str | None:
    """The program's name from /proc; None where there is no such process to see (another system, a container)."""
    try:
        with open(f"{root.rstrip('/')}/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")
        if not words[0]:
            with open(f"{root.rstrip('/')}/proc/{pid}/comm", "rb") as file:
                words = [file.read(256).strip()]
    except OSError:
        return None
    return words[0].decode("utf-8", "replace").rpartition("/")[2] or None


def _driver_name(nvml: Any, pid: int) -> str | None:
    name = Asker(nvml).ask("process name", "nvmlSystemGetProcessName", pid)
    return str(name).replace("\\", "/").rpartition("/")[2] if name else None
