"""From a planned workload to a :class:`Measured`: what was read beside what was estimated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpufit.errors import UsageError
from gpufit.facts.architecture import Architecture
from gpufit.measure.compare import Compared, compare
from gpufit.measure.host import available_bytes, refuse_a_full_disk, refuse_what_cannot_run
from gpufit.measure.job import Work, make_job
from gpufit.measure.readings import Measurement
from gpufit.measure.run import DEFAULT_LIMIT_SECONDS, Progress, run_child
from gpufit.measure.store import append_measurement
from gpufit.measure.training import refuse_other_trainers
from gpufit.memory.workload import Workload
from gpufit.records import record


@record
class Measured:
    """A measurement beside the estimate. ``recorded`` is the file that keeps it, None where nothing was kept."""

    measurement: Measurement
    work: Work
    compared: tuple[Compared, ...]
    recorded: Path | None
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # out of memory: the smallest changes that would avoid it

    @property
    def worst_error(self) -> float | None:
        """The largest difference of a figure that has an estimate, as a share of what was measured."""
        return max((item.error for item in self.compared if item.error is not None), key=abs, default=None)


def measure_work(
    architecture: Architecture,
    config: Mapping[str, Any],
    work: Work,
    *,
    name: str,
    device: str,
    visible: Mapping[str, str] | None = None,
    checkpoint: str | None = None,
    limit_bytes: int | None = None,
    limit_seconds: float = DEFAULT_LIMIT_SECONDS,
    record_in: Path | None = None,
    progress: Progress | None = None,
    notes: tuple[str, ...] = (),
) -> Measured:
    """Run the workload, or steps of the training plan, for real and compare.

    ``device`` is ``cpu`` or ``cuda:0``; ``visible`` are the variables that show the child one card alone.
    ``record_in`` is the folder of the local record. Raises UsageError where libraries are missing or the host lacks
    memory or disk space, Unsupported for training that is not run here; all else that goes wrong is in the outcome.
    """
    if not isinstance(work, Workload):
        refuse_other_trainers(work, device)
    optimizer, adapters = ("", False) if isinstance(work, Workload) else (work.optimizer, work.trains_adapters)
    require_libraries(work.quant, optimizer=optimizer, adapters=adapters)
    refuse_what_cannot_run(architecture, work, device=device, available=available_bytes())
    refuse_a_full_disk(record_in)
    job = make_job(work, config, name=name, device=device, checkpoint=checkpoint, limit_bytes=limit_bytes)
    measurement = run_child(job, limit_seconds=limit_seconds, progress=progress, visible=visible)
    compared = compare(measurement, architecture, work)
    kept = append_measurement(record_in, measurement, compared) if record_in else None
    return Measured(measurement=measurement, work=work, compared=compared, recorded=kept, notes=notes)


def require_libraries(quant: str = "none", *, optimizer: str = "", adapters: bool = False) -> None:
    """Raise UsageError with what to install where the measure extra is missing."""
    from importlib.util import find_spec

    needed = ["torch", "transformers", "accelerate", *(["peft"] if adapters else [])]
    if quant.startswith("bnb-") or optimizer.startswith(("lion", "paged-")) or optimizer.endswith("8bit"):
        needed.append("bitsandbytes")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"measuring runs the real model and needs {', '.join(missing)}", hint='pip install "gpufit[measure]"'
        )
