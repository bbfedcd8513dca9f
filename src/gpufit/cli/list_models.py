"""``gpufit list``."""

from __future__ import annotations

from typing import Annotated

import typer

from gpufit.cli import options
from gpufit.cli.output import screen, write_json, write_lines


def run(
    fits: Annotated[bool, typer.Option("--fits", help="Only what fits, each with its best quantization.")] = False,
    vram: options.Vram = None,
    gpu: options.Gpu = None,
    reserve: options.Reserve = "0",
    context: options.Context = None,
    batch: options.Batch = 1,
    family: Annotated[str | None, typer.Option(help="Only this family, for example llama.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="causal-lm, seq2seq, encoder, embedding, vision-language, speech or vision."),
    ] = None,
    max_params: Annotated[str | None, typer.Option(help="At most this many parameters: 7B, 350M.")] = None,
    quant: options.Quant = None,
    sort: Annotated[str, typer.Option(help="catalog, name, parameters, process, headroom or context.")] = "catalog",
    catalog: options.CatalogFile = None,
    as_json: options.Json = False,
) -> int:
    """Show the catalog, or what of it fits a GPU."""
    from gpufit.api import list_models
    from gpufit.verdict.listing import ListFilter, sort_listed

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

        write_lines(render_list(listed, screen()))
    return 0
