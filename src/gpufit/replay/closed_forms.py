"""The closed forms in a replay's own terms: bytes above the weights, phase by phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpufit.errors import GpufitError, Undecided, Unsupported
from gpufit.memory.activations import estimate_phases
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.training.forward import micro_step
from gpufit.memory.training.plan import Optimizer, Precision, TrainingPlan
from gpufit.memory.training.states import count_residents
from gpufit.memory.workload import Workload
from gpufit.records import replace

if TYPE_CHECKING:
    from gpufit.facts.architecture import Architecture
    from gpufit.replay.training_step import TrainingSetup

_OPTIMIZERS: dict[str, Optimizer] = {  # a replay's name, torch's default first -> the plan's
    "adamw": "adamw-foreach", "adamw-fused": "adamw-fused", "adamw-loop": "adamw-loop", "sgd": "sgd",
    "sgd-momentum": "sgd-momentum", "adafactor": "adafactor",
}  # fmt: skip
_WITH_REENTRY = "4.57.6"  # the last release whose checkpoints run in a graph of their own by default
_PRECISIONS: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}


def closed_forms(architecture: Architecture | None, workload: Workload) -> dict[str, int]:
    """Bytes above the weights by phase of inference; empty where there is no form."""
    if architecture is None:
        return {}
    try:
        phases = estimate_phases(architecture, workload)
    except (Undecided, Unsupported):
        return {}
    return {phase.name: phase.activation_bytes + _cache_bytes(architecture, workload, phase.name) for phase in phases}


def _cache_bytes(architecture: Architecture, workload: Workload, phase: str) -> int:
    """The cache that lies there in that phase. Of the new tokens the last is chosen and never fed back."""
    if phase == "encode" and architecture.is_encoder_decoder:
        return 0
    if phase in ("encode", "prefill"):  # a decoder without a head makes its cache too (use_cache is the default)
        return count_cache(architecture, workload, after_prefill=True)
    fed = workload.new_tokens - (0 if architecture.is_encoder_decoder else 1)
    return count_cache(architecture, replace(workload, new_tokens=fed))


def training_forms(architecture: Architecture | None, workload: Workload, setup: TrainingSetup) -> dict[str, int]:
    """Bytes above weights and adapters by phase of a training step; empty where there is no form.

    Optimizer states lie there in every phase. Sums of gradients are written anew, as autograd does under a replay's
    dispatch mode; ``check`` counts them in place, as it does without one.
    """
    if architecture is None or workload.quant != "none":
        return {}
    plan = TrainingPlan(
        method=setup.kind, micro_batch=workload.batch, seq=workload.prompt_tokens,
        precision=_PRECISIONS[workload.dtype], optimizer=_OPTIMIZERS[setup.optimizer],
        checkpointing="full" if setup.checkpointing else "none", attention=workload.attention,
        lora_r=setup.lora_rank, lora_targets=_targets(setup), compute_capability=workload.compute_capability,
        library_version=_WITH_REENTRY if setup.reentrant else None,
    )  # fmt: skip
    try:
        step = micro_step(architecture, plan, sums_in_place=False)
        optimizer = count_residents(architecture, plan).optimizer
    except GpufitError:
        return {}
    backward = max(m.temporaries_bytes + round(m.gradient_share * step.gradients_bytes) for m in step.moments)
    states = optimizer.states_bytes
    return {
        "forward": states + step.forward_peak_bytes,
        "backward": states + backward,
        "step": states + step.gradients_bytes + optimizer.step_bytes,
    }


def _targets(setup: TrainingSetup) -> tuple[str, ...] | None:
    return (setup.lora_targets,) if isinstance(setup.lora_targets, str) else setup.lora_targets
