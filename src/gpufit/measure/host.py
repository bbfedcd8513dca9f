"""What the machine itself can give, looked at before a child is started."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from gpufit.errors import UsageError
from gpufit.facts.architecture import Architecture
from gpufit.measure.compare_training import known_training
from gpufit.measure.job import Work
from gpufit.memory.estimate import estimate
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import Workload
from gpufit.units import format_gib

PYTHON_AND_TORCH_BYTES = 768 << 20  # the child after importing torch and transformers: 460 to 530 MiB, 2026-11-23

# the record's lines and the child's job take kilobytes; Python and torch keep compiled code beside them
DISK_BYTES = 16 << 20


def available_bytes() -> int | None:
    """Memory that the system says can be taken without swapping; None where it does not say.

    A container's limit (cgroup v2) counts where it is the smaller.
    """
    found = [size for size in (_meminfo(), _cgroup()) if size is not None]
    return min(found, default=None)


def refuse_what_cannot_run(architecture: Architecture, work: Work, *, device: str, available: int | None) -> None:
    """Raise UsageError where the host lacks the memory that the measurement would take.

    On the CPU the whole run lies in host memory. For a card the host holds one tensor at a time while loading.
    """
    if available is None:
        return
    needed = PYTHON_AND_TORCH_BYTES + (_run_bytes(architecture, work) if device == "cpu" else 0)
    if needed > available:
        raise UsageError(
            f"the run needs {format_gib(needed)} of host memory and {format_gib(available)} are available",
            hint="measure a smaller model, a shorter context, or close what else runs",
        )


def refuse_a_full_disk(record_in: Path | None) -> None:
    """Raise UsageError before a long run where its result could not be kept, or its child not be started.

    Nothing is downloaded and no weight is written; what is needed is room for the record and for temporary files.
    """
    for folder in (Path(tempfile.gettempdir()), *([record_in] if record_in else [])):
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free
        if free < DISK_BYTES:
            raise UsageError(
                f"the disk of {folder} has {format_gib(free)} free and {format_gib(DISK_BYTES)} are needed",
                hint="free some space, or set TMPDIR or XDG_DATA_HOME to another disk",
            )


def _run_bytes(architecture: Architecture, work: Work) -> int:
    """The tensors at their peak; of training without a closed form, what lasts."""
    if isinstance(work, Workload):
        return estimate(architecture, work).tensors.likely_bytes
    whole = known_training(architecture, work, on_cpu=True)
    if whole is None:
        return count_weights(architecture, work.base_dtype, work.quant).total_bytes
    return max(whole.tensors_in(phase.name) for phase in whole.phases)


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
