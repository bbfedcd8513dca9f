"""``gpufit replay MODEL``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufit.cli import options
from gpufit.cli.output import screen, write_json, write_lines

if TYPE_CHECKING:
    from gpufit.replay.training_step import TrainingSetup

Train = Annotated[str | None, typer.Option(help="Replay a training step instead: full or lora.")]
OptimizerName = Annotated[
    str, typer.Option("--optimizer", help="adamw, adamw-fused, adamw-loop, sgd, sgd-momentum or adafactor.")
]
Checkpointing = Annotated[bool, typer.Option("--checkpointing", help="Train with gradient checkpointing.")]
LoraRank = Annotated[int, typer.Option(help="Rank of the adapters of --train lora.")]
AllocatorText = Annotated[
    str, typer.Option("--allocator", help="As in PYTORCH_ALLOC_CONF, for example expandable_segments:True.")
]
Limit = Annotated[str | None, typer.Option(help="Memory the allocator may take, for example 24GiB.")]
Timeline = Annotated[Path | None, typer.Option(help="Draw memory over time into this SVG file.")]
Trace = Annotated[Path | None, typer.Option(help="Write a Chrome trace with memory counters into this file.")]


def run(
    model: options.Model,
    gpu: options.Gpu = None,
    context: options.Context = None,
    prompt: options.Prompt = None,
    new_tokens: options.NewTokens = None,
    batch: options.Batch = 1,
    dtype: options.Dtype = None,
    quant: options.Quant = None,
    kv_dtype: options.KvDtype = None,
    attention: options.Attention = None,
    train: Train = None,
    optimizer: OptimizerName = "adamw",
    checkpointing: Checkpointing = False,
    lora_rank: LoraRank = 8,
    allocator: AllocatorText = "",
    limit: Limit = None,
    timeline: Timeline = None,
    trace: Trace = None,
    revision: options.Revision = None,
    catalog: options.CatalogFile = None,
    as_json: options.Json = False,
) -> int:
    """Run the real modelling code without weights or GPU and show the memory it needs, storage by storage."""
    from gpufit.api_runs import replay
    from gpufit.render.replay import chrome_trace, render_replay, replay_to_dict
    from gpufit.render.replay_svg import timeline_svg
    from gpufit.replay.allocator_options import parse_allocator_options
    from gpufit.units import parse_size
    from gpufit.verdict.plan import Request

    limit_bytes = parse_size(limit, what="--limit") if limit is not None else None
    for path in filter(None, (timeline, trace)):
        _require_folder(path)  # said before the work, not after it
    result = replay(
        model,
        request=Request(
            context=context, prompt=prompt, new_tokens=new_tokens, batch=batch, dtype=dtype, quant=quant,
            kv_dtype=kv_dtype, attention=attention,
        ),
        gpu=gpu,
        revision=revision,
        catalog=catalog,
        training=_training(train, optimizer, checkpointing, lora_rank),
        options=parse_allocator_options(allocator, limit_bytes=limit_bytes),
        progress=_progress if sys.stderr.isatty() else None,
    )  # fmt: skip
    if timeline is not None:
        _write(timeline, timeline_svg(result))
    if trace is not None:
        import json

        _write(trace, json.dumps(chrome_trace(result)))
    if as_json:
        write_json(replay_to_dict(result))
    else:
        write_lines(render_replay(result, screen()))
    return 1 if any(phase.peak.out_of_memory for phase in result.phases) else 0


def _training(train: str | None, optimizer: str, checkpointing: bool, lora_rank: int) -> TrainingSetup | None:
    from gpufit.replay.training_step import parse_training

    if train is None:
        return None
    return parse_training(train, optimizer=optimizer, checkpointing=checkpointing, lora_rank=lora_rank)


def _progress(text: str) -> None:
    sys.stderr.write(f"{text} ...\n")


def _require_folder(path: Path) -> None:
    from gpufit.errors import BadFile

    if not path.parent.is_dir():
        raise BadFile(f"cannot write {path}: there is no folder {path.parent}")


def _write(path: Path, text: str) -> None:
    from gpufit.errors import BadFile

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise BadFile(f"cannot write {path}: {problem.strerror}") from problem
