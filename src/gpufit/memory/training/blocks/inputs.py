"""What a batch brings to the device: ids, the attention mask and labels, 8 bytes each a token."""

from __future__ import annotations

from gpufit.memory.training.modules import Model
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.records import record


@record
class Inputs:
    """(batch, tokens) each; ``labels`` may be (batch,) for classifiers."""

    ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def make_inputs(model: Model, labels: tuple[int, ...] | None = None) -> Inputs:
    """A batch of the plan's size."""
    tape, plan = model.tape, model.plan
    shape = (plan.micro_batch, plan.seq)
    return Inputs(
        ids=tape.empty(shape, "int64"), attention_mask=tape.empty(shape, "int64"),
        labels=tape.empty(labels or shape, "int64"),
    )  # fmt: skip
