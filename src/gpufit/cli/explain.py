"""``gpufit explain MODEL``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpufit.cli.output import screen, write_json, write_lines
from gpufit.cli.quick import COMMANDS, command_module
from gpufit.cli.spinner import Spinner

if TYPE_CHECKING:
    from gpufit.cli import options
    from gpufit.memory.workload import Workload


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
    revision: options.Revision = None,
    via_transformers: options.ViaTransformers = False,
    catalog: options.CatalogFile = None,
    as_json: options.Json = False,
) -> int:
    """Show where every number comes from: formulas, files and keys, tensors, cache, and what would check them."""
    from gpufit.api import explain

    with Spinner(terminal=os.environ.get("TERM")) as progress:
        result = explain(
            model, vram=vram, gpu=gpu, context=context, prompt=prompt, new_tokens=new_tokens, batch=batch, dtype=dtype,
            quant=quant, kv_dtype=kv_dtype, attention=attention, runtime=runtime, images=images, revision=revision,
            catalog=catalog, via_transformers=via_transformers, progress=progress,
        )  # fmt: skip
    given = {"gpu": gpu, "revision": revision, "catalog": catalog}
    commands = [] if result.source.endswith(".gguf") else check_commands(model, result.estimate.workload, given)
    if as_json:
        from gpufit.render.explain_json import explanation_to_dict

        write_json(explanation_to_dict(result, commands))
    else:
        from gpufit.render.explain_text import render_explanation

        write_lines(render_explanation(result, commands, screen()))
    return 0


def check_commands(model: str, workload: Workload, given: dict[str, Any]) -> list[str]:
    """The commands of this gpufit that run the same work: ``replay`` always without a GPU, ``measure`` on one."""
    return [
        write_command(name, command_module(name).run, model, workload, given)
        for name in ("replay", "measure")
        if name in COMMANDS
    ]


def write_command(name: str, run: Callable[..., int], model: str, workload: Workload, given: dict[str, Any]) -> str:
    """A command line with the workload written out, as far as the command's own options can say it."""
    from shlex import quote

    wanted = {
        "prompt": workload.prompt_tokens, "new_tokens": workload.new_tokens, "batch": workload.batch,
        "dtype": workload.dtype, "quant": workload.quant, "kv_dtype": workload.kv_dtype,
        "attention": workload.attention, **given,
    }  # fmt: skip
    known = run.__annotations__
    words = ["gpufit", name, quote(model)]
    left_out = []
    for option, value in wanted.items():
        if value is None:
            continue
        words_of_option = [f"--{option.replace('_', '-')}", quote(str(value))]
        if option in known:
            words += words_of_option
        else:
            left_out.append(" ".join(words_of_option))
    return " ".join(words) + (f"  # it takes no {' '.join(left_out)}" if left_out else "")
