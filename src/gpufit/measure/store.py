"""The local record of measurements: CSV files that ``gpufit validate`` reads, one line a figure.

A run's lines are written at once, behind whatever is there, under a lock: a run that is killed leaves none of them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from gpufit.errors import BadFile
from gpufit.measure.compare import Compared
from gpufit.measure.readings import Measurement

COLUMNS = (
    "id", "source", "architecture", "engine", "engine_version", "weight_dtype", "quant_method", "attention", "batch",
    "prompt_tokens", "new_tokens", "gpu", "metric", "measured_bytes", "confidence", "source_commit_or_date", "notes",
)  # fmt: skip
_METRIC = {"allocated": "torch_max_allocated", "reserved": "torch_max_reserved", "process": "nvml_process"}
CPU_METRIC = "cpu_tensors_peak"


def append_measurement(path: Path, measurement: Measurement, compared: Iterable[Compared]) -> int:
    """Write the figures that cover a whole run; returns how many lines were written.

    A row is the peak over all stages, as the published tables state it; stages of their own are not written.
    Raises BadFile where the record cannot be written.
    """
    rows = _rows(measurement, tuple(compared))
    if not rows:
        return 0
    text = io.StringIO(newline="")
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerows(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, text.getvalue())
    except OSError as problem:
        raise BadFile(f"{path} cannot be written: {problem.strerror}", hint="set XDG_DATA_HOME") from problem
    return len(rows)


def _append(path: Path, lines: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        _lock(descriptor)
        size = os.fstat(descriptor).st_size
        head = "" if size else ",".join(COLUMNS) + "\n"
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            head = "\n"  # something broke off here: what follows shall not join it
        os.write(descriptor, (head + lines).encode())
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: one write behind the end is all that is promised there
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _rows(m: Measurement, compared: tuple[Compared, ...]) -> list[dict[str, object]]:
    if m.outcome != "ok" or m.job.training is not None:
        return []
    on_cpu = m.job.device == "cpu"
    peaks: dict[str, int] = {}
    for item in compared:
        metric = CPU_METRIC if on_cpu else _METRIC[item.meter]
        peaks[metric] = max(peaks.get(metric, 0), item.measured_bytes)
    versions = m.versions or {}
    now = datetime.now(timezone.utc)
    same: dict[str, object] = {
        "source": "own", "architecture": m.job.name, "engine": "transformers",
        "engine_version": "; ".join(f"{x} {versions[x]}" for x in ("transformers", "torch") if x in versions),
        "weight_dtype": m.job.dtype, "quant_method": m.job.quant, "attention": m.job.attention, "batch": m.job.batch,
        "prompt_tokens": m.job.prompt_tokens, "new_tokens": m.job.new_tokens,
        "gpu": "cpu" if on_cpu else f"1x {m.device_name}", "confidence": "high",
        "source_commit_or_date": now.date().isoformat(),
        "notes": "" if m.job.checkpoint else "random weights",
    }  # fmt: skip
    stamp = f"{now:%Y%m%dT%H%M%S}-{os.getpid()}"
    return [
        {**same, "id": f"{stamp}-{metric}", "metric": metric, "measured_bytes": value}
        for metric, value in peaks.items()
    ]
