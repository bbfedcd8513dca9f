"""What the NVIDIA driver says that this process holds."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gpufit.records import record

_PREFIXES = ("GPU-", "MIG-")


@record
class Held:
    """``used_bytes`` of the whole device; ``own_bytes`` of this process, None where the driver does not tell."""

    used_bytes: int
    own_bytes: int | None


def named_uuid(environ: Mapping[str, str]) -> str:
    """The one device that a process is shown, where it is named by its UUID; else empty.

    >>> named_uuid({"CUDA_VISIBLE_DEVICES": "GPU-5f0a3c1e-8d5b-6f62-4d1c-0f5f0b6d7a11"})
    'GPU-5f0a3c1e-8d5b-6f62-4d1c-0f5f0b6d7a11'
    """
    named = environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    return named if named.startswith(_PREFIXES) and "," not in named else ""


def process_memory(uuid: str) -> Held | None:
    """Ask NVML about the device with that UUID; None without NVML, and where it cannot tell."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        used = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        return None
    # inside a container the driver may show another number for this process, or none at all
    own = next((process.usedGpuMemory for process in running if process.pid == os.getpid()), None)
    return Held(used_bytes=used, own_bytes=int(own) if own is not None else None)
