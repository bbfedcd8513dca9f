"""Predicted against measured, as a picture: both axes logarithmic, the diagonal is a perfect estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from gpufit.accuracy.validate import Comparison, Validation

_SIDE, _MARGIN = 480, 60
_COLORS = ("#3465a4", "#cc0000", "#4e9a06", "#75507b", "#f57900", "#c17d11", "#06989a", "#555753")
_MOST_POINTS = 5000


def render_plot(validation: Validation) -> str:
    """An SVG of its own; each point says in its title which row it is."""
    points = [c for c in validation.comparisons if c.predicted is not None and c.row.measured_bytes][:_MOST_POINTS]
    sources = list(dict.fromkeys(c.row.source for c in points))
    low, high = _decades(points)
    width, height = _MARGIN + _SIDE + 190, _MARGIN + _SIDE + 50

    def x(size: float) -> float:
        return _MARGIN + (log10(max(size, 1)) - low) / (high - low) * _SIDE

    def y(size: float) -> float:
        return 20 + _SIDE - (log10(max(size, 1)) - low) / (high - low) * _SIDE

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        "<title>Estimated against measured memory</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<rect x="{_MARGIN}" y="20" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#888"/>',
    ]
    for decade in range(low, high + 1):
        size = 10.0**decade
        label = f"{size / 1e9:g} GB" if decade >= 9 else f"{size / 1e6:g} MB"
        parts += [
            f'<path d="M{x(size):.1f} 20V{20 + _SIDE}M{_MARGIN} {y(size):.1f}H{_MARGIN + _SIDE}" stroke="#ddd"/>',
            f'<text x="{x(size):.1f}" y="{38 + _SIDE}" text-anchor="middle">{label}</text>',
            f'<text x="{_MARGIN - 6}" y="{y(size) + 4:.1f}" text-anchor="end">{label}</text>',
        ]
    parts.append(f'<path d="M{_MARGIN} {20 + _SIDE}L{_MARGIN + _SIDE} 20" stroke="#888" stroke-dasharray="4 3"/>')
    for comparison in points:
        color = _COLORS[sources.index(comparison.row.source) % len(_COLORS)]
        parts.append(_point(comparison, x, y, color))
    for index, source in enumerate(sources[:24]):
        top = 32 + 18 * index
        parts.append(
            f'<circle cx="{_MARGIN + _SIDE + 20}" cy="{top - 4}" r="4" fill="{_COLORS[index % len(_COLORS)]}"/>'
            f'<text x="{_MARGIN + _SIDE + 30}" y="{top}">{escape(source[:24])}</text>'
        )
    parts += [
        f'<text x="{_MARGIN + _SIDE / 2}" y="{64 + _SIDE}" text-anchor="middle">measured</text>',
        f'<text x="14" y="{20 + _SIDE / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {20 + _SIDE / 2})">estimated</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _decades(points: Sequence[Comparison]) -> tuple[int, int]:
    sizes = [size for c in points if c.predicted for size in (c.row.measured_bytes or 1, c.predicted.likely_bytes)]
    low = floor(log10(max(1, min(sizes, default=10**9))))
    return low, max(low + 1, ceil(log10(max(10, *sizes, 10**low))) if sizes else low + 1)


def _point(c: Comparison, x: Callable[[float], float], y: Callable[[float], float], color: str) -> str:
    assert c.predicted is not None  # only covered rows are drawn
    measured, likely = c.row.measured_bytes or 1, c.predicted.likely_bytes
    title = escape(f"{c.row.id}: measured {measured:,}, estimated {likely:,}")
    return (
        f'<circle cx="{x(measured):.1f}" cy="{y(likely):.1f}" r="2.5" fill="{color}" fill-opacity="0.6">'
        f"<title>{title}</title></circle>"
    )
