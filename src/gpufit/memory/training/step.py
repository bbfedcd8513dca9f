"""The phases of one training step laid over what stays: forward, backward, optimizer step; the highest is the peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.sharding import Rank, gathered_blocks
from gpufit.records import record

PhaseName = Literal["forward", "backward", "step"]


@record
class Moment:
    """An instant of the backward pass: temporaries alive, and how much of the weights' gradients exists by then.

    ``gradient_share`` is a fraction of all gradients' bytes, from 0 (none yet) to 1.
    """

    name: str
    temporaries_bytes: int
    gradient_share: float = 0.0


@record
class MicroBytes:
    """One micro-batch above what stays: the forward pass's peak, the moments of backward, and what a loop may keep.

    A loop that holds the model's output until the next step keeps ``logits_bytes`` with it, ``caches_bytes`` (the keys
    and values handed out beside them) and ``leaf_bytes``: the embeddings' output and its gradient, where checkpointing
    adapters made it a leaf (enable_input_require_grads).
    ``saved_layer_bytes`` is what one layer of the first stack leaves for backward.
    """

    forward_bytes: int
    forward_moment: str
    backward: tuple[Moment, ...]
    logits_bytes: int = 0
    caches_bytes: int = 0
    leaf_bytes: int = 0
    saved_layer_bytes: int = 0


@record
class PhasePeak:
    """The widest instant of one phase on one rank: temporaries, gradients held by then, and the optimizer's own."""

    name: PhaseName
    moment: str
    temporaries_bytes: int
    gradients_bytes: int
    step_bytes: int = 0

    @property
    def above_bytes(self) -> int:
        """What stands above the lasting part."""
        return self.temporaries_bytes + self.gradients_bytes + self.step_bytes


def lay_phases(rank: Rank, micro: MicroBytes, plan: TrainingPlan) -> tuple[PhasePeak, ...]:
    """Forward, backward and step of a later step, when optimizer states exist.

    Between the micro-batches of one step gradients are kept: then both passes run beside all of them, and ``micro``
    counts a new gradient as a temporary until it is added.

    >>> rank = Rank(weights_bytes=100, adapters_bytes=0, buffers_bytes=0, gradients_bytes=50, states_bytes=200,
    ...             step_bytes=40, rounding_bytes=0)
    >>> micro = MicroBytes(forward_bytes=70, forward_moment="loss",
    ...                    backward=(Moment(name="loss", temporaries_bytes=80), Moment(name="layer 0",
    ...                              temporaries_bytes=30, gradient_share=1.0)))
    >>> [p.above_bytes for p in lay_phases(rank, micro, TrainingPlan())]
    [70, 80, 90]
    >>> [p.above_bytes for p in lay_phases(rank, micro, TrainingPlan(grad_accum=4))]
    [120, 130, 90]
    """
    sharing = plan.gpus > 1 and plan.sharding in ("fsdp1", "fsdp2", "zero2", "zero3")
    summed = plan.grad_accum > 1
    held = rank.gradients_bytes if summed else 0

    def gathered(phase: PhaseName, moment: str) -> int:
        return rank.gathered_bytes + rank.block_bytes * gathered_blocks(plan, phase, moment)

    forward = PhasePeak(
        name="forward", moment=micro.forward_moment,
        temporaries_bytes=micro.forward_bytes + gathered("forward", micro.forward_moment), gradients_bytes=held,
    )  # fmt: skip
    reducing = rank.reducing_bytes if sharing else 0
    handed_out = micro.logits_bytes + micro.caches_bytes if plan.keeps_outputs else 0
    kept = handed_out + (micro.leaf_bytes if plan.keeps_outputs else 0)
    moments = [
        PhasePeak(
            name="backward", moment=moment.name,
            temporaries_bytes=moment.temporaries_bytes + gathered("backward", moment.name) + handed_out
            + (reducing if moment.gradient_share else 0),
            gradients_bytes=held or int(rank.gradients_bytes * moment.gradient_share),
        )
        for moment in micro.backward
    ]  # fmt: skip
    backward = max(moments, key=lambda peak: peak.above_bytes)
    step = PhasePeak(
        name="step", moment="optimizer", temporaries_bytes=kept, gradients_bytes=rank.gradients_bytes,
        step_bytes=rank.step_bytes,
    )  # fmt: skip
    return forward, backward, step


def first_step_bytes(rank: Rank, phases: Sequence[PhasePeak]) -> int:
    """The peak of the very first step, whose forward and backward run before there are optimizer states.

    >>> rank = Rank(weights_bytes=100, adapters_bytes=0, buffers_bytes=0, gradients_bytes=50, states_bytes=200,
    ...             step_bytes=40, rounding_bytes=0)
    >>> first_step_bytes(rank, (PhasePeak(name="forward", moment="", temporaries_bytes=70, gradients_bytes=0),
    ...                         PhasePeak(name="step", moment="", temporaries_bytes=0, gradients_bytes=50)))
    350
    """
    without = rank.lasting_bytes - rank.states_bytes
    return max((rank.lasting_bytes if p.name == "step" else without) + p.above_bytes for p in phases)
