"""What the machine itself can give, looked at before a child is started."""

from __future__ import annotations

import os
from pathlib import Path

from gpufit.errors import UsageError
from gpufit.memory.estimate import Estimate
from gpufit.units import format_gib

PYTHON_AND_TORCH_BYTES = 768 << 20  # the child after importing torch and transformers: 460 to 530 MiB, 2026-11-23


def available_bytes() -> int | None:
    """Memory that the system says can be taken without swapping; None where it does not say.

    A container's limit (cgroup v2) counts where it is the smaller.
    """
    found = [size for size in (_meminfo(), _cgroup()) if size is not None]
    return min(found, default=None)


def refuse_what_cannot_run(estimate: Estimate, *, device: str, available: int | None) -> None:
    """Raise UsageError where the host lacks the memory that the measurement would take.

    On the CPU the whole run lies in host memory. For a card the host holds one tensor at a time while loading.
    """
    if available is None:
        return
    weights = estimate.weights
    run = weights.total_bytes + weights.buffer_bytes + estimate.kv_cache_bytes + estimate.activations.likely_bytes
    needed = PYTHON_AND_TORCH_BYTES + (run if device == "cpu" else 0)
    if needed > available:
        raise UsageError(
            f"the run needs {format_gib(needed)} of host memory and {format_gib(available)} are available",
            hint="measure a smaller model, a shorter context, or close what else runs",
        )


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        pages = getattr(os, "sysconf_names", {})
        return None if "SC_PHYS_PAGES" not in pages else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup() -> int | None:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
    except OSError:
        return None
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None
