"""The driver's own part of a process, as ``gpufit measure`` saw it on this machine, for a later ``check`` to use.

A small JSON file, one entry a device, believed only for the very device (its UUID) under the very driver. Anyone may
have written it: it is read up to a bound, and an entry that is not exactly what is written here is none.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpufit.devices.device import Device, DriverContext
from gpufit.records import as_dict, replace
from gpufit.sources.compiled import write_cache
from gpufit.sources.data_files import CONTEXTS, user_data_dir

LARGEST_FILE_BYTES = 64 << 10
LARGEST_CONTEXT_BYTES = 4 << 30  # twice the most that was ever seen; a larger figure is somebody else's memory
MOST_DEVICES = 64
_DAY = re.compile(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
_KINDS: dict[str, type] = {
    "first_bytes": int, "most_bytes": int, "measured_on": str, "torch": str, "runs": int, "by_difference": bool,
}  # fmt: skip


def contexts_path(environ: Mapping[str, str]) -> Path:
    """Where the record lies.

    >>> contexts_path({"XDG_DATA_HOME": "/home/ada/data"}).as_posix()
    '/home/ada/data/gpufit/contexts.json'
    """
    return user_data_dir(environ) / CONTEXTS


def with_contexts(devices: Sequence[Device], environ: Mapping[str, str]) -> tuple[Device, ...]:
    """The devices with what was measured on them before, where anything was. The file is read once, or not at all."""
    if not any(device.uuid and device.driver for device in devices):
        return tuple(devices)
    entries = _read(contexts_path(environ))
    known = ((device, _parse(entries.get(device.uuid or ""), device)) for device in devices)
    return tuple(device if seen is None else replace(device, driver_context=seen) for device, seen in known)


def keep_context(device: Device, seen: DriverContext, environ: Mapping[str, str]) -> DriverContext | None:
    """Put a run's readings into the record: joined to earlier ones of the same driver and torch, else in their place.

    Returns what is known now; None where the readings cannot be a context, or nobody could find them again.
    """
    if device.uuid is None or device.driver is None:
        return None
    path = contexts_path(environ)
    entries = _read(path)
    before = _parse(entries.pop(device.uuid, None), device)
    if before is not None and (before.torch, before.by_difference) == (seen.torch, seen.by_difference):
        seen = replace(
            seen, first_bytes=min(before.first_bytes, seen.first_bytes), runs=before.runs + seen.runs,
            most_bytes=max(before.most_bytes, seen.most_bytes),
        )  # fmt: skip
    entry = {**as_dict(seen), "driver": device.driver, "device": device.name}
    if _parse(entry, device) is None:
        return None
    kept = dict([*entries.items()][1 - MOST_DEVICES :])  # the longest unmeasured go first
    write_cache(path, json.dumps({"schema": 1, "devices": {**kept, device.uuid: entry}}, indent=1))
    return seen


def _read(path: Path) -> dict[str, Any]:
    """The entries by UUID, unchecked; none where there is no such file, or one that is not ours."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return {}
        with open(path, "rb") as file:
            text = file.read(LARGEST_FILE_BYTES + 1)
        found = json.loads(text) if len(text) <= LARGEST_FILE_BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    entries = found.get("devices") if isinstance(found, dict) and found.get("schema") == 1 else None
    return entries if isinstance(entries, dict) else {}


def _parse(entry: Any, device: Device) -> DriverContext | None:
    """An entry that holds for this device and its driver."""
    if not isinstance(entry, dict) or device.driver is None or entry.get("driver") != device.driver:
        return None
    values = {name: entry.get(name) for name in _KINDS}
    if any(type(values[name]) is not kind for name, kind in _KINDS.items()):
        return None
    found = DriverContext(**values)  # type: ignore[arg-type]
    most = min(LARGEST_CONTEXT_BYTES, device.total_bytes or LARGEST_CONTEXT_BYTES)
    plausible = 0 < found.first_bytes <= found.most_bytes <= most and found.runs > 0
    return found if plausible and _DAY.fullmatch(found.measured_on) and _VERSION.fullmatch(found.torch) else None
