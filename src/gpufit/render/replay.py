"""A Replay as text, as a JSON dictionary, as a picture of memory over time, and as a Chrome trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from gpufit.units import format_bytes, format_gib

if TYPE_CHECKING:
    from gpufit.render.text import Screen
    from gpufit.replay.record import Replay

_MOST_HOLDINGS = 12
_MOST_POINTS = 2000


def render_replay(replay: Replay, screen: Screen) -> list[str]:
    """Lines for people: peaks by phase, then what lives at each."""
    from gpufit.replay.record import holdings_by_kind

    lines = [
        f"{screen.paint(replay.model, 'bold')}: {replay.work}, "
        f"replayed with transformers {replay.transformers_version} and torch {replay.torch_version} "
        f"for compute capability {replay.capability[0]}.{replay.capability[1]}",
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
        peak = phase.peak
        kinds = ", ".join(f"{kind} {format_bytes(size)}" for kind, size in holdings_by_kind(peak))
        lines += ["", f"{screen.paint(f'at the peak of {peak.phase}', 'bold')}: {kinds}"]
        if peak.out_of_memory:
            lines.append(screen.paint("out of memory under the given limit", "red"))
        for holding in peak.holdings[:_MOST_HOLDINGS]:
            count = f" x{holding.storages}" if holding.storages > 1 else ""
            lines.append(f"  {format_bytes(holding.bytes):>12}  {holding.module or '-'}  {holding.op}{count}")
        if len(peak.holdings) > _MOST_HOLDINGS:
            rest = sum(holding.bytes for holding in peak.holdings[_MOST_HOLDINGS:])
            lines.append(f"  {format_bytes(rest):>12}  {len(peak.holdings) - _MOST_HOLDINGS} more")
    return [*lines, "", *(f"note: {note}" for note in replay.notes)] if replay.notes else lines


def replay_to_dict(replay: Replay) -> dict[str, Any]:
    """The JSON form; sizes are integers whose key ends in ``_bytes``."""
    from gpufit.replay.record import holdings_by_kind, kind_of

    return {
        "schema": 1,
        "ok": True,
        "model": replay.model,
        "work": replay.work,
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


def timeline_svg(replay: Replay, *, width: int = 960, height: int = 360) -> str:
    """Memory over the storages' births and deaths, phases side by side, each peak marked."""
    from gpufit.replay.recording import live_curve

    recording = replay.recording
    left, top, right, bottom = 80, 40, 20, 40
    inner_width, inner_height = width - left - right, height - top - bottom
    curve = [recording.resident_bytes, *live_curve(recording)]
    base, highest = recording.resident_bytes, max(curve)
    span = max(1, highest - base)

    def x(event: int) -> float:
        return left + inner_width * event / max(1, len(curve) - 1)

    def y(live: int) -> float:
        return top + inner_height * (1 - (live - base) / span)

    step = -(-len(curve) // _MOST_POINTS)
    points = []
    for start in range(0, len(curve), step):
        chunk = curve[start : start + step]
        points.append(f"{x(start):.1f},{y(max(chunk)):.1f}")  # the highest of each bucket, so that no peak is lost
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(replay.model)}: memory above the weights</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="20" font-size="14">{escape(replay.model)}, {escape(replay.work)}: '
        f"bytes above the weights ({format_gib(base)})</text>",
    ]
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        level = base + int(span * fraction)
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y(level):.1f}" y2="{y(level):.1f}" stroke="#ddd"/>'
            f'<text x="{left - 6}" y="{y(level) + 4:.1f}" text-anchor="end">{format_bytes(level - base)}</text>'
        )
    for phase in recording.phases:
        parts.append(
            f'<line x1="{x(phase.start):.1f}" x2="{x(phase.start):.1f}" y1="{top}" y2="{height - bottom}" '
            f'stroke="#999" stroke-dasharray="3 3"/>'
            f'<text x="{x((phase.start + phase.stop) // 2):.1f}" y="{height - 14}" text-anchor="middle" '
            f'fill="{"#222" if phase.counted else "#999"}">{escape(phase.name)}</text>'
        )
    parts.append(
        f'<polyline fill="#4c78a8" fill-opacity="0.25" stroke="#4c78a8" points="{left},{height - bottom} '
        f'{" ".join(points)} {width - right},{height - bottom}"/>'
    )
    for entry in replay.phases:
        peak = entry.peak
        at_x, at_y = x(peak.event + 1), y(peak.live_bytes)
        parts.append(
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="4" fill="#e45756"/>'
            f'<text x="{at_x:.1f}" y="{max(at_y - 8, 32):.1f}" text-anchor="middle" fill="#e45756">'
            f"{escape(peak.phase)} {format_bytes(peak.above_bytes)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])
