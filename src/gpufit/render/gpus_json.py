"""The probed devices as a JSON-ready dictionary."""

from __future__ import annotations

from gpufit.devices.device import DTYPES_SINCE, Device
from gpufit.devices.probe import ProbeResult
from gpufit.records import as_dict

SCHEMA = 1


def gpus_to_dict(result: ProbeResult) -> dict[str, object]:
    """Everything known of each visible device; null is unknown, never 0; sizes are integers, in keys ending in _bytes."""
    devices = [device_to_dict(device) for device in result.devices]
    return {"schema": SCHEMA, "ok": True, "devices": devices, "notes": list(result.notes)}


def device_to_dict(device: Device) -> dict[str, object]:
    """One device: the record's own fields, its compute capability as text, and which number formats it runs.

    >>> device_to_dict(Device(name="Tesla T4", source="fake", compute_capability=(7, 5)))["refused_dtypes"]
    ['bf16', 'fp8']
    """
    capability, dtypes = device.compute_capability, device.dtypes
    return {
        **as_dict(device),
        "compute_capability": None if capability is None else f"{capability[0]}.{capability[1]}",
        "dtypes": None if dtypes is None else list(dtypes),
        "refused_dtypes": None if dtypes is None else [name for name in DTYPES_SINCE if name not in dtypes],
        "notes": list(device.notes),
    }
