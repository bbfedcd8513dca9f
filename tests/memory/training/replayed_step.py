"""A shrunken model's training step by program and by replay of transformers' own code."""

from __future__ import annotations

from typing import Any, Literal

from gpufit.facts.read import parse_config
from gpufit.memory.training.forward import micro_step
from gpufit.memory.training.plan import TrainingPlan


def training_differences(
    raw: dict[str, Any],
    *,
    tokens: int,
    batch: int,
    dtype: Literal["fp32", "bf16", "fp16"],
    attention: Literal["eager", "sdpa"],
    method: Literal["full", "lora"] = "full",
    checkpointing: bool = False,
    reentrant: bool = False,
    targets: tuple[str, ...] | str | None = None,
    rank: int = 8,
) -> dict[str, float]:
    """How far program and replay lie apart, in percent of the replay's bytes above weights, adapters and states.

    ``forward`` is its peak, ``saved`` what it leaves, ``backward`` the peak with the gradients that exist by then,
    ``gradients`` what backward leaves.
    """
    from gpufit.replay.build import build_model
    from gpufit.replay.run import record_training
    from gpufit.replay.training_step import TrainingSetup

    plan = TrainingPlan(
        method=method, micro_batch=batch, seq=tokens, precision=dtype, attention=attention, lora_r=rank,
        lora_targets=(targets,) if isinstance(targets, str) else targets,
        checkpointing="full" if checkpointing else "none", library_version="4.57.6" if reentrant else None,
    )  # fmt: skip
    step = micro_step(parse_config(raw), plan, sums_in_place=False)  # as under the replay's dispatch mode
    model = build_model(raw, dtype=dtype, attention=attention)
    setup = TrainingSetup(
        kind=method,
        optimizer="sgd",
        checkpointing=checkpointing,
        reentrant=reentrant,
        lora_targets=targets,
        lora_rank=rank,
    )
    recording = record_training(model, setup, tokens=tokens, batch=batch)
    truth = {}
    for phase in recording.phases:
        if phase.name in ("forward", "backward"):
            live = peak = truth.get("saved", 0)
            for event in recording.events[phase.start : phase.stop]:
                live += event.bytes
                peak = max(peak, live)
            truth[phase.name] = peak
            truth["saved" if phase.name == "forward" else "gradients"] = live
    whole = max(m.temporaries_bytes + m.gradient_share * step.gradients_bytes for m in step.moments)
    ours = {"forward": step.forward_peak_bytes, "saved": step.saved_bytes, "backward": whole,
            "gradients": step.gradients_bytes}  # fmt: skip
    return {name: 100 * (ours[name] / size - 1) for name, size in truth.items()}
