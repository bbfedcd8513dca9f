"""Running the repeated blocks of a model, with or without checkpoints, each in a scope of its own."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.tape.tensor import Tensor

Layer = Callable[[Part, Tensor], Tensor]


def run_layers(model: Model, prefix: str, count: int, layer: Layer, hidden: Tensor) -> Tensor:
    """``for layer in self.layers: hidden_states = layer(hidden_states)``."""
    tape, plan = model.tape, model.plan
    for index in range(count):
        part = model.part(f"{prefix}.{{}}", index)
        tape.ledger.enter(f"{prefix}.{index}")
        with tape.ledger.inside(f"{prefix}.{index}"):
            checkpointed = plan.checkpointing == "full" or (plan.checkpointing == "selective" and index % 2 == 0)
            if checkpointed:
                hidden = tape.checkpoint(lambda x, part=part: layer(part, x), hidden)
            else:
                hidden = layer(part, hidden)
    return hidden
