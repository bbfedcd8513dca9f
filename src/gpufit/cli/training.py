"""What ``gpufit check MODEL --train`` runs and prints."""

from __future__ import annotations

from typing import Any

from gpufit.cli.check import TRAINING_OPTIONS
from gpufit.cli.output import screen, write_json, write_lines
from gpufit.errors import UsageError

_NOT_IN_TRAINING = ("context", "prompt", "new_tokens", "kv_dtype")


def refuse_without_train(asked: dict[str, Any]) -> None:
    """Training options mean nothing without ``--train``."""
    for name in TRAINING_OPTIONS:
        if asked[name] not in (None, False):
            raise UsageError(
                f"--{name.replace('_', '-')} is about training", hint="add --train full, --train lora or --train qlora"
            )


def run_training(model: str, asked: dict[str, Any], *, code: bool, as_json: bool) -> str:
    """Answer and print; the verdict."""
    from gpufit.training import check_training
    from gpufit.verdict.training_plan import TrainingRequest

    for name in _NOT_IN_TRAINING:
        if asked[name] is not None:
            raise UsageError(f"--{name.replace('_', '-')} is about inference", hint="use --seq and --micro-batch")
    if asked["runtime"] != "transformers":
        raise UsageError(f"--runtime {asked['runtime'][:40]} does not train", hint="leave --runtime out")
    if asked["batch"] != 1:
        raise UsageError("--batch is about inference", hint=f"use --micro-batch {asked['batch']}")
    request = TrainingRequest(
        train=asked["train"], attention=asked["attention"], quant=asked["quant"], dtype=asked["dtype"],
        **{name: asked[name] for name in TRAINING_OPTIONS},
    )  # fmt: skip
    result = check_training(
        model, request, vram=asked["vram"], gpu=asked["gpu"], reserve=asked["reserve"], catalog=asked["catalog"],
        revision=asked["revision"],
    )  # fmt: skip
    if as_json:
        from gpufit.render.training_json import training_to_dict

        record = training_to_dict(result)
        if code:
            from gpufit.render.training_code import render_training_code

            record["code"] = render_training_code(result)
        write_json(record)
    elif code:
        from gpufit.render.training_code import render_training_code

        write_lines(render_training_code(result).splitlines())
    else:
        from gpufit.render.training_text import render_training

        write_lines(render_training(result, screen()))
    return result.verdict
