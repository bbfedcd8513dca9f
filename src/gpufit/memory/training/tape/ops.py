"""torch's operators: what each allocates, what autograd saves for it, and what its backward allocates.

Mirrors PyTorch 2.13, tools/autograd/derivatives.yaml (which tensors are saved) and torch/csrc/autograd/
FunctionsManual.cpp (what backward computes). Inputs are saved before an operation runs, results after.
"""

from __future__ import annotations

from gpufit.memory.training.tape.graph import Gradients, Node, only, passed
from gpufit.memory.training.tape.tensor import FORMAT_BYTES, Shape, Tensor, broadcast, laid_out

_WIDTH = {"fp32": 3, "bf16": 2, "fp16": 2, "int64": 1, "int32": 1, "int8": 1, "bool": 0}


def promoted(*tensors: Tensor) -> str:
    """The number format of an operation on several tensors; a single number counts only if nothing else does."""
    if len(tensors) == 1:
        return tensors[0].dtype
    formats = [t.dtype for t in tensors if t.shape] or [t.dtype for t in tensors]
    return max(formats, key=_WIDTH.__getitem__)


def like(x: Tensor, *others: Tensor, dtype: str | None = None, shape: Shape | None = None) -> Tensor:
    """A new tensor as an elementwise operation on these would write it."""
    if shape is None:
        shape = broadcast(x.shape, *[t.shape for t in others]) if others else x.shape
    return x.tape.empty(shape, dtype or promoted(x, *others), laid_out(shape, (x, *others)))


def cast(x: Tensor, dtype: str) -> Tensor:
    """``to(dtype)``: itself, or a copy that saves nothing."""
    if x.dtype == dtype:
        return x
    node = x.tape.node("to", (x,), passed)  # validate_outputs casts the gradient back
    out = like(x, dtype=dtype)
    x.tape.attach(node, out)
    return out


def add(x: Tensor, y: Tensor) -> Tensor:
    """``x + y``: saves nothing; both inputs get the same gradient."""
    node = x.tape.node("add", (x, y), lambda node, grads: (grads[0], grads[0]))
    out = like(x, y)
    x.tape.attach(node, out)
    return out


def add_into(x: Tensor, y: Tensor) -> Tensor:
    """``x += y``: y is written over x."""
    node = x.tape.node("add_", (x, y), lambda node, grads: (grads[0], grads[0]))
    out = x.alias()
    x.tape.attach(node, out)
    return out


def sub(x: Tensor, y: Tensor) -> Tensor:
    """``x - y``: saves nothing; the second gradient is the first, negated."""

    def back(node: Node, grads: Gradients) -> Gradients:
        return grads[0], like(only(grads)) if node.needs(1) else None

    node = x.tape.node("sub", (x, y), back)
    out = like(x, y)
    x.tape.attach(node, out)
    return out


def scale(x: Tensor, name: str = "mul") -> Tensor:
    """``x`` times, or divided by, a number: saves nothing, and its gradient is scaled."""
    node = x.tape.node(name, (x,), lambda node, grads: (like(only(grads)),))
    out = like(x)
    x.tape.attach(node, out)
    return out


def scale_into(x: Tensor) -> Tensor:
    """``x *= number``: over itself; its gradient is scaled."""
    node = x.tape.node("mul_", (x,), lambda node, grads: (like(only(grads)),))
    out = x.alias()
    x.tape.attach(node, out)
    return out


def shift(x: Tensor) -> Tensor:
    """``x`` plus a number: the gradient passes."""
    node = x.tape.node("add", (x,), passed)
    out = like(x)
    x.tape.attach(node, out)
    return out


def mul(x: Tensor, y: Tensor) -> Tensor:
    """``x · y``: saves each factor for the other's gradient."""
    node = x.tape.node("mul", (x, y), _mul_back)
    if node is not None:
        x.tape.save(node, x if node.needs(1) else None, y if node.needs(0) else None)
    out = like(x, y)
    x.tape.attach(node, out)
    return out


def _mul_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    kept = g.tape.saved(node)
    mine = like(g, kept[-1]) if node.needs(0) else None
    theirs = like(g, kept[0]) if node.needs(1) else None
    return mine, theirs


def power(x: Tensor) -> Tensor:
    """``x.pow(n)``: saves x; backward holds xⁿ⁻¹, n times it and the product at once (pow_backward)."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        (kept,) = g.tape.saved(node)
        lower = like(kept)
        factor = like(kept)
        out = like(g, factor)
        del lower, factor
        return (out,)

    node = x.tape.node("pow", (x,), back)
    x.tape.save(node, x)
    out = like(x)
    x.tape.attach(node, out)
    return out


def mean(x: Tensor, dim: int = -1, *, keep: bool = True) -> Tensor:
    """``mean``: saves nothing; its gradient is spread out whole."""
    dim = dim % len(x.shape)
    whole = x.shape

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        return (g.tape.empty(whole, g.dtype),)

    node = x.tape.node("mean", (x,), back)
    out = x.tape.empty((*whole[:dim], *((1,) if keep else ()), *whole[dim + 1 :]), x.dtype)
    x.tape.attach(node, out)
    return out


def from_result(x: Tensor, name: str, temporaries: int = 0) -> Tensor:
    """A function whose gradient needs its result: rsqrt, tanh, sigmoid, exp, relu (saved: the result)."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        (kept,) = g.tape.saved(node)
        held = [like(kept) for _ in range(temporaries)]
        out = like(g, kept)
        del held
        return (out,)

    node = x.tape.node(name, (x,), back)
    out = like(x)
    x.tape.save(node, out)
    x.tape.attach(node, out)
    return out


def from_input(x: Tensor, name: str) -> Tensor:
    """A function whose gradient needs its input and is one kernel: silu, gelu (saved: the input)."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        (kept,) = g.tape.saved(node)
        return (like(g, kept),)

    node = x.tape.node(name, (x,), back)
    x.tape.save(node, x)
    out = like(x)
    x.tape.attach(node, out)
    return out


def clamp(x: Tensor) -> Tensor:
    """``clamp`` between two tensors of one number: saves x; backward asks which elements lay within."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        (kept,) = g.tape.saved(node)
        within = like(kept, dtype="bool")
        other = like(kept, dtype="bool")
        out = like(g, within, dtype=g.dtype)
        del within, other
        return (out,)

    node = x.tape.node("clamp", (x,), back)
    x.tape.save(node, x)
    out = like(x)
    x.tape.attach(node, out)
    return out


def where(condition: Tensor, x: Tensor) -> Tensor:
    """``where(condition, x, number)``: saves the condition; the gradient is cut by it."""

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        (kept,) = g.tape.saved(node)
        return (like(g, kept, dtype=g.dtype),)

    node = x.tape.node("where", (x,), back)
    x.tape.save(node, condition)
    out = like(x, condition, dtype=x.dtype)
    x.tape.attach(node, out)
    return out


def dropout(x: Tensor, active: bool) -> Tensor:
    """``native_dropout``: a result and a mask of one byte an element, which is saved (Dropout.cpp)."""
    if not active:
        return x

    def back(node: Node, grads: Gradients) -> Gradients:
        g = only(grads)
        kept = g.tape.saved(node)
        out = like(g)
        del kept
        return (out,)

    node = x.tape.node("dropout", (x,), back)
    out = like(x)
    mask = like(x, dtype="bool")
    x.tape.save(node, mask)
    x.tape.attach(node, out)
    return out


def softmax(x: Tensor, dtype: str | None = None) -> Tensor:
    """``softmax`` over the last dimension, in another format where asked: saves its result.

    CUDA reads half and writes fp32 in one kernel for fp16 (SoftMax.cpp); bf16 is cast first.
    """
    target = dtype or x.dtype
    if x.tape.autocast:
        target = "fp32"  # autocast_mode.cpp: softmax runs in fp32
    fused = x.dtype == "fp16" and target == "fp32"
    source = x if fused else cast(x, target)
    node = x.tape.node("softmax", (source,), _softmax_back)
    if node is not None:
        node.extra = source.dtype
    out = source.tape.empty(source.shape, target, laid_out(source.shape, (source,)))
    x.tape.save(node, out)
    x.tape.attach(node, out)
    return out


def _softmax_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    (kept,) = g.tape.saved(node)
    dtype: str = node.extra
    # SoftMax.cu, softmax_backward_cuda_out: tmp = grad * output, out of sight of a dispatch mode
    product = g.tape.empty(kept.shape, kept.dtype) if g.tape.sums_in_place else None
    out = g.tape.empty(kept.shape, dtype)
    del product
    return (out,)


def size_of(x: Tensor) -> int:
    """Bytes that the tensor shows."""
    return x.elements * FORMAT_BYTES[x.dtype]
