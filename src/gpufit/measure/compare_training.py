"""What a training plan is estimated to show of each stage of a measured run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from gpufit.errors import Undecided
from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.loading import load_temporaries
from gpufit.memory.ranges import Range
from gpufit.memory.training.estimate import TrainingEstimate, estimate_training
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.weights import count_weights

Meter = Literal["allocated", "reserved", "process"]
Expect = Callable[[str, Meter], Range | None]


def of_training(architecture: Architecture, plan: TrainingPlan, *, on_cpu: bool) -> Expect:
    """The estimate by stage and meter; None where the family's training has no closed form."""
    weights = count_weights(architecture, plan.base_dtype, plan.quant)
    bare = Range.exact(weights.total_bytes + weights.buffer_bytes)
    loaded = bare + Range.exact(weights.padding_bytes) + load_temporaries(weights, DTYPE_BYTES[plan.base_dtype])
    whole = known_training(architecture, plan, on_cpu=on_cpu)

    def expect(stage: str, meter: Meter) -> Range | None:
        if stage == "load":  # before k-bit preparation and adapters
            return (bare if on_cpu else loaded) if meter == "allocated" else None
        if whole is None:
            return None
        if on_cpu:
            return Range.exact(whole.tensors_in(stage))
        allocated = whole.allocated_in(stage)
        reserved = allocated + whole.slack
        process = reserved + whole.context.bytes + Range(0, 0, whole.rank.paged_bytes)
        return {"allocated": allocated, "reserved": reserved, "process": process}[meter]

    return expect


def known_training(architecture: Architecture, plan: TrainingPlan, *, on_cpu: bool) -> TrainingEstimate | None:
    """The estimate, None where nothing is known of the family's activations in training.

    On the processor a tracker watches, and under it autograd adds up a tied weight's gradients in a new tensor.
    """
    try:
        return estimate_training(architecture, plan, sums_in_place=not on_cpu)
    except Undecided:
        return None
