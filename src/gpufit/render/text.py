"""Plain terminal text: colour, bars and tables, without the weight of a terminal library on the quick path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from gpufit.records import record
from gpufit.units import format_gib

if TYPE_CHECKING:
    from gpufit.devices.device import Device

STYLES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
}  # fmt: skip
GAP = "  "  # between the columns of a table
_MOST_OTHERS = 3
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Stream(Protocol):
    """What we need to know of an output stream."""

    def isatty(self) -> bool: ...


@record
class Screen:
    """How to draw: colour or not, how wide (None: piped, never truncated), and whether block glyphs can be shown."""

    color: bool = False
    width: int | None = None
    glyphs: bool = True

    def paint(self, text: str, *styles: str) -> str:
        """Wrap text in ANSI styles, or leave it as it is where there is no colour.

        >>> Screen().paint("fits", "green")
        'fits'
        """
        if not self.color or not text:
            return text
        return f"\x1b[{';'.join(STYLES[style] for style in styles)}m{text}\x1b[0m"

    def bar(self, part: int, whole: int, cells: int) -> str:
        """A bar of at most ``cells`` cells, to an eighth of a cell.

        >>> Screen().bar(1, 2, 4), Screen(glyphs=False).bar(1, 2, 4)
        ('██', '##')
        """
        eighths = min(max(0, part) * cells * 8 // whole, cells * 8) if whole > 0 else 0
        if not self.glyphs:
            return "#" * ((eighths + 4) // 8)
        full, rest = divmod(eighths, 8)
        return "█" * full + (_EIGHTHS[rest] if rest else "")


def make_screen(stream: Stream, environ: Mapping[str, str], *, encoding: str | None = None) -> Screen:
    """Decide colour and width as the common conventions say: NO_COLOR, FORCE_COLOR, COLUMNS, TERM=dumb, a terminal."""
    terminal = stream.isatty()
    if environ.get("NO_COLOR"):
        color = False
    elif environ.get("FORCE_COLOR"):
        color = environ["FORCE_COLOR"] != "0"
    else:
        color = terminal and environ.get("TERM") != "dumb"
    width: int | None = None
    columns = environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        width = int(columns)
    elif terminal:
        from shutil import get_terminal_size

        width = get_terminal_size().columns
    if width is not None:
        width = max(40, min(width, 200))
    return Screen(color=color, width=width, glyphs="utf" in (encoding or "utf-8").lower())


def describe_device(device: Device) -> str:
    """A device by name; one that was chosen among several with its index, and what else is here.

    >>> from gpufit.devices.device import Device
    >>> full = Device(name="T4", source="nvml", index=0, free_bytes=2 << 30)
    >>> describe_device(Device(name="T4", source="nvml", index=1, others=(full,)))
    'T4, GPU 1, the freest of 2; beside it: GPU 0 with 2.00 GiB free'
    """
    if not device.others:
        return device.name + (f" × {device.count}" if device.count > 1 else "")
    beside = []
    for other in device.others[:_MOST_OTHERS]:
        name = "" if other.name == device.name else f" {other.name}"
        free = "memory unknown" if other.free_bytes is None else f"{format_gib(other.free_bytes)} free"
        beside.append(f"GPU {other.index}{name} with {free}")
    left = len(device.others) - len(beside)
    beside += [f"and {left} more"] if left else []
    return f"{device.name}, GPU {device.index}, the freest of {len(device.others) + 1}; beside it: {', '.join(beside)}"


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), gap: str = GAP, indent: str = "") -> list[str]:
    """Columns as wide as their widest cell; the columns in ``right`` are right-aligned. Never truncates.

    >>> table([["a", "10"], ["bcd", "5"]], right=[1])
    ['a    10', 'bcd   5']
    """
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + gap.join(cells)).rstrip())
    return lines


def shorten(text: str, width: int, screen: Screen) -> str:
    """Text of at most ``width`` columns: what is left out of a longer one is its middle.

    >>> shorten("deepseek-r1-distill-llama-70b", 20, Screen()), shorten("gpt2", 20, Screen())
    ('deepseek-r…llama-70b', 'gpt2')
    """
    gap = "…" if screen.glyphs else "..."
    if len(text) <= width or width <= len(gap):
        return text
    kept = width - len(gap)
    return text[: kept - kept // 2] + gap + text[len(text) - kept // 2 :]


def wrap(text: str, width: int | None, indent: str = "") -> list[str]:
    """Break text at spaces to ``width`` columns; continuation lines get ``indent``. Piped text stays one line.

    >>> wrap("one two three", 8, "  "), wrap("  one two", 6, "    ")
    (['one two', '  three'], ['  one', '    two'])
    """
    if width is None or len(text) <= width:
        return [text]
    body = text.lstrip(" ")
    lines, line = [], text[: len(text) - len(body)]
    for word in body.split(" "):
        candidate = f"{line} {word}" if line.strip() else line + word
        if len(candidate) > width and line.strip():
            lines.append(line)
            line = indent + word
        else:
            line = candidate
    return [*lines, line]
