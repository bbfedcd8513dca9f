"""Measured beside estimated, stage by stage and meter by meter."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.measure.compare_training import Expect, Meter, of_training
from gpufit.measure.job import Work
from gpufit.measure.readings import Measurement, Stage
from gpufit.memory.estimate import Estimate, estimate
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.ranges import Range
from gpufit.memory.workload import Workload
from gpufit.records import record


@record
class Compared:
    """One figure, measured and estimated; ``estimated`` is None where gpufit has no estimate of it."""

    stage: str
    meter: Meter
    measured_bytes: int
    estimated: Range | None

    @property
    def error(self) -> float | None:
        """Estimated less measured, as a share of the measured."""
        if self.estimated is None:
            return None
        return (self.estimated.likely_bytes - self.measured_bytes) / self.measured_bytes


def compare(measurement: Measurement, architecture: Architecture, work: Work) -> tuple[Compared, ...]:
    """Every reading that was taken beside its estimate, in the order of the stages.

    The CPU has no allocator that keeps blocks, no workspaces of cuBLAS and no driver's part: its ``allocated`` is held
    against the tensors alone, and its resident set, which is that of Python and torch too, against nothing.
    """
    on_cpu = measurement.job.device == "cpu"
    expect = _of_inference(architecture, work, measurement) if isinstance(work, Workload) else of_training(
        architecture, work, on_cpu=on_cpu
    )  # fmt: skip
    return tuple(
        Compared(stage=stage.name, meter=meter, measured_bytes=measured, estimated=expect(stage.name, meter))
        for stage in measurement.stages
        for meter, measured in _readings(stage, on_cpu=on_cpu)
    )


def _of_inference(architecture: Architecture, workload: Workload, measurement: Measurement) -> Expect:
    whole = estimate(architecture, workload)
    return lambda stage, meter: _expected(whole, stage, meter, measurement)


def _readings(stage: Stage, *, on_cpu: bool) -> list[tuple[Meter, int]]:
    pairs: list[tuple[Meter, int | None]] = [("allocated", stage.peak.allocated_bytes)]
    if not on_cpu:
        pairs += [("reserved", stage.peak.reserved_bytes), ("process", stage.peak.process_bytes)]
    return [(meter, value) for meter, value in pairs if value]


def _expected(e: Estimate, stage: str, meter: Meter, measurement: Measurement) -> Range | None:
    on_cpu = measurement.job.device == "cpu"
    if stage == "load":
        above = Range.exact(0) if on_cpu else e.load_peak + _negative(e.context.bytes) + _negative(e.resident)
    elif (bytes_above := _above_weights(e, _phases_in(stage, measurement))) is None:
        return None
    else:
        above = Range.exact(bytes_above)
    if on_cpu:
        return Range.exact(e.weights.total_bytes + e.weights.buffer_bytes) + above
    allocated = e.resident + above + (Range.exact(0) if stage == "load" else e.workspace.bytes)
    if meter == "allocated":
        return allocated
    reserved = allocated + e.slack
    return reserved if meter == "reserved" else reserved + e.context.bytes


def _phases_in(stage: str, measurement: Measurement) -> tuple[str, ...]:
    """``generate`` runs an encoder as part of its prefill; where it ran by itself it has a stage of its own."""
    own = measurement.stage("encode") is not None
    return ("encode", "prefill") if stage == "prefill" and not own else (stage,)


def _above_weights(e: Estimate, names: tuple[str, ...]) -> int | None:
    """Cache and temporaries at the widest moment of these phases; an encoder runs before there is a cache."""
    peaks = [
        phase.activation_bytes
        + (count_cache(e.architecture, e.workload, after_prefill=phase.name != "decode") if phase.cache_tokens else 0)
        for phase in e.phases
        if phase.name in names
    ]
    return max(peaks, default=None)


def _negative(range_: Range) -> Range:
    return Range(-range_.high_bytes, -range_.likely_bytes, -range_.low_bytes)
