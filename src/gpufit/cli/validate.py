"""``gpufit validate FILE.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpufit.cli import options
from gpufit.cli.output import screen, write_json, write_lines


def run(
    file: Annotated[Path, typer.Argument(help="A CSV file of measurements, yours or published.")],
    worst: Annotated[int, typer.Option(help="Show the worst rows with their breakdown.", min=0, max=10_000)] = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw estimated against measured: FILE.svg.")] = None,
    configs: Annotated[
        Path | None,
        typer.Option(help="A folder of configurations named owner__name.json."),
    ] = None,
    max_median: Annotated[
        float | None, typer.Option(help="Exit 1 if the median error is above this many percent.", min=0.0)
    ] = None,
    max_p95: Annotated[
        float | None, typer.Option(help="Exit 1 if the 95th percentile is above this many percent.", min=0.0)
    ] = None,
    catalog: options.CatalogFile = None,
    as_json: options.Json = False,
) -> int:
    """Hold gpufit's estimates against measurements."""
    from gpufit.api import validate

    result = validate(file, configs=configs, catalog=catalog)
    if plot is not None:
        from gpufit.errors import UsageError
        from gpufit.render.validate_svg import render_plot

        try:
            plot.write_text(render_plot(result), encoding="utf-8")
        except OSError as problem:
            raise UsageError(f"{plot} cannot be written: {problem.strerror}", hint="--plot FILE.svg") from problem
    if as_json:
        from gpufit.render.validate_json import validation_to_dict

        write_json(validation_to_dict(result))
    else:
        from gpufit.render.validate_text import render_validation

        write_lines(render_validation(result, screen(), worst=worst))
    return 1 if _exceeds(result.total.median_error, max_median) or _exceeds(result.total.p95_error, max_p95) else 0


def _exceeds(error: float | None, limit_percent: float | None) -> bool:
    """Whether a limit was given and is not kept; no covered row at all keeps none."""
    return limit_percent is not None and (error is None or 100 * error > limit_percent)
