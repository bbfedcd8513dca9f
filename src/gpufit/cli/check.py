"""``gpufit check MODEL``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpufit.cli.output import screen, write_json, write_lines

if TYPE_CHECKING:
    from gpufit.cli import options

EXIT_CODES = {"fits": 0, "tight": 0, "no": 1, "unknown": 3}


def run(
    model: options.Model,
    vram: options.Vram = None,
    gpu: options.Gpu = None,
    context: options.Context = None,
    prompt: options.Prompt = None,
    new_tokens: options.NewTokens = None,
    batch: options.Batch = 1,
    dtype: options.Dtype = None,
    quant: options.Quant = None,
    kv_dtype: options.KvDtype = None,
    attention: options.Attention = None,
    runtime: options.Runtime = "transformers",
    images: options.Images = None,
    reserve: options.Reserve = "0",
    revision: options.Revision = None,
    via_transformers: options.ViaTransformers = False,
    catalog: options.CatalogFile = None,
    strict: options.Strict = False,
    code: options.Code = False,
    as_json: options.Json = False,
) -> int:
    """Say whether a model fits, why, and what would make it fit."""
    from gpufit.api import check

    result = check(
        model, vram=vram, gpu=gpu, context=context, prompt=prompt, new_tokens=new_tokens, batch=batch, dtype=dtype,
        quant=quant, kv_dtype=kv_dtype, attention=attention, runtime=runtime, images=images, reserve=reserve,
        revision=revision, catalog=catalog, via_transformers=via_transformers,
    )  # fmt: skip
    if as_json:
        record = result.to_dict()
        if code:
            from gpufit.render.code import render_code

            record["code"] = render_code(result)
        write_json(record)
    elif code:
        from gpufit.render.code import render_code

        write_lines(render_code(result).splitlines())
    else:
        from gpufit.render.check_text import render_check

        write_lines(render_check(result, screen()))
    if strict and result.verdict == "tight":
        return EXIT_CODES["no"]
    return EXIT_CODES[result.verdict]
