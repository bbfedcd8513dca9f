"""The record every probe fills. ``None`` is unknown; it is never turned into 0."""

from __future__ import annotations

from typing import Protocol

from gpufit.records import record

# CUDA C++ Programming Guide, "Arithmetic Instructions" by compute capability
DTYPES_SINCE = {"fp32": (0, 0), "fp16": (5, 3), "int8": (6, 1), "bf16": (8, 0), "fp8": (8, 9)}


@record
class DeviceProcess:
    """A process that holds memory on a device, as the driver reports it."""

    pid: int
    name: str | None
    used_bytes: int | None


@record
class Device:
    """One GPU at one moment.

    ``source`` says who told us (nvml, nvidia-smi, torch, gpus.yaml, given, fake). ``index`` is the driver's own index,
    before ``CUDA_VISIBLE_DEVICES``. ``total_bytes`` is the driver's total; ``total_is_bound`` marks a cautious bound
    taken where no driver's total is known. ``reserved_bytes`` is what the driver keeps for itself, apart
    from ``used_bytes``. ``dtypes`` are the number formats its arithmetic units run.
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
    count: int = 1
    vendor: str | None = None
    utilization_percent: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    driver: str | None = None
    compute_capability: tuple[int, int] | None = None
    bandwidth_gb_per_s: float | None = None
    processes: tuple[DeviceProcess, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def dtypes(self) -> tuple[str, ...] | None:
        """Number formats the card computes natively; None where its generation is unknown.

        >>> Device(name="Tesla T4", source="given", compute_capability=(7, 5)).dtypes
        ('fp32', 'fp16', 'int8')
        """
        if self.compute_capability is None:
            return None
        return tuple(name for name, since in DTYPES_SINCE.items() if self.compute_capability >= since)


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
