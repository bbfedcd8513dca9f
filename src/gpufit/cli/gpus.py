"""``gpufit gpus``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufit.cli import options
from gpufit.cli.output import screen, write_json, write_lines
from gpufit.errors import UsageError

if TYPE_CHECKING:
    from gpufit.devices.gpu_log import GpuLog
    from gpufit.devices.probe import ProbeResult

Look = Callable[[], "ProbeResult"]
_NONE_HINT = "gpufit doctor says what was looked for; gpufit check MODEL --vram 16GB judges without a GPU"


def run(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="A dashboard, refreshed until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between refreshes.")] = 2.0,
    log: Annotated[Path | None, typer.Option(help="Append each look to this CSV file.")] = None,
    select: Annotated[bool, typer.Option("--select", help="Print ids for CUDA_VISIBLE_DEVICES, and no more.")] = False,
    needs: Annotated[str | None, typer.Option(help="With --select: free memory that is needed, 12GiB.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="With --select: at most so many devices.")] = None,
    as_json: options.Json = False,
) -> int:
    """Show every GPU: memory, load, driver, the number formats it runs, and who holds memory."""
    from gpufit.devices.probe import default_rounds, probe_devices

    rounds = default_rounds()

    def look() -> ProbeResult:
        return probe_devices(os.environ, rounds)

    if select or needs is not None or count is not None:
        return _select(look(), select, watch, needs, count, as_json)
    journal = None if log is None else _open_log(log)
    result = _first(look)
    if watch:
        try:
            _watch(result, look, interval, as_json, journal)
        except KeyboardInterrupt:
            return 0
    if journal is not None:
        journal.write(result.devices, _now())
    if as_json:
        from gpufit.render.gpus_json import gpus_to_dict

        write_json(gpus_to_dict(result))
    else:
        from gpufit.render.gpus import render_gpus

        write_lines(render_gpus(result, screen()))
    return 0


def _first(look: Look) -> ProbeResult:
    """A look that must show a device; later ones may lose it. Raises NoDevice with the reasons."""
    from gpufit.devices.probe import no_device

    result = look()
    if not result.devices:
        raise no_device(result.findings, hint=_NONE_HINT)
    return result


def _select(result: ProbeResult, select: bool, watch: bool, needs: str | None, count: int | None, as_json: bool) -> int:
    """Ids on standard output, everything else on standard error; 1 and no output where no device has that much."""
    from gpufit.devices.select import select_devices
    from gpufit.units import parse_size

    if not select or needs is None or watch:
        raise UsageError(
            "--select, --needs and --count go together",
            hint="CUDA_VISIBLE_DEVICES=$(gpufit gpus --select --needs 12GiB)",
        )
    needs_bytes = parse_size(needs, what="--needs")
    troubles = [finding.message for finding in result.findings if finding.outcome == "failed"]
    chosen = select_devices(result.devices, needs_bytes, most=count, troubles=troubles)
    if as_json:
        from gpufit.render.gpus_json import selection_to_dict

        write_json(selection_to_dict(chosen, needs_bytes))
    else:
        for note in chosen.notes:
            sys.stderr.write(f"gpufit: {note}\n")
        if chosen.ids:
            write_lines([",".join(chosen.ids)])
    return 0 if chosen.ids else 1


def _open_log(path: Path) -> GpuLog:
    from gpufit.devices.gpu_log import GpuLog

    return GpuLog(path)


def _now() -> str:
    from datetime import datetime

    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _watch(result: ProbeResult, look: Look, interval: float, as_json: bool, journal: GpuLog | None) -> None:
    """Look again every ``interval`` seconds: one JSON object a line, a dashboard, or when piped block after block."""
    from time import sleep

    show, close = _shower(interval, as_json)
    try:
        while True:
            time = _now()
            if journal is not None:
                journal.write(result.devices, time)
            show(result, time)
            sleep(interval)
            result = look()
    finally:
        close()


def _shower(interval: float, as_json: bool) -> tuple[Callable[[ProbeResult, str], None], Callable[[], None]]:
    """How one look is shown, and what to do at the end."""
    if as_json:
        import json

        from gpufit.render.gpus_json import gpus_to_dict

        def show_json(result: ProbeResult, time: str) -> None:
            print(json.dumps({**gpus_to_dict(result), "time": time}, ensure_ascii=False), flush=True)

        return show_json, lambda: None
    if not sys.stdout.isatty():
        from gpufit.render.gpus import render_gpus

        def show_blocks(result: ProbeResult, time: str) -> None:
            write_lines([*render_gpus(result, screen()), ""])
            sys.stdout.flush()

        return show_blocks, lambda: None

    from rich.live import Live
    from rich.text import Text

    from gpufit.devices.history import History
    from gpufit.render.dashboard import render_dashboard

    history = History()
    live = Live(Text(""), screen=True, auto_refresh=False)
    live.start()

    def show_frame(result: ProbeResult, time: str) -> None:
        history.add(result.devices)
        clock = time[11:19]
        frame = render_dashboard(result, history, screen(), time=clock, interval_seconds=interval)
        live.update(Text.from_ansi("\n".join(frame)), refresh=True)

    return show_frame, live.stop
