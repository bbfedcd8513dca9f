"""The list for a person: one line a model."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.render.text import Screen, table, wrap
from gpufit.units import format_count, format_gib
from gpufit.verdict.driver_context import context_notes
from gpufit.verdict.listing import Listed

_STYLE = {"fits": "green", "tight": "yellow"}


def render_list(listed: Sequence[Listed], screen: Screen) -> list[str]:
    """The whole list as lines of text; with a device, what each model would be loaded as and what that leaves."""
    if not listed:
        return ["Nothing in the catalog matches."]
    if all(row.option is None for row in listed):
        return _plain(listed, screen)
    header = ("model", "params", "verdict", "load as", "process", "headroom", "context")
    rows = []
    for row in listed:
        option = row.option
        if option is None:
            rows.append((row.entry.name, format_count(row.entry.parameters), "no", "", "", "", ""))
            continue
        w = option.workload
        rows.append(
            (
                row.entry.name, format_count(row.entry.parameters), option.verdict,
                w.dtype if w.quant == "none" else w.quant, format_gib(option.process.likely_bytes),
                format_gib(option.headroom_bytes), f"{row.longest_context_tokens or 0:,}",
            )
        )  # fmt: skip
    lines = table([header, *rows], right=[1, 4, 5, 6])
    painted = [screen.paint(lines[0], "bold")]
    for row, line in zip(listed, lines[1:], strict=True):
        style = _STYLE.get(row.option.verdict) if row.option else "red"
        painted.append(screen.paint(line, style) if style and style != "green" else line)
    said = next((context_notes(row.option.workload.driver_context) for row in listed if row.option), ())
    return [*painted, *(line for note in said for line in wrap(f"note: {note}", screen.width, "      "))]


def _plain(listed: Sequence[Listed], screen: Screen) -> list[str]:
    weighed = any(row.weights_bytes for row in listed)
    rows = [
        (
            row.entry.name, format_count(row.entry.parameters),
            *([format_gib(row.weights_bytes or 0)] if weighed else []),
            row.entry.family, row.entry.task, row.entry.hub_id or "",
        )
        for row in listed
    ]  # fmt: skip
    titles = ("model", "params", *(["weights"] if weighed else []), "family", "task", "hub id")
    header, *lines = table([titles, *rows], right=[1, 2] if weighed else [1])
    return [screen.paint(header, "bold"), *lines]
