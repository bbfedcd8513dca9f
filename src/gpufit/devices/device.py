"""The record every probe fills. ``None`` is unknown; it is never turned into 0."""

from __future__ import annotations

from typing import Protocol

from gpufit.records import record

# CUDA C++ Programming Guide, "Arithmetic Instructions" by compute capability
DTYPES_SINCE = {"fp32": (0, 0), "fp16": (5, 3), "int8": (6, 1), "bf16": (8, 0), "fp8": (8, 9)}

# What PyTorch runs elsewhere. bf16: torch 2.13, cuda/__init__.py is_bf16_supported (every AMD card), xpu likewise, and
# Metal since macOS 14. fp8: matrix units of CDNA 3 and 4 and RDNA 4 (ROCm documentation, precision support); no fp8 on
# Metal or, through torch, on Intel.
_ELSEWHERE = ("fp32", "fp16", "int8", "bf16")
_AMD_FP8 = ("gfx94", "gfx95", "gfx12")


@record
class DeviceProcess:
    """A process that holds memory on a device, as the driver reports it."""

    pid: int
    name: str | None
    used_bytes: int | None


@record
class DriverContext:
    """What the driver was seen to hold for a process of PyTorch beside torch's own memory, in runs on one device.

    ``first_bytes`` is the least at the first touch of the device, ``most_bytes`` the most by the end of a run, when the
    kernels that it called have been loaded. ``measured_on`` is the day of the last of ``runs``. ``by_difference``: the
    driver did not tell what this process held (another container, Windows), so the whole device's growth was taken.
    """

    first_bytes: int
    most_bytes: int
    measured_on: str
    torch: str
    runs: int = 1
    by_difference: bool = False


@record
class Device:
    """One GPU at one moment.

    ``source`` says who told us (nvml, nvidia-smi, amd-sysfs, torch, gpus.yaml, given, fake). ``index`` is the driver's
    own index among the cards of its vendor, before ``CUDA_VISIBLE_DEVICES`` and its like. ``total_bytes`` is the
    driver's total; ``total_is_bound`` marks a cautious bound taken where no driver's total is known.
    ``reserved_bytes`` is what the driver keeps for itself, apart from ``used_bytes``. ``shared_bytes`` is memory of the
    system that the device may take beside its own (GTT). An ``integrated`` device is part of a processor and is never
    chosen by itself. ``architecture`` is AMD's name of the instruction set (gfx1100). ``dtypes`` are the number formats
    its arithmetic units run. ``driver_context`` is what was measured here before. ``others`` are the devices beside
    this one when it was chosen by itself.
    """

    name: str
    source: str
    index: int = 0
    uuid: str | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None
    reserved_bytes: int | None = None
    total_is_bound: bool = False
    shared_bytes: int | None = None
    shared_used_bytes: int | None = None
    integrated: bool = False
    count: int = 1
    vendor: str | None = None
    utilization_percent: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    driver: str | None = None
    compute_capability: tuple[int, int] | None = None
    architecture: str | None = None
    bandwidth_gb_per_s: float | None = None
    processes: tuple[DeviceProcess, ...] | None = None
    driver_context: DriverContext | None = None
    notes: tuple[str, ...] = ()
    others: tuple[Device, ...] = ()

    @property
    def dtypes(self) -> tuple[str, ...] | None:
        """Number formats the card computes natively; None where its generation is unknown.

        >>> Device(name="Tesla T4", source="given", compute_capability=(7, 5)).dtypes
        ('fp32', 'fp16', 'int8')
        """
        if self.compute_capability is not None:
            return tuple(name for name, since in DTYPES_SINCE.items() if self.compute_capability >= since)
        if self.vendor == "AMD" and self.architecture is not None:
            return (*_ELSEWHERE, "fp8") if self.architecture.startswith(_AMD_FP8) else _ELSEWHERE
        return _ELSEWHERE if self.vendor in ("Apple", "Intel") else None

    @property
    def unseen_bytes(self) -> int | None:
        """Memory in use that no process visible here accounts for; None where any of it is unknown.

        The driver's own few MiB are part of it, and so is whatever runs outside this container.

        >>> held = DeviceProcess(pid=1, name=None, used_bytes=100)
        >>> Device(name="T4", source="nvml", used_bytes=900, processes=(held,)).unseen_bytes
        800
        """
        if self.used_bytes is None or self.processes is None:
            return None
        sizes = [process.used_bytes for process in self.processes]
        return None if None in sizes else max(0, self.used_bytes - sum(size for size in sizes if size is not None))


class ProbeFailed(Exception):
    """A probe cannot tell. ``is_absent``: what it would ask is not installed here, which is no trouble."""

    def __init__(self, message: str, *, is_absent: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.is_absent = is_absent


class Probe(Protocol):
    """A way to ask what devices there are, bounded in time."""

    @property
    def name(self) -> str: ...

    def devices(self) -> tuple[Device, ...]:
        """All devices this probe sees; empty when it finds none. Raises ProbeFailed when it cannot tell."""
        ...
