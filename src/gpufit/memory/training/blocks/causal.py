"""What every causal model's forward does around its stack."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.memory.training.blocks.inputs import Inputs, make_inputs
from gpufit.memory.training.loss import language_model_head
from gpufit.memory.training.modules import Model
from gpufit.memory.training.tape.tensor import Tensor

Body = Callable[[Model, Inputs], Tensor]


def causal_lm(model: Model, base: str, body: Body, *, capped: bool = False, scaled: bool = False) -> Tensor:
    """...ForCausalLM.forward with labels: a batch, the model called ``base``, the output layer and its loss."""
    given = make_inputs(model)
    hidden = model.part().run(base, body, model, given)
    return language_model_head(model.part(), "lm_head", hidden, given.labels, capped=capped, scaled=scaled)
