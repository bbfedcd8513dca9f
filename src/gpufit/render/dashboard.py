"""The probed devices as a screen that is drawn again and again: bars, curves over time, and who holds memory."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.devices.device import Device
from gpufit.devices.history import History, taken_percent
from gpufit.devices.probe import ProbeResult
from gpufit.render.gpus import UNKNOWN, process_rows
from gpufit.render.text import Screen, table, wrap
from gpufit.units import format_gib

_BAR_CELLS = 24
_LABEL = 10
_MOST_PROCESSES = 6
_HOT_SHARES = ((95, "red"), (80, "yellow"), (0, "green"))
_LEVELS = "▁▂▃▄▅▆▇█"
_PLAIN_LEVELS = "_.-=+*%#"


def render_dashboard(
    result: ProbeResult, history: History, screen: Screen, *, time: str, interval_seconds: float
) -> list[str]:
    """One frame. ``history`` already holds this look."""
    width = screen.width or 80
    head = f"gpufit gpus  {time}  every {interval_seconds:g} s, Ctrl-C ends"
    lines = [screen.paint(head, "dim"), ""]
    for device in result.devices:
        lines += [*_device(device, history, screen, width), ""]
    if not result.devices:
        lines += ["no GPU is visible now", ""]
    for note in result.notes:
        lines += wrap(f"note: {note}", width, "      ")
    return lines


def sparkline(percents: Sequence[int | None], cells: int, *, glyphs: bool = True) -> str:
    """The last ``cells`` percentages as a curve of one line; a gap where one is unknown.

    >>> sparkline([0, 50, None, 100], 8)
    '▁▅ █'
    """
    levels = _LEVELS if glyphs else _PLAIN_LEVELS
    return "".join(
        " " if percent is None else levels[min(7, max(0, percent) * 8 // 100)] for percent in percents[-cells:]
    )


def _device(device: Device, history: History, screen: Screen, width: int) -> list[str]:
    trail, cells = history.of(device), width - _LABEL - 2
    taken = taken_percent(device)
    lines = [_title(device, screen, width)]
    lines.append(_gauge("memory", taken, _memory(device), screen))
    if any(percent is not None for percent in trail.memory):
        lines.append(" " * _LABEL + screen.paint(sparkline(trail.memory, cells, glyphs=screen.glyphs), "dim"))
    lines.append(_gauge("load", device.utilization_percent, "", screen))
    if any(percent is not None for percent in trail.load):
        lines.append(" " * _LABEL + screen.paint(sparkline(trail.load, cells, glyphs=screen.glyphs), "dim"))
    rows = process_rows(device)
    shown = [*rows[:_MOST_PROCESSES]]
    if len(rows) > len(shown):
        shown.append(("", f"and {len(rows) - len(shown)} more", ""))
    return lines + [line[:width] for line in table(shown, right=(0, 2), indent=" " * _LABEL)]


def _title(device: Device, screen: Screen, width: int) -> str:
    limit = "" if device.power_limit_watts is None else f" of {device.power_limit_watts:.0f} W"
    facts = [
        "" if device.temperature_celsius is None else f"{device.temperature_celsius} °C",
        "" if device.power_watts is None else f"{device.power_watts:.0f} W{limit}",
        "integrated" if device.integrated else "",
    ]
    left, right = f"GPU {device.index}  {device.name}", "   ".join(fact for fact in facts if fact)
    gap = " " * max(2, width - len(left) - len(right))
    number = screen.paint(f"GPU {device.index}", "dim")
    return f"{number}  {screen.paint(device.name, 'bold')}{gap}{right}".rstrip()


def _memory(device: Device) -> str:
    if device.total_bytes is None:
        return ""
    free = UNKNOWN if device.free_bytes is None else format_gib(device.free_bytes)
    return f"{free} free of {format_gib(device.total_bytes)}"


def _gauge(label: str, percent: int | None, text: str, screen: Screen) -> str:
    head = "  " + screen.paint(label.ljust(_LABEL - 2), "dim")
    if percent is None:
        return head + (f"{text}, " if text else "") + UNKNOWN
    style = next(style for least, style in _HOT_SHARES if percent >= least)
    filled = screen.bar(percent, 100, _BAR_CELLS)
    rest = ("░" if screen.glyphs else ".") * (_BAR_CELLS - len(filled))
    line = f"{head}{screen.paint(filled, style)}{screen.paint(rest, 'dim')} {percent:3d} %"
    return f"{line}   {text}" if text else line
