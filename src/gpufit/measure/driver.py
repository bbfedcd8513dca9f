"""What the NVIDIA driver says that this process holds."""

from __future__ import annotations

import os

from gpufit.records import record


@record
class Held:
    """``used_bytes`` of the whole device; ``own_bytes`` of this process, None where the driver does not tell."""

    used_bytes: int
    own_bytes: int | None


def process_memory(uuid: str) -> Held | None:
    """Ask NVML about the device with that UUID (torch writes it without its prefix); None without NVML."""
    import pynvml

    try:
        pynvml.nvmlInit()
        name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        used = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        return None
    # inside a container the driver may show another number for this process, or none at all
    own = next((process.usedGpuMemory for process in running if process.pid == os.getpid()), None)
    return Held(used_bytes=used, own_bytes=int(own) if own is not None else None)
