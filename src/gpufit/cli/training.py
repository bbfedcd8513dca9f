"""What ``gpufit check MODEL --train`` runs and prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpufit.cli.check import TRAINING_OPTIONS
from gpufit.cli.output import screen, write_json, write_lines
from gpufit.errors import UsageError

if TYPE_CHECKING:
    from gpufit.verdict.training_plan import TrainingRequest

_NOT_IN_TRAINING = ("context", "prompt", "new_tokens", "kv_dtype")


def training_request(asked: dict[str, Any]) -> TrainingRequest | None:
    """What a command's options ask of training; None without ``--train``. Raises UsageError for those beside the point.

    ``asked`` holds the options by name; one that the command does not have is left out.
    """
    from gpufit.verdict.training_plan import TrainingRequest

    given = {name: asked[name] for name in TRAINING_OPTIONS if asked.get(name) not in (None, False)}
    if asked["train"] is None:
        for name in given:
            raise UsageError(
                f"--{name.replace('_', '-')} is about training", hint="add --train full, --train lora or --train qlora"
            )
        return None
    for name in _NOT_IN_TRAINING:
        if asked.get(name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is about inference", hint="use --seq and --micro-batch")
    if asked["batch"] != 1:
        raise UsageError("--batch is about inference", hint=f"use --micro-batch {asked['batch']}")
    return TrainingRequest(
        train=asked["train"], attention=asked["attention"], quant=asked["quant"], dtype=asked["dtype"], **given
    )


def run_training(model: str, request: TrainingRequest, asked: dict[str, Any], *, code: bool, as_json: bool) -> str:
    """Answer and print; the verdict."""
    from gpufit.training import check_training

    if asked["runtime"] != "transformers":
        raise UsageError(f"--runtime {asked['runtime'][:40]} does not train", hint="leave --runtime out")
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
