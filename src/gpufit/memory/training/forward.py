"""What one micro-step holds above the residents: the door to the programs of this package."""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.facts.architecture import Architecture
from gpufit.memory.training.blocks.decoder import llama
from gpufit.memory.training.modules import Model
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.tape.graph import Tape
from gpufit.records import record


@record
class MicroStep:
    forward_peak_bytes: int
    held_bytes: int
    backward_total_bytes: int
    gradients_bytes: int


def micro_step(architecture: Architecture, plan: TrainingPlan, *, sums_in_place: bool = True) -> MicroStep:
    """x"""
    tape = Tape(sums_in_place=sums_in_place)
    model = Model(architecture, plan, tape)
    loss = llama(model)
    ledger = tape.ledger
    held = ledger.temporaries_bytes
    forward = max(scope.most.temporaries_bytes for scope in ledger.scopes)
    ledger.enter("backward")
    tape.backward(loss)
    back = ledger.scope.sum
    return MicroStep(
        forward_peak_bytes=forward, held_bytes=held,
        backward_total_bytes=back.temporaries_bytes + back.gradients_bytes, gradients_bytes=ledger.gradients_bytes,
    )
