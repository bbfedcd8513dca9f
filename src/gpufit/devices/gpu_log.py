"""Readings appended to a CSV file, one row a device and look; sizes are bytes, unknown cells are empty."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from gpufit.devices.device import Device
from gpufit.errors import UsageError

COLUMNS = (
    "time", "index", "uuid", "name", "total_bytes", "free_bytes", "used_bytes", "unseen_bytes", "utilization_percent",
    "temperature_celsius", "power_watts",
)  # fmt: skip


class GpuLog:
    """Appends to ``path``. Raises UsageError where that is no file to append to, or holds another table."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path
        header = ",".join(COLUMNS)
        try:
            with path.open("a+", encoding="utf-8", newline="") as file:
                file.seek(0)
                first = file.readline(1000).rstrip("\r\n")
                if not first:
                    file.write(header + "\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"cannot write the log {str(path)[:200]!r}: {reason}", hint="--log FILE.csv") from None
        if first and first != header:
            raise UsageError(
                f"{str(path)[:200]!r} exists and is no log of gpufit gpus", hint="name a new file, or one of its own"
            )

    def write(self, devices: Sequence[Device], time: str) -> None:
        """One row a device. ``time`` is ISO 8601."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            for device in devices:
                rows.writerow([time, *(getattr(device, column) for column in COLUMNS[1:])])
