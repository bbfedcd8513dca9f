"""Layers spread over devices, one after the other, as ``device_map`` does for QLoRA: each stage's own part."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.sharding import Rank, unit_bytes
from gpufit.memory.training.step import MicroBytes, Moment, lay_phases
from gpufit.records import record, replace


@record
class Stage:
    """One device of a pipeline: how many layers it runs, and what that takes at its own peak."""

    index: int
    layers: int
    rank: Rank
    micro: MicroBytes
    peak_bytes: int


def stage_ranks(architecture: Architecture, plan: TrainingPlan, whole: Rank, micro: MicroBytes) -> tuple[Stage, ...]:
    """Every device's part: layers shared out evenly, embeddings on the first, head and loss on the last.

    One stage works while the others wait, so each holds its own layers' saved activations and, in its turn, the
    temporaries of one layer. Source: accelerate 1.15, utils/modeling.py, infer_auto_device_map (no block is split).
    """
    layers, n = sum(each.layers for each in architecture.stacks), plan.gpus
    block, root = unit_bytes(architecture, plan)
    share_of_root = min(1.0, root / max(1, root + block * layers))
    loss = max(moment.temporaries_bytes for moment in micro.backward)
    within = max((m.temporaries_bytes for m in micro.backward if m.gradient_share), default=loss)
    stages = []
    for index in range(n):
        own = layers // n + (1 if index < layers % n else 0)
        ends = (index == 0) + (index == n - 1)
        part = (own / max(1, layers)) * (1 - share_of_root) + ends / 2 * share_of_root
        away = micro.saved_layer_bytes * (layers - own)
        last = index == n - 1
        held = MicroBytes(
            forward_bytes=max(0, (micro.forward_bytes if last else within) - away),
            forward_moment=micro.forward_moment if last else "layers",
            backward=(
                Moment(name="loss" if last else "layers", temporaries_bytes=max(0, (loss if last else within) - away),
                       gradient_share=0.0 if last else 1.0),
                Moment(name="first layer", temporaries_bytes=max(0, within - away), gradient_share=1.0),
            ),
            saved_layer_bytes=micro.saved_layer_bytes,
        )  # fmt: skip
        rank = _part(whole, part)
        phases = lay_phases(rank, held, replace(plan, gpus=1))
        peak = rank.lasting_bytes + max(phase.above_bytes for phase in phases)
        stages.append(Stage(index=index, layers=own, rank=rank, micro=held, peak_bytes=peak))
    return tuple(stages)


def _part(whole: Rank, part: float) -> Rank:
    """That part of what a single device would hold."""
    names = ("weights_bytes", "adapters_bytes", "gradients_bytes", "states_bytes", "step_bytes", "rounding_bytes")
    return replace(whole, **{name: int(getattr(whole, name) * part) for name in names})
