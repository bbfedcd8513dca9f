"""A replay as a picture: what lives above the weights, by kind, over the run's operations; each phase's peak marked."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from gpufit.units import format_bytes, format_gib

if TYPE_CHECKING:
    from gpufit.replay.record import Replay
    from gpufit.replay.recording import Recording

WIDTH, HEIGHT = 1080, 460
LEFT, TOP, RIGHT, BOTTOM = 84, 64, 190, 52
_MOST_COLUMNS = 700
_MOST_KINDS = 8
# Okabe and Ito's colours, which stay apart for the colour-blind, and grey for the rest
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f")
_REST = "the rest"


def timeline_svg(replay: Replay) -> str:
    """Stacked areas by kind, largest at the bottom; time is the order of operations, phases lie side by side."""
    recording = replay.recording
    marks, columns = live_by_kind(recording)
    sums: dict[str, int] = {}
    for column in columns:
        for kind, size in column.items():
            sums[kind] = sums.get(kind, 0) + size
    kinds = sorted(sums, key=lambda kind: -sums[kind])
    if len(kinds) > _MOST_KINDS:
        kept = set(kinds[: _MOST_KINDS - 1])
        columns = [_gathered(column, kept) for column in columns]
        kinds = [*kinds[: _MOST_KINDS - 1], _REST]
    highest = max([1, *(sum(column.values()) for column in columns), *(p.peak.above_bytes for p in replay.phases)])
    ceiling, step = _scale(highest)
    events = max(1, len(recording.events))

    def x(event: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * event / events

    def y(size: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - size / ceiling)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        f"<title>{escape(replay.model)}: memory above the weights</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16" font-weight="600">{escape(replay.model)}, {escape(replay.work)}'
        "</text>",
        f'<text x="{LEFT}" y="43" fill="#666">above {format_gib(replay.resident_bytes)} of weights and buffers; '
        f"transformers {escape(replay.transformers_version)}, torch {escape(replay.torch_version)}, "
        f"compute capability {replay.capability[0]}.{replay.capability[1]}</text>",
    ]
    for phase in recording.phases:
        if not phase.counted:
            parts.append(_rectangle(x(phase.start), x(phase.stop)))
    for level in range(0, ceiling + 1, step):
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}" stroke="#e4e4e4"/>'
            f'<text x="{LEFT - 8}" y="{y(level) + 4:.1f}" text-anchor="end" fill="#666">{format_bytes(level)}</text>'
        )
    below = [0] * len(columns)
    for kind, colour in zip(kinds, _COLOURS, strict=False):
        above = [base + column.get(kind, 0) for base, column in zip(below, columns, strict=True)]
        upper = [f"{x(mark):.1f},{y(top):.1f}" for mark, top in zip(marks, above, strict=True)]
        lower = [f"{x(mark):.1f},{y(base):.1f}" for mark, base in zip(marks, below, strict=True)]
        parts.append(f'<polygon fill="{colour}" fill-opacity="0.85" points="{" ".join([*upper, *reversed(lower)])}"/>')
        below = above
    for row, (kind, colour) in enumerate(zip(kinds, _COLOURS, strict=False)):
        at = TOP + 20 * (len(kinds) - 1 - row)  # in the order of the areas, the lowest last
        parts.append(
            f'<rect x="{WIDTH - RIGHT + 18}" y="{at}" width="12" height="12" fill="{colour}" fill-opacity="0.85"/>'
            f'<text x="{WIDTH - RIGHT + 36}" y="{at + 10}">{escape(kind)}</text>'
        )
    for phase in recording.phases:
        parts.append(_phase_label(phase.name, phase.counted, x(phase.start), x(phase.stop)))
    for entry in replay.phases:
        peak = entry.peak
        at_x, at_y = x(peak.event + 1), y(peak.above_bytes)
        label = min(max(at_x, LEFT + 70), WIDTH - RIGHT - 50)
        parts.append(
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="4" fill="white" stroke="#222" stroke-width="2"/>'
            f'<text x="{label:.1f}" y="{max(at_y - 9, TOP - 4):.1f}" text-anchor="middle" font-weight="600" '
            f'paint-order="stroke" stroke="white" stroke-width="3">{escape(peak.phase)} '
            f"{format_bytes(peak.above_bytes)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def live_by_kind(recording: Recording) -> tuple[list[float], list[dict[str, int]]]:
    """Positions in the run, and live bytes by kind at each: of every stretch of events the fullest moment."""
    from gpufit.replay.record import kind_of
    from gpufit.replay.recording import Holding, find_roles

    role = find_roles(recording)
    stretch = max(1, -(-len(recording.events) // _MOST_COLUMNS))
    live: dict[str, int] = {}
    alive: dict[int, str] = {}
    marks: list[float] = [0.0]
    columns: list[dict[str, int]] = [{}]
    total, fullest, best = 0, -1, {}
    for index, event in enumerate(recording.events):
        if event.bytes > 0:
            holding = Holding(module=event.module, op=event.op, bytes=0, storages=1, role=role(index, event.handle))
            kind = alive[event.handle] = kind_of(holding)
        else:
            kind = alive.pop(event.handle, "")
        if kind:
            live[kind] = live.get(kind, 0) + event.bytes
            total += event.bytes
        if total > fullest:
            fullest, best = total, dict(live)
        if (index + 1) % stretch == 0 or index + 1 == len(recording.events):
            marks.append(index + 1)
            columns.append(best)
            fullest = -1
    return marks, columns


def _gathered(column: dict[str, int], kept: set[str]) -> dict[str, int]:
    own = {kind: size for kind, size in column.items() if kind in kept}
    return {**own, _REST: sum(column.values()) - sum(own.values())}


def _scale(highest: int) -> tuple[int, int]:
    """The axis' end and the distance of its lines: 1, 2 or 5 times a power of two of bytes, four to eight of them."""
    unit = 1024 ** ((highest.bit_length() - 1) // 10)
    step = next(
        int(step * unit) or 1 for step in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if highest <= 7 * step * unit
    )
    return -(-highest // step) * step, step


def _rectangle(start: float, stop: float) -> str:
    return (
        f'<rect x="{start:.1f}" y="{TOP}" width="{stop - start:.1f}" height="{HEIGHT - TOP - BOTTOM}" fill="#f4f4f4"/>'
    )


def _phase_label(name: str, counted: bool, start: float, stop: float) -> str:
    """A line where the phase begins and its name below; what only sets the stage is said to be."""
    colour, words = ("#222", name) if counted else ("#999", f"({name})")
    line = (
        f'<line x1="{start:.1f}" x2="{start:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM + 6}" stroke="#999" '
        f'stroke-dasharray="3 3"/>'
    )
    if stop - start < 7 * len(words) and not counted:
        return line
    return (
        f'{line}<text x="{(start + stop) / 2:.1f}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle" fill="{colour}">'
        f"{escape(words)}</text>"
    )
