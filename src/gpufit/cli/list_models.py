"""``gpufit list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpufit.cli.output import screen, write_json, write_lines

if TYPE_CHECKING:
    from gpufit.cli import options


def run(
    fits: options.Fits = False,
    vram: options.Vram = None,
    gpu: options.Gpu = None,
    reserve: options.Reserve = "0",
    context: options.Context = None,
    batch: options.Batch = 1,
    family: options.Family = None,
    task: options.Task = None,
    max_params: options.MaxParams = None,
    quant: options.Quant = None,
    sort: options.Sort = "catalog",
    catalog: options.CatalogFile = None,
    as_json: options.Json = False,
) -> int:
    """Show the catalog, or what of it fits a GPU."""
    from gpufit.api import list_models
    from gpufit.verdict.listing import ListFilter, sort_listed

    if not fits and vram is None and gpu is None:
        from gpufit.verdict.weights_list import refuse_without_device

        refuse_without_device(sort, context=context is not None, batch=batch != 1, reserve=reserve != "0")
    listed = list_models(
        fits=fits, vram=vram, gpu=gpu, reserve=reserve, context=context, batch=batch, catalog=catalog,
        filters=ListFilter.parse(family=family, task=task, max_params=max_params, quant=quant),
    )  # fmt: skip
    listed = sort_listed(listed, sort)
    if as_json:
        from gpufit.render.list_json import list_to_dict

        write_json(list_to_dict(listed))
    else:
        from gpufit.render.list_text import render_list

        write_lines(render_list(listed, screen(), fits=fits))
    return 0
