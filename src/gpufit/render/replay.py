"""A Replay as text, as a JSON dictionary and as a Chrome trace; ``replay_svg`` draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpufit.render.text import wrap
from gpufit.units import format_bytes, format_gib

if TYPE_CHECKING:
    from gpufit.render.text import Screen
    from gpufit.replay.record import Replay
    from gpufit.replay.recording import PhasePeak

_MOST_HOLDINGS = 12


def render_replay(replay: Replay, screen: Screen) -> list[str]:
    """Lines for people: peaks by phase, then what lives at each."""
    lines = [
        f"{screen.paint(replay.model, 'bold')}: {replay.work}, "
        f"compute capability {replay.capability[0]}.{replay.capability[1]}",
        *_assumed(replay),
        f"replayed with transformers {replay.transformers_version} and torch {replay.torch_version}",
        f"weights and buffers {format_gib(replay.resident_bytes)}, "
        f"cuBLAS workspace {format_bytes(replay.workspace_bytes)}",
        "",
        f"{'phase':<10}{'allocated':>12}{'reserved':>12}{'above weights':>16}{'closed form':>14}{'difference':>12}",
    ]
    for phase in replay.phases:
        peak, form = phase.peak, phase.closed_form_bytes
        difference = phase.difference
        lines.append(
            f"{peak.phase:<10}{format_gib(peak.allocated_bytes):>12}{format_gib(peak.reserved_bytes):>12}"
            f"{format_bytes(peak.above_bytes):>16}{'-' if form is None else format_bytes(form):>14}"
            f"{'-' if difference is None else f'{difference:+.2%}':>12}"
        )
    for phase in replay.phases:
        lines += ["", *_peak_lines(phase.peak, screen)]
    lines += [""] if replay.notes else []
    for note in replay.notes:
        lines += wrap(f"note: {note}", screen.width, "      ")
    return lines


def _assumed(replay: Replay) -> list[str]:
    """The work in one line: tokens, sequences, precision, attention."""
    w = replay.workload
    if w is None:
        return []
    step = replay.work.startswith("training")
    tokens = f"{w.prompt_tokens:,} tokens" if step or not w.new_tokens else f"prompt {w.prompt_tokens:,} tokens"
    parts = [tokens + ("" if step or not w.new_tokens else f" + new {w.new_tokens:,}"), f"batch {w.batch:,}", w.dtype]
    parts += [w.quant] if w.quant != "none" else []
    return [", ".join([*parts, f"{w.attention} attention"])]


def _peak_lines(peak: PhasePeak, screen: Screen) -> list[str]:
    """What lives at a peak: kinds with their share, and under each the modules and operations that hold it."""
    from gpufit.replay.record import holdings_by_kind, kind_of

    above = screen.paint(f"{peak.phase} at its peak", "bold") + f", {format_bytes(peak.above_bytes)} above the weights"
    lines = [above]
    if peak.out_of_memory:
        lines.append(screen.paint("  out of memory under the given limit", "red"))
    shown = set(peak.holdings[:_MOST_HOLDINGS])
    for kind, size in holdings_by_kind(peak):
        lines.append(f"  {kind:<24}{format_bytes(size):>12}{size / max(peak.above_bytes, 1):>8.1%}")
        for holding in peak.holdings:
            if holding in shown and kind_of(holding) == kind:
                count = f" x{holding.storages}" if holding.storages > 1 else ""
                line = f"    {format_bytes(holding.bytes):>12}  {holding.module or '-'}  {holding.op}{count}"
                lines += wrap(line, screen.width, " " * 18)
    if rest := peak.holdings[_MOST_HOLDINGS:]:
        size = sum(holding.bytes for holding in rest)
        lines.append(f"  {len(rest)} smaller holdings, {format_bytes(size)} together, are not listed")
    return lines


def replay_to_dict(replay: Replay) -> dict[str, Any]:
    """The JSON form; sizes are integers whose key ends in ``_bytes``."""
    from gpufit.render.check_json import workload_to_dict
    from gpufit.replay.record import holdings_by_kind, kind_of

    return {
        "schema": 1,
        "ok": True,
        "model": replay.model,
        "work": replay.work,
        "workload": workload_to_dict(replay.workload) if replay.workload is not None else None,
        "weights_bytes": replay.resident_bytes,
        "workspace_bytes": replay.workspace_bytes,
        "compute_capability": list(replay.capability),
        "torch": replay.torch_version,
        "transformers": replay.transformers_version,
        "phases": [
            {
                "name": phase.peak.phase,
                "allocated_bytes": phase.peak.allocated_bytes,
                "reserved_bytes": phase.peak.reserved_bytes,
                "above_weights_bytes": phase.peak.above_bytes,
                "closed_form_bytes": phase.closed_form_bytes,
                "difference": phase.difference,
                "out_of_memory": phase.peak.out_of_memory,
                "kinds": [{"name": kind, "bytes": size} for kind, size in holdings_by_kind(phase.peak)],
                "holdings": [
                    {"kind": kind_of(h), "module": h.module, "operation": h.op, "bytes": h.bytes,
                     "storages": h.storages}
                    for h in phase.peak.holdings
                ],
            }
            for phase in replay.phases
        ],
        "notes": list(replay.notes),
    }  # fmt: skip


def chrome_trace(replay: Replay) -> dict[str, Any]:
    """Counters of live bytes in the Chrome trace format; one microsecond an event, phases as spans."""
    from gpufit.replay.recording import live_curve

    recording = replay.recording
    events: list[dict[str, Any]] = [
        {
            "name": "phase: " + phase.name,
            "ph": "X",
            "ts": phase.start,
            "dur": phase.stop - phase.start,
            "pid": 1,
            "tid": 1,
        }
        for phase in recording.phases
    ]
    for time, (live, event) in enumerate(zip(live_curve(recording), recording.events, strict=True)):
        events.append({"name": "live bytes", "ph": "C", "ts": time, "pid": 1, "args": {"bytes": live}})
        if event.op:
            name = f"{event.module}: {event.op}" if event.module else event.op
            events.append({"name": name, "ph": "X", "ts": time, "dur": 1, "pid": 1, "tid": 2,
                           "args": {"bytes": event.bytes}})  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ns"}
