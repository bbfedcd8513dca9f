"""``gpufit measure MODEL``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from gpufit.cli import options
from gpufit.cli.output import screen, write_json, write_lines

MaybeModel = Annotated[
    str | None,
    typer.Argument(
        help="Catalog name, Hub id, folder or config.json; not needed with --stress.",
        autocompletion=options.complete_model,
    ),
]
DeviceName = Annotated[str | None, typer.Option("--device", help="cpu, or a card's index or UUID; the freest one.")]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="Make the weights up: nothing is downloaded or read.")
]
Limit = Annotated[str | None, typer.Option(help="Act as if the device had no more than this: 16GB, 12GiB.")]
TimeLimit = Annotated[float, typer.Option(help="Seconds after which the run is ended.", min=1.0, max=86_400.0)]
NoRecord = Annotated[bool, typer.Option("--no-record", help="Keep nothing of the result.")]
Stress = Annotated[
    float | None, typer.Option(help="Compute for this many seconds in most of the free memory.", min=1.0, max=86_400.0)
]
_EXIT = {"ok": 0, "out_of_memory": 1, "timeout": 3, "killed": 3, "failed": 2, "interrupted": 130}


def run(
    model: MaybeModel = None,
    device: DeviceName = None,
    random_weights: RandomWeights = False,
    context: options.Context = None,
    prompt: options.Prompt = None,
    new_tokens: options.NewTokens = None,
    batch: options.Batch = 1,
    dtype: options.Dtype = None,
    quant: options.Quant = None,
    attention: options.Attention = None,
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
    limit: Limit = None,
    time_limit: TimeLimit = 1800.0,
    no_record: NoRecord = False,
    reserve: options.Reserve = "0",
    stress: Stress = None,
    catalog: options.CatalogFile = None,
    as_json: options.Json = False,
) -> int:
    """Run the real model on the real device, or a training step of it, and show measured beside estimated."""
    asked = dict(locals())
    from gpufit.cli.training import training_request
    from gpufit.errors import UsageError

    if stress is not None:
        return _stress(stress, device, reserve, limit, as_json)
    if model is None:
        raise UsageError("no model was named", hint="gpufit measure gpt2 --random-weights, or --stress SECONDS")
    from gpufit.api_runs import measure
    from gpufit.render.measure import measured_to_dict, render_measured
    from gpufit.verdict.plan import Request

    result = measure(
        model,
        request=Request(
            context=context, prompt=prompt, new_tokens=new_tokens, batch=batch, dtype=dtype, quant=quant,
            attention=attention,
        ),
        device=device, random_weights=random_weights, training=training_request(asked),
        limit=limit, limit_seconds=time_limit, record=not no_record, reserve=reserve, catalog=catalog,
        progress=_progress if sys.stderr.isatty() else None,
    )  # fmt: skip
    if as_json:
        write_json(measured_to_dict(result))
    else:
        write_lines(render_measured(result, screen()))
    return _EXIT[result.measurement.outcome]


def _stress(seconds: float, device: str | None, reserve: str, limit: str | None, as_json: bool) -> int:
    from gpufit.api_runs import stress
    from gpufit.render.measure import render_stress, stress_to_dict

    report = stress(seconds, device=device, reserve=reserve, limit=limit, environ=os.environ)
    if as_json:
        write_json(stress_to_dict(report))
    else:
        write_lines(render_stress(report, screen()))
    return 1 if report.wrong else 0


def _progress(text: str) -> None:
    sys.stderr.write(f"{text} ...\n")
