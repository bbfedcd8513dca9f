"""An Explanation for a person: each row with its formula and its keys, then the sums it is made of, then the facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpufit.memory.explanation import Explanation
from gpufit.memory.ranges import Range
from gpufit.render.text import Screen, table, wrap
from gpufit.units import format_bytes, format_count


def render_explanation(found: Explanation, commands: Sequence[str], screen: Screen) -> list[str]:
    """The whole explanation as lines of text; ``commands`` would check it."""
    lines = [*_head(found, screen), ""]
    for title, part in (
        ("", _rows(found, screen)),
        ("tensors by role", _roles(found)),
        ("layers by cache kind", _cache(found)),
        ("temporaries by phase", _phases(found)),
        (f"facts, read from {found.source}", (f"  {found.source}: {f.key} = {f.value}" for f in found.facts)),
        ("what would check it", (f"  {command}" for command in commands)),
    ):
        body = list(part)
        if body:
            lines += [screen.paint(title, "bold")] if title else []
            lines += [*(piece for line in body for piece in _fold(line, screen)), ""]
    for note in found.notes:
        lines += wrap(f"note: {note}", screen.width, "      ")
    return lines if found.notes else lines[:-1]


def _fold(line: str, screen: Screen) -> list[str]:
    """Wrap a line under its own indentation; a painted line is short and stays."""
    if "\x1b" in line:
        return [line]
    text = line.lstrip()
    indent = " " * (len(line) - len(text))
    room = None if screen.width is None else screen.width - len(indent)
    return [indent + piece for piece in wrap(text, room, "  ")]


def _head(found: Explanation, screen: Screen) -> list[str]:
    architecture, w = found.estimate.architecture, found.estimate.workload
    about = [format_count(architecture.parameters) + " parameters", architecture.model_type, architecture.task]
    quant = "" if w.quant == "none" else f"{w.quant}, rest "
    assumed = (
        f"context {w.context_tokens:,} (prompt {w.prompt_tokens:,} + new {w.new_tokens:,}), batch {w.batch}, "
        f"{quant}{w.dtype}, cache {w.kv_dtype or w.dtype}, {w.attention} attention, {w.runtime}"
    )
    origin = found.origin if found.hub_id is None else f"{found.hub_id}, {found.origin}"
    lines = [screen.paint(found.name, "bold") + f": {', '.join(about)}"]
    for label, text in (("from", origin), ("assumed", assumed)):
        lines += wrap(f"{label:<9}{text}", screen.width, " " * 9)
    return lines


def _rows(found: Explanation, screen: Screen) -> Iterator[str]:
    for row in found.rows:
        doubt = _doubt(row.range)
        size = f"{format_bytes(row.range.likely_bytes)}{doubt}" if row.known else "unknown"
        yield f"{screen.paint(row.name, 'bold')}  {size}"
        formula = row.formula.splitlines()
        yield f"  = {formula[0]}"
        yield from (f"  {line}" for line in formula[1:])
        keys = found.keys_of(row.name)
        if keys:
            yield f"  from {found.source}: {', '.join(keys)}"
        yield f"  source: {row.source}"
    process = found.estimate.process
    if found.estimate.unknown:
        yield f"{screen.paint('process', 'bold')}  at least {format_bytes(process.low_bytes)}: the sum of what is known"
    else:
        yield f"{screen.paint('process', 'bold')}  {format_bytes(process.likely_bytes)}{_doubt(process)}: their sum"


def _doubt(size: Range) -> str:
    if size.low_bytes == size.high_bytes:
        return f" ({size.likely_bytes:,} bytes)"
    return f" ({format_bytes(size.low_bytes)} to {format_bytes(size.high_bytes)})"


def _roles(found: Explanation) -> Iterator[str]:
    cells = [("role", "stored as", "tensors", "parameters", "bytes")]
    cells += [
        (part.role, part.stored, f"{part.tensors:,}", f"{part.parameters:,}", format_bytes(part.bytes))
        for part in found.roles
    ]
    header, *lines = table(cells, right=[2, 3, 4], indent="  ")
    yield header
    for part, line in zip(found.roles, lines, strict=True):
        yield line
        if part.why:
            yield f"      {part.why}"


def _cache(found: Explanation) -> Iterator[str]:
    if "kv_cache" in found.estimate.unknown:
        yield "  unknown"
        return
    if not found.cache:
        yield "  none: an encoder keeps no cache"
        return
    cells = [("kind", "layers", "bytes a token", "window", "state", "bytes")]
    cells += [
        (
            part.kind, f"{part.layers}", f"{part.token_bytes:,}",
            "-" if part.window_tokens is None else f"{part.window_tokens:,}", format_bytes(part.state_bytes),
            format_bytes(part.bytes),
        )
        for part in found.cache
    ]  # fmt: skip
    yield from table(cells, right=[1, 2, 3, 4, 5], indent="  ")


def _phases(found: Explanation) -> Iterator[str]:
    for phase in found.phases:
        sets = ", which sets the peak" if phase.decisive else ""
        yield f"  {phase.name}: {format_bytes(phase.bytes)} at {phase.moment}{sets}"
        yield from (f"    {line.strip()}" for line in phase.formula.splitlines())
