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
from gpufit.measure.job import Job
from gpufit.measure.readings import Measurement
from gpufit.memory.training.plan import TrainingPlan
from gpufit.sources.data_files import MEASUREMENTS, TRAININGS

COLUMNS = (
    "id", "source", "architecture", "engine", "engine_version", "weight_dtype", "quant_method", "attention", "batch",
    "prompt_tokens", "new_tokens", "gpu", "metric", "measured_bytes", "confidence", "source_commit_or_date", "notes",
)  # fmt: skip
TRAINING_COLUMNS = (
    "id", "source", "architecture", "method", "lora_rank", "lora_targets", "optimizer", "engine", "engine_version",
    "param_dtype", "compute_dtype", "quant_method", "gradient_checkpointing", "attention", "micro_batch",
    "sequence_length", "grad_accum", "gpus", "sharding", "gpu", "metric", "measured_bytes", "notes",
)  # fmt: skip
_METRIC = {"allocated": "torch_max_allocated", "reserved": "torch_max_reserved", "process": "nvml_process"}
CPU_METRIC = "cpu_tensors_peak"


def append_measurement(folder: Path, measurement: Measurement, compared: Iterable[Compared]) -> Path | None:
    """Write the figures that cover a whole run; the file that holds them now, None where there are none.

    A row is the peak over all stages, as the published tables state it; stages of their own are not written.
    Raises BadFile where the record cannot be written.
    """
    training = measurement.job.training
    path = folder / (MEASUREMENTS if training is None else TRAININGS)
    rows = _rows(measurement, tuple(compared))
    if not rows:
        return None
    columns = COLUMNS if training is None else TRAINING_COLUMNS
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _append(path, ",".join(columns) + "\n", text.getvalue())
    except OSError as problem:
        raise BadFile(f"{path} cannot be written: {problem.strerror}", hint="set XDG_DATA_HOME") from problem
    return path


def _append(path: Path, header: str, lines: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        _lock(descriptor)
        size = os.fstat(descriptor).st_size
        head = "" if size else header
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
    if m.outcome != "ok" or (m.job.training and m.job.training.modules_to_save):  # which has no column
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
        "quant_method": m.job.quant, "attention": m.job.attention, "gpu": "cpu" if on_cpu else f"1x {m.device_name}",
        "notes": "" if m.job.checkpoint else "random weights",
        **(_work(m.job, now) if m.job.training is None else _training(m.job.training)),
    }  # fmt: skip
    stamp = f"{now:%Y%m%dT%H%M%S}-{os.getpid()}"
    return [
        {**same, "id": f"{stamp}-{metric}", "metric": metric, "measured_bytes": value}
        for metric, value in peaks.items()
    ]


def _work(job: Job, now: datetime) -> dict[str, object]:
    return {
        "weight_dtype": job.dtype, "batch": job.batch, "prompt_tokens": job.prompt_tokens, "confidence": "high",
        "new_tokens": job.new_tokens, "source_commit_or_date": now.date().isoformat(),
    }  # fmt: skip


def _training(plan: TrainingPlan) -> dict[str, object]:
    return {
        "engine": "transformers Trainer", "method": plan.method.replace("lora", "dora") if plan.dora else plan.method,
        "lora_rank": plan.lora_r if plan.trains_adapters else "",
        "lora_targets": ",".join(plan.lora_targets or ()), "optimizer": plan.optimizer,
        "param_dtype": "fp32" if plan.kbit_prepare else plan.base_dtype,  # what k-bit preparation leaves
        "compute_dtype": plan.compute_dtype + (" amp" if plan.autocast else ""),
        "gradient_checkpointing": "no" if plan.checkpointing == "none" else "yes", "micro_batch": plan.micro_batch,
        "sequence_length": plan.seq, "grad_accum": plan.grad_accum, "gpus": 1, "sharding": "none",
    }  # fmt: skip
