"""``gpufit gpus``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gpufit.cli import options
from gpufit.cli.output import screen, write_json, write_lines

if TYPE_CHECKING:
    from gpufit.devices.probe import ProbeResult


def run(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between refreshes.")] = 2.0,
    as_json: options.Json = False,
) -> int:
    """Show every GPU: memory, load, driver, the number formats it runs, and who holds memory."""
    from gpufit.devices.probe import choose_device, default_rounds, probe_devices

    rounds = default_rounds()

    def look() -> ProbeResult:
        result = probe_devices(os.environ, rounds)
        if not result.devices:
            choose_device((), result.findings)  # says why there is none
        return result

    if watch:
        try:
            _watch(look, interval, as_json)
        except KeyboardInterrupt:
            return 0
    elif as_json:
        from gpufit.render.gpus_json import gpus_to_dict

        write_json(gpus_to_dict(look()))
    else:
        from gpufit.render.gpus import render_gpus

        write_lines(render_gpus(look(), screen()))
    return 0


def _watch(look: Callable[[], ProbeResult], interval: float, as_json: bool) -> None:
    """Look again every ``interval`` seconds: one JSON object a line, a live screen, or when piped block after block."""
    import sys
    from time import sleep

    if as_json:
        import json

        from gpufit.render.gpus_json import gpus_to_dict

        while True:
            print(json.dumps(gpus_to_dict(look()), ensure_ascii=False), flush=True)
            sleep(interval)

    from gpufit.render.gpus import render_gpus

    if not sys.stdout.isatty():
        while True:
            write_lines([*render_gpus(look(), screen()), ""])
            sys.stdout.flush()
            sleep(interval)

    from rich.live import Live
    from rich.text import Text

    def frame() -> Text:
        return Text.from_ansi("\n".join(render_gpus(look(), screen())))

    with Live(frame(), screen=True, auto_refresh=False) as live:
        while True:
            sleep(interval)
            live.update(frame(), refresh=True)
