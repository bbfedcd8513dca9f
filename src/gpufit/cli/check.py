"""``gpufit check MODEL``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpufit.cli.output import screen, write_json, write_lines
from gpufit.cli.spinner import Spinner

if TYPE_CHECKING:
    from gpufit.cli import options

TRAINING_OPTIONS = (
    "micro_batch", "seq", "grad_accum", "precision", "optimizer", "checkpointing", "lora_r", "lora_targets",
    "modules_to_save", "dora", "kbit_prepare", "no_kbit_prepare", "loss", "packing", "sharding", "offload",
)  # fmt: skip
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
    train: options.Train = None,
    micro_batch: options.MicroBatch = None,
    seq: options.Seq = None,
    grad_accum: options.GradAccum = None,
    precision: options.Precision = None,
    optimizer: options.Optimizer = None,
    checkpointing: options.Checkpointing = None,
    lora_r: options.LoraR = None,
    lora_targets: options.LoraTargets = None,
    modules_to_save: options.ModulesToSave = None,
    dora: options.Dora = False,
    kbit_prepare: options.KbitPrepare = False,
    no_kbit_prepare: options.NoKbitPrepare = False,
    loss: options.Loss = None,
    packing: options.Packing = False,
    sharding: options.Sharding = None,
    offload: options.Offload = None,
) -> int:
    """Say whether a model fits, why, and what would make it fit; with --train, whether it can be trained so."""
    asked = dict(locals())
    if train is not None or any(asked[name] not in (None, False) for name in TRAINING_OPTIONS):
        from gpufit.cli.training import run_training, training_request

        if (request := training_request(asked)) is not None:
            return _exit_code(run_training(model, request, asked, code=code, as_json=as_json), strict)
    from gpufit.api import check

    with Spinner(terminal=os.environ.get("TERM")) as progress:
        result = check(
            model, vram=vram, gpu=gpu, context=context, prompt=prompt, new_tokens=new_tokens, batch=batch, dtype=dtype,
            quant=quant, kv_dtype=kv_dtype, attention=attention, runtime=runtime, images=images, reserve=reserve,
            revision=revision, catalog=catalog, via_transformers=via_transformers, progress=progress,
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
    return _exit_code(result.verdict, strict)


def _exit_code(verdict: str, strict: bool) -> int:
    return EXIT_CODES["no" if strict and verdict == "tight" else verdict]
