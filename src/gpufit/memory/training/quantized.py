"""bitsandbytes' layers on a tape (0.50.2, autograd/_functions.py): nothing of the weight is kept, some of the input is.

4-bit: the whole weight is dequantized for the product, above some rows forward and always backward; nothing is saved.
int8: the input is saved, on the node itself and so past any checkpoint; backward dequantizes the whole weight.
"""

from __future__ import annotations

from gpufit.memory.activations.quantized import fused_rows
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.tape.graph import Gradients, Node
from gpufit.memory.training.tape.ops import cast
from gpufit.memory.training.tape.tensor import Tensor


def multiply_4bit(x: Tensor, width: int, inner: int, plan: TrainingPlan) -> Tensor:
    """Linear4bit.forward and MatMul4Bit, in the compute format, back in the input's."""
    given = cast(x, plan.compute_dtype)
    tape = x.tape
    node = tape.node("matmul_4bit", (given,), _back_4bit)
    if node is not None:
        node.extra = (width, inner)
    rows = given.elements // inner
    weight = None
    if rows > fused_rows(plan.compute_capability):
        weight = tape.empty((width, inner), given.dtype)
    out = tape.empty((*given.shape[:-1], width), given.dtype)
    del weight
    tape.attach(node, out)
    return cast(out, x.dtype)


def _back_4bit(node: Node, grads: Gradients) -> Gradients:
    g = grads[0]
    if g is None:
        raise ValueError("a product got no gradient")
    width, inner = node.extra
    weight = g.tape.empty((width, inner), g.dtype)
    out = g.tape.empty((*g.shape[:-1], inner), g.dtype)
    del weight
    return (out,)


def multiply_8bit(x: Tensor, width: int, inner: int, plan: TrainingPlan) -> Tensor:
    """MatMul8bitLt with outlier columns: int8 input and row statistics, int32 product, its float."""
    tape = x.tape
    node = tape.node("matmul_8bit", (x,), _back_8bit)
    if node is not None:
        node.held = x.alias()
        node.extra = (width, inner)
    rows = x.elements // inner
    half = cast(x.alias(), "fp16")
    packed = tape.empty((rows, inner), "int8")
    statistics = tape.empty((rows,), "fp32")
    del half
    product = tape.empty((rows, width), "int32")
    out = tape.empty((*x.shape[:-1], width), "fp16")
    del product, packed, statistics
    tape.attach(node, out)
    if x.dtype == "fp16":
        return out
    wide = tape.empty(out.shape, x.dtype)
    wide.node, wide.slot = out.node, out.slot
    return wide


def _back_8bit(node: Node, grads: Gradients) -> Gradients:
    g = grads[0]
    if g is None:
        raise ValueError("a product got no gradient")
    width, inner = node.extra
    weight = g.tape.empty((width, inner), g.dtype)
    out = g.tape.empty((*g.shape[:-1], inner), g.dtype)
    del weight
    return (out,)
