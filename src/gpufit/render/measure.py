"""A measurement as text and as a JSON dictionary: measured, estimated, difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpufit.records import as_dict
from gpufit.render.text import table, wrap
from gpufit.units import format_bytes

if TYPE_CHECKING:
    from gpufit.measure.front import Measured
    from gpufit.measure.readings import Measurement, Stage
    from gpufit.measure.stress import StressReport
    from gpufit.memory.ranges import Range
    from gpufit.render.text import Screen

_SENTENCE = {
    "ok": "ran to its end",
    "out_of_memory": "ran out of memory",
    "timeout": "ran out of time",
    "interrupted": "was interrupted",
    "failed": "failed",
    "killed": "was ended from outside",
}


def render_measured(measured: Measured, screen: Screen) -> list[str]:
    """Lines for people."""
    m = measured.measurement
    lines = [_first_line(m, screen)]
    lines += [line for text in (_work(measured), _libraries(m)) for line in wrap(text, screen.width, "  ") if line]
    rows = [["stage", "meter", "measured", "estimated", "difference", ""]]
    for item in measured.compared:
        shown = "-" if item.estimated is None else format_bytes(item.estimated.likely_bytes)
        error = "-" if item.error is None else f"{item.error:+.2%}"
        inside = "" if item.estimated is None else _inside(item.measured_bytes, item.estimated)
        rows.append([item.stage, item.meter, format_bytes(item.measured_bytes), shown, error, inside])
    if len(rows) > 1:
        lines += ["", *table(rows, right=(2, 3, 4))]
    lines += ["", *speed] if (speed := [line for stage in m.stages if (line := _speed(stage))]) else []
    if m.context_bytes is not None and m.most_context_bytes is not None:
        lines.append(
            f"driver context: {format_bytes(m.context_bytes)} at the first touch, {format_bytes(m.most_context_bytes)} "
            "with the kernels that ran"
        )
    lines += _what_stopped(m, screen)
    if measured.changes:
        lines += ["smallest changes that fit, by the estimate:", *(f"  {change}" for change in measured.changes)]
    if measured.recorded is not None:
        lines += wrap(f"kept in {measured.recorded}; gpufit validate reads it", screen.width, "  ")
    return [
        *lines,
        *(line for note in (*measured.notes, *m.notes) for line in wrap(f"note: {note}", screen.width, "  ")),
    ]


def _first_line(m: Measurement, screen: Screen) -> str:
    where = m.job.device if m.job.device == "cpu" else f"{m.device_name or m.job.device}"
    color = "green" if m.outcome == "ok" else "red"
    return f"{screen.paint(m.job.name, 'bold')} on {where}: {screen.paint(_SENTENCE[m.outcome], 'bold', color)}"


def _work(measured: Measured) -> str:
    job = measured.measurement.job
    weights = job.dtype if job.quant == "none" else f"{job.quant} with {job.dtype}"
    source = f"weights of {job.checkpoint}" if job.checkpoint else "random weights"
    if job.training is not None:
        plan = job.training
        adapters = f" of rank {plan.lora_r}" if plan.trains_adapters else ""
        micro = f", {plan.grad_accum} micro-batches a step" if plan.grad_accum > 1 else ""
        return (
            f"training ({plan.method}{adapters}, {plan.optimizer}, precision {plan.precision}, checkpointing "
            f"{plan.checkpointing}), {plan.micro_batch} × {plan.seq:,} tokens{micro}, {weights}, {plan.attention} "
            f"attention, {source}"
        )
    return (
        f"batch {job.batch}, prompt {job.prompt_tokens:,} + {job.new_tokens:,} new tokens, {weights}, "
        f"{job.attention} attention, {source}"
    )


def _libraries(m: Measurement) -> str:
    return ", ".join(f"{name} {version}" for name, version in (m.versions or {}).items() if name != "gpufit")


def _inside(measured_bytes: int, estimated: Range) -> str:
    if estimated.low_bytes == estimated.high_bytes:
        return ""
    return "in range" if estimated.low_bytes <= measured_bytes <= estimated.high_bytes else "out of range"


def _speed(stage: Stage) -> str:
    rate = stage.tokens_per_second
    return "" if rate is None else f"{stage.name}: {rate:,.1f} tokens/s ({stage.seconds:.2f} s)"


def _what_stopped(m: Measurement, screen: Screen) -> list[str]:
    if m.outcome == "ok":
        return []
    lines = ["", f"It stopped in {m.stopped_in}" + (f": {m.message}" if m.message else "")]
    if m.last is not None and m.last.allocated_bytes is not None:
        lines.append(f"allocated until then: at most {format_bytes(m.last.allocated_bytes)}")
    return [wrapped for line in lines for wrapped in wrap(line, screen.width, "  ")]


def measured_to_dict(measured: Measured) -> dict[str, Any]:
    """The JSON form; sizes are integers whose key ends in ``_bytes``."""
    m = measured.measurement
    job = {key: value for key, value in as_dict(m.job).items() if key != "config"}
    return {
        "schema": 1,
        "ok": True,
        "model": m.job.name,
        "outcome": m.outcome,
        "stopped_in": m.stopped_in or None,
        "message": m.message or None,
        "job": job,
        "device": {
            "name": m.device_name, "uuid": m.device_uuid or None, "context_bytes": m.context_bytes,
            "most_context_bytes": m.most_context_bytes, "context_by_difference": m.context_by_difference,
        },
        "versions": dict(m.versions or {}),
        "stages": [{**as_dict(stage), "tokens_per_second": stage.tokens_per_second} for stage in m.stages],
        "last": as_dict(m.last) if m.last else None,
        "compared": [
            {
                "stage": item.stage, "meter": item.meter, "measured_bytes": item.measured_bytes,
                "low_bytes": item.estimated.low_bytes if item.estimated else None,
                "likely_bytes": item.estimated.likely_bytes if item.estimated else None,
                "high_bytes": item.estimated.high_bytes if item.estimated else None,
                "difference": item.error,
            }
            for item in measured.compared
        ],
        "changes": list(measured.changes),
        "recorded": str(measured.recorded) if measured.recorded else None,
        "notes": [*measured.notes, *m.notes],
    }  # fmt: skip


def render_stress(report: StressReport, screen: Screen) -> list[str]:
    """Lines for people about a burn test."""
    verdict = screen.paint("no wrong result", "green") if not report.wrong else screen.paint(
        f"{report.wrong:,} wrong results", "bold", "red"
    )  # fmt: skip
    lines = [
        f"{report.device}: {verdict} in {report.multiplications:,} multiplications, {report.seconds:.1f} s",
        f"held {format_bytes(report.held_bytes)}, {report.teraflops:.3f} TFLOP/s in fp32",
    ]
    if report.temperature_celsius is not None:
        start, highest = report.temperature_celsius
        lines.append(f"temperature {start} °C at the start, {highest} °C at most")
    lines.append(f"throttled: {', '.join(report.throttled)}" if report.throttled else "no throttling was seen")
    return lines


def stress_to_dict(report: StressReport) -> dict[str, Any]:
    """The JSON form of a burn test."""
    return {"schema": 1, "ok": True, "stress": as_dict(report)}
