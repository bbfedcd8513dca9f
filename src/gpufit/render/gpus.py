"""The probed devices as lines of text: a compact block for each, within 80 columns."""

from __future__ import annotations

from gpufit.devices.device import DTYPES_SINCE, Device
from gpufit.devices.probe import ProbeResult
from gpufit.devices.surroundings import LEAST_CONTEXT_BYTES
from gpufit.render.text import Screen, table, wrap
from gpufit.units import format_bytes, format_gib

UNKNOWN = "unknown"
_INDENT = "  "
_LABEL_CELLS = 11
_BAR_CELLS = 24
_HOT_SHARES = ((95, "red"), (80, "yellow"), (0, "green"))  # percent of the memory in use


def render_gpus(result: ProbeResult, screen: Screen) -> list[str]:
    """All blocks, an empty line between them, then what was noticed while probing."""
    lines: list[str] = []
    for device in result.devices:
        lines += [*_block(device, screen), ""]
    for note in result.notes:
        lines += wrap(f"note: {note}", screen.width, "      ")
    return lines if result.notes else lines[:-1]


def _block(device: Device, screen: Screen) -> list[str]:
    title = screen.paint(f"GPU {device.index}", "dim") + "  " + screen.paint(device.name, "bold")
    if device.integrated:
        title += screen.paint("  integrated, not chosen by itself", "dim")
    rows = [
        ("memory", _memory(device)),
        ("", _bar(device, screen)),
        ("shared", _shared(device)),
        ("load", _load(device)),
        ("driver", f"{device.driver or UNKNOWN}, asked through {device.source}"),
        ("compute", _compute(device)),
        ("runs", _runs(device, screen)),
        ("id", device.uuid or UNKNOWN),
    ]
    lines = [title, *(_row(label, text, screen) for label, text in rows if text)]
    lines += _processes(device, screen)
    for note in device.notes:
        pad = _INDENT + "note".ljust(_LABEL_CELLS)
        lines += wrap(f"{pad}{note}", screen.width, " " * len(pad))
    return lines


def _row(label: str, text: str, screen: Screen) -> str:
    return _INDENT + screen.paint(label.ljust(_LABEL_CELLS), "dim") + text


def _memory(device: Device) -> str:
    if device.total_bytes is None:
        return UNKNOWN
    free, used = _size(device.free_bytes), _size(device.used_bytes)
    kept = f", {format_bytes(device.reserved_bytes)} reserved" if device.reserved_bytes else ""
    return f"{free} free of {format_gib(device.total_bytes)}, {used} used{kept}"


def _bar(device: Device, screen: Screen) -> str:
    if not device.total_bytes or device.free_bytes is None:
        return ""
    taken = device.total_bytes - device.free_bytes
    percent = 100 * taken // device.total_bytes
    style = next(style for least, style in _HOT_SHARES if percent >= least)
    filled = screen.bar(taken, device.total_bytes, _BAR_CELLS)
    rest = ("░" if screen.glyphs else ".") * (_BAR_CELLS - len(filled))
    return f"{screen.paint(filled, style)}{screen.paint(rest, 'dim')} {percent} % taken"


def _load(device: Device) -> str:
    power = _with_unit(device.power_watts, "W", ".0f")
    limit = f" of {device.power_limit_watts:.0f} W" if device.power_limit_watts is not None else ""
    return (
        f"utilization {_with_unit(device.utilization_percent, '%')}, "
        f"temperature {_with_unit(device.temperature_celsius, '°C')}, power {power}{limit}"
    )


def _shared(device: Device) -> str:
    if device.shared_bytes is None:
        return ""
    used = "" if device.shared_used_bytes is None else f", {format_gib(device.shared_used_bytes)} used"
    return f"{format_gib(device.shared_bytes)} of the system's memory besides{used}"


def _compute(device: Device) -> str:
    capability = device.compute_capability
    text = "" if capability is None else f"capability {capability[0]}.{capability[1]}"
    text = text or device.architecture or (f"capability {UNKNOWN}" if device.vendor in ("NVIDIA", None) else "")
    bandwidth = f"{device.bandwidth_gb_per_s:g} GB/s" if device.bandwidth_gb_per_s else ""
    return ", ".join(part for part in (text, bandwidth) if part)


def _runs(device: Device, screen: Screen) -> str:
    dtypes = device.dtypes
    if dtypes is None:
        return UNKNOWN
    return "  ".join(
        f"{name} {screen.paint('yes', 'green') if name in dtypes else screen.paint('no', 'red')}"
        for name in DTYPES_SINCE
    )


def _processes(device: Device, screen: Screen) -> list[str]:
    rows = process_rows(device)
    if not rows:
        return [_row("processes", UNKNOWN if device.processes is None else "none", screen)]
    labels = ["processes", *[""] * (len(rows) - 1)]
    return [_row(label, line, screen) for label, line in zip(labels, table(rows, right=(0, 2)), strict=True)]


def process_rows(device: Device) -> list[tuple[str, str, str]]:
    """Process id, name and memory, largest first; then what nobody visible here accounts for."""
    rows = [(str(held.pid), held.name or UNKNOWN, _size(held.used_bytes)) for held in device.processes or ()]
    unseen = device.unseen_bytes
    if unseen is not None and unseen >= LEAST_CONTEXT_BYTES:
        rows.append(("", "held by processes not visible here", _size(unseen)))
    return rows


def _size(size_bytes: int | None) -> str:
    return UNKNOWN if size_bytes is None else format_gib(size_bytes)


def _with_unit(value: float | None, unit: str, form: str = "") -> str:
    return UNKNOWN if value is None else f"{value:{form}} {unit}"
