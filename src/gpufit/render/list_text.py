"""The list for a person: one line a model."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.render.text import GAP, Screen, describe_device, shorten, table, wrap
from gpufit.units import format_count, format_gib
from gpufit.verdict.driver_context import context_notes
from gpufit.verdict.listing import Listed

_STYLE = {"fits": "green", "tight": "yellow"}
_LEAST_OF_A_NAME = 8
_LEAST_OF_A_HUB_ID = 20  # less of it says nothing


def render_list(listed: Sequence[Listed], screen: Screen, *, fits: bool = False) -> list[str]:
    """The list as lines of text; with a device, what each model would be loaded as and what that leaves.

    What is wider than the screen gives way: the middle of names, and without a device the ids of the Hub first.
    """
    if not listed:
        return ["Nothing in the catalog that matches fits." if fits else "Nothing in the catalog matches."]
    if all(row.option is None for row in listed):
        return _plain(listed, screen)
    header = ("model", "params", "verdict", "load as", "process", "headroom", "context")
    rows: list[tuple[str, ...]] = []
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
                format_gib(option.headroom_bytes), _context(row),
            )
        )  # fmt: skip
    lines = table(_narrow([header, *rows], screen), right=[1, 4, 5, 6])
    painted = [screen.paint(lines[0], "bold")]
    for row, line in zip(listed, lines[1:], strict=True):
        style = _STYLE.get(row.option.verdict) if row.option else "red"
        painted.append(screen.paint(line, style) if style and style != "green" else line)
    judged = next(row.option for row in listed if row.option)
    said = list(context_notes(judged.workload.driver_context))
    if judged.device.others:
        said.insert(0, f"judged on {describe_device(judged.device)}")
    return [*painted, *(line for note in said for line in wrap(f"note: {note}", screen.width, "      "))]


def _context(row: Listed) -> str:
    """The longest context; nothing for pictures, which have one length."""
    return "" if row.longest_context_tokens is None else f"{row.longest_context_tokens:,}"


def _narrow(rows: Sequence[tuple[str, ...]], screen: Screen) -> list[tuple[str, ...]]:
    """The rows with names that leave room for the other columns."""
    if screen.width is None:
        return list(rows)
    room = max(_LEAST_OF_A_NAME, screen.width - _width(rows, slice(1, None)))
    return [(shorten(name, room, screen), *rest) for name, *rest in rows]


def _width(rows: Sequence[tuple[str, ...]], columns: slice) -> int:
    """What some of the columns take, with a gap beside each."""
    return sum(max(map(len, column)) + len(GAP) for column in list(zip(*rows, strict=True))[columns])


def _plain(listed: Sequence[Listed], screen: Screen) -> list[str]:
    weighed = any(row.weights_bytes for row in listed)
    rows: list[tuple[str, ...]] = [
        (
            row.entry.name, format_count(row.entry.parameters),
            *([format_gib(row.weights_bytes or 0)] if weighed else []),
            row.entry.family, row.entry.task, row.entry.hub_id or "",
        )
        for row in listed
    ]  # fmt: skip
    titles = ("model", "params", *(["weights"] if weighed else []), "family", "task", "hub id")
    cells = [titles, *rows]
    if screen.width is not None:
        left = screen.width - _width(cells, slice(None, -1))
        ids = [(shorten(row[-1], left, screen),) if left >= _LEAST_OF_A_HUB_ID else () for row in cells]
        cells = [(*row[:-1], *hub_id) for row, hub_id in zip(cells, ids, strict=True)]
    header, *lines = table(_narrow(cells, screen), right=[1, 2] if weighed else [1])
    return [screen.paint(header, "bold"), *lines]
