"""One training check as a JSON-ready dictionary. All sizes are ints and their keys end in ``_bytes``."""

from __future__ import annotations

from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.sharding import Rank
from gpufit.records import as_dict
from gpufit.render.check_json import SCHEMA, device_to_dict, model_to_dict, row_to_dict
from gpufit.verdict.training import TrainingCheck
from gpufit.verdict.training_advise import TrainingOption


def training_to_dict(check: TrainingCheck) -> dict[str, object]:
    """Everything ``gpufit check --train`` knows, in the shape of schema/gpufit.schema.json."""
    e, asked = check.estimate, check.asked
    return {
        "schema": SCHEMA,
        "ok": True,
        "model": model_to_dict(check.subject),
        "training": plan_to_dict(check.plan, check.subject.architecture.model_type),
        "device": device_to_dict(check.device),
        "verdict": check.verdict,
        "breakdown": [row_to_dict(row) for row in check.breakdown],
        "totals": {
            "allocated": e.allocated.to_dict(),
            "reserved": e.reserved.to_dict(),
            "process": e.process.to_dict(),
        },
        "phase": e.phase.name,
        "moment": e.phase.moment,
        "phases": [
            {
                "name": phase.name,
                "moment": phase.moment,
                "allocated_bytes": e.phase_bytes(phase.name),
                "temporaries_bytes": phase.temporaries_bytes,
                "gradients_bytes": phase.gradients_bytes,
                "step_bytes": phase.step_bytes,
            }
            for phase in e.phases
        ],
        "first_step_bytes": e.first_step_bytes + e.workspace.likely_bytes,
        "trained_parameters": e.residents.trained_parameters,
        "per_gpu": [_rank_to_dict(index, rank, layers) for index, (rank, layers) in enumerate(ranks_of(check))],
        "host_bytes": e.host_bytes,
        "paged_bytes": e.rank.paged_bytes,
        "load_peak_bytes": asked.load_peak.likely_bytes,
        "free_bytes": check.budget.free_bytes,
        "total_bytes": check.budget.total_bytes,
        "reserve_bytes": check.budget.reserve_bytes,
        "budget_bytes": check.budget.budget_bytes,
        "budget_source": check.budget.known_by,
        "headroom_bytes": asked.headroom_bytes,
        "longest_context_tokens": check.longest_seq_tokens,
        "largest_batch": check.largest_micro_batch,
        "recommendation": option_to_dict(check.alternatives[0], check) if check.alternatives else None,
        "alternatives": [option_to_dict(option, check) for option in check.alternatives],
        "notes": list(check.notes),
    }


_NOT_CHOSEN = (  # what describes a device or how an earlier measurement was made, and is nobody's choice
    "compute_capability", "driver_context", "library_version", "torch_version", "engine", "keeps_outputs",
    "steps_in_backward", "expands_keys", "prefetches", "fused_kernels", "compiled", "labels_tokens", "galore_rank",
)  # fmt: skip


def plan_to_dict(plan: TrainingPlan, model_type: str) -> dict[str, object]:
    """The plan with every default filled in."""
    shown = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in as_dict(plan).items()
        if key not in _NOT_CHOSEN
    }  # fmt: skip
    shown["weight_dtype"] = plan.base_dtype
    shown["adapter_dtype"] = (plan.adapter_dtype or "fp32") if plan.trains_adapters else None
    shown["lora_targets"] = list(plan.targets_for(model_type)) if plan.trains_adapters else None
    shown["lora_r"] = plan.lora_r if plan.trains_adapters else None
    return shown


def ranks_of(check: TrainingCheck) -> list[tuple[Rank, int]]:
    """Every GPU's part with the number of layers that it runs."""
    e = check.estimate
    if e.stages:
        return [(stage.rank, stage.layers) for stage in e.stages]
    layers = sum(stack.layers for stack in e.architecture.stacks)
    return [(e.rank, layers)] * e.plan.gpus


def _rank_to_dict(index: int, rank: Rank, layers: int) -> dict[str, object]:
    return {"index": index, "layers": layers, **as_dict(rank)}


def option_to_dict(option: TrainingOption, check: TrainingCheck) -> dict[str, object]:
    """A weighed change."""
    return {
        "change": option.change,
        "verdict": option.verdict,
        "training": plan_to_dict(option.plan, check.subject.architecture.model_type),
        "device": option.device.name,
        "process": option.process.to_dict(),
        "load_peak_bytes": option.load_peak.likely_bytes,
        "saved_bytes": option.saved_bytes,
        "budget_bytes": option.budget_bytes,
        "headroom_bytes": option.headroom_bytes,
    }
