"""The probed devices as a JSON-ready dictionary."""

from __future__ import annotations

from gpufit.devices.device import DTYPES_SINCE, Device, DeviceProcess
from gpufit.devices.probe import ProbeResult
from gpufit.devices.select import Selection
from gpufit.records import as_dict

SCHEMA = 1


# fields of the record that JSON takes over as they are
_PLAIN = (
    "index", "name", "vendor", "uuid", "source", "count", "total_bytes", "free_bytes", "used_bytes", "reserved_bytes",
    "total_is_bound", "shared_bytes", "shared_used_bytes", "unseen_bytes", "integrated", "architecture",
    "utilization_percent", "temperature_celsius", "power_watts", "power_limit_watts", "driver", "bandwidth_gb_per_s",
)  # fmt: skip


def gpus_to_dict(result: ProbeResult) -> dict[str, object]:
    """Everything known of each visible device; null is unknown, never 0. Sizes are integers."""
    devices = [device_to_dict(device) for device in result.devices]
    return {"schema": SCHEMA, "ok": True, "devices": devices, "notes": list(result.notes)}


def selection_to_dict(selection: Selection, needs_bytes: int) -> dict[str, object]:
    """The chosen devices, freest first, and what to set; an empty list where none has that much."""
    return {
        "schema": SCHEMA,
        "ok": True,
        "needs_bytes": needs_bytes,
        "variable": selection.variable,
        "ids": list(selection.ids),
        "selected": [device_to_dict(device) for device in selection.devices],
        "notes": list(selection.notes),
    }


def device_to_dict(device: Device) -> dict[str, object]:
    """One device: the record's own fields, its compute capability as text, and which number formats it runs.

    >>> device_to_dict(Device(name="Tesla T4", source="fake", compute_capability=(7, 5)))["refused_dtypes"]
    ['bf16', 'fp8']
    """
    capability, dtypes = device.compute_capability, device.dtypes
    return {
        **{field: getattr(device, field) for field in _PLAIN},
        "compute_capability": None if capability is None else f"{capability[0]}.{capability[1]}",
        "dtypes": None if dtypes is None else list(dtypes),
        "refused_dtypes": None if dtypes is None else [name for name in DTYPES_SINCE if name not in dtypes],
        "processes": None if device.processes is None else [_process(process) for process in device.processes],
        "driver_context": None if device.driver_context is None else as_dict(device.driver_context),
        "notes": list(device.notes),
    }


def _process(process: DeviceProcess) -> dict[str, object]:
    return {"pid": process.pid, "name": process.name, "used_bytes": process.used_bytes}
