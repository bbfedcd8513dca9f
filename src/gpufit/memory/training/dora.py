"""DoRA on a tape: peft 0.21.2, tuners/lora/dora.py, DoraLinearLayer.forward; variants.py, DoraLinearVariant.forward.

For each adapted layer and pass the whole update is written out to measure the rows' lengths: an identity matrix of the
input's width through both adapters, the weight in the adapters' format, and their sum. The layer's own result and the
update are then scaled row by row, and both are saved for the gradient of the magnitudes.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufit.memory.training.tape.ops import add, cast, mul, scale, shift
from gpufit.memory.training.tape.tensor import Tensor


def dora_update(
    x: Tensor, adapters: Callable[[Tensor], Tensor], weight: Tensor, magnitude: Tensor, base: Tensor, *, biased: bool
) -> Tensor:
    """What is added to the layer's result; ``weight`` is (outputs, inputs) and whole, ``base`` the layer's result."""
    tape = x.tape
    outputs, inputs = weight.shape
    with tape.without_gradients():  # its graph is never walked, but holds the identity as long as this runs
        identity = tape.empty((inputs, inputs), magnitude.dtype)
        whole = adapters(identity)
        if tape.packing:
            del identity
        whole = cast(whole, x.dtype)
        lifted = cast(weight, x.dtype)
        scaled = scale(whole)
        summed = add(lifted, scaled.alias(lifted.shape))
        del scaled, summed
        lengths = tape.empty((outputs,), x.dtype)
    ratio = mul(magnitude, lengths)  # a quotient saves its divisor
    update = adapters(x)
    if biased:
        base = shift(base)  # base_result - bias
    kept = mul(shift(ratio), base)
    turned = scale(mul(ratio, update))
    found = add(kept, turned)
    del whole, lifted
    return found
